"""Inference on images, and drawings of scenes: true, predicted and annotated."""
