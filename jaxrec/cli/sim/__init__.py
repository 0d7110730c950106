"""The group `jaxrec sim`: the load test of the HTTP service."""
