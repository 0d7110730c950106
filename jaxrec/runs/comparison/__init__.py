"""Comparisons: one run a model, data set and seed, tuned equally, and the table of their results."""
