"""Weights of SMS: published PyTorch trunks, and trained networks in one file."""
