"""From a generator and a judge to an aligned generator: what an alignment is made of, and its iterations."""
