"""OneRec's reward model: network, training, calibration and what it scores (arXiv 2502.18965, section 3.3)."""
