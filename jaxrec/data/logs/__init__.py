"""Compiled logs: memory-mapped columns, vocabularies, and the kinds of log built on them."""
