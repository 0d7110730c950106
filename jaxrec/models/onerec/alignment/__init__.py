"""Iterative preference alignment (OneRec, arXiv 2502.18965, section 3.4 and Algorithm 2)."""
