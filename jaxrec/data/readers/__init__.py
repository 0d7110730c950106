"""Readers of published data sets: each compiles files placed by hand, or downloaded, to a log."""
