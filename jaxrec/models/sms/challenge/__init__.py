"""Metrics of the Person in Context challenge and of V-COCO for a trained network."""
