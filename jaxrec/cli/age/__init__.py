"""The group `jaxrec age`: offline replay, the online experiment, and where a policy explores."""
