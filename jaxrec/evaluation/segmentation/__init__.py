"""Metrics of relation segmentation on host numpy, of one image each; `relation_segmentation` offers them again."""
