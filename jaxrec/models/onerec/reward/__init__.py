"""OneRec's reward model: network, training, calibration and evaluation (arXiv 2502.18965, section 3.3)."""
