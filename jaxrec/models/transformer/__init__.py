"""Transformer layers as functions of stacked weights: what OneRec and the sequential baselines are built of."""
