"""Grain sources: each cuts whole batches from one kind of log."""
