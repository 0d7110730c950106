"""Pure functions on arrays: no parameters, no config, no other package of jaxrec."""
