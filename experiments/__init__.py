"""Thin mains: each reads a config, builds the pieces from jaxrec, and runs them."""
