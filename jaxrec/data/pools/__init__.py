"""Visits with candidate pools: their log, and the batches that are cut from it."""
