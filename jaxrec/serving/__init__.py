"""Serving: an index of behaviours that takes in new events, and batches of requests assembled from it."""
