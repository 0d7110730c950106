"""Pure functions on arrays: no parameters, no config, no other room of jaxrec."""
