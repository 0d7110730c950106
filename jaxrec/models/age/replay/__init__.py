"""Offline replay of policies on randomly logged streams (arXiv 2112.11136, section 4; arXiv 1003.5956)."""
