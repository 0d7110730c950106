"""Transformer layers as functions of stacked weights: OneRec and the sequential models are built of them."""
