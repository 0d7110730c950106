"""Behaviour logs, the rules that turn them into examples, and the sources that feed them to training."""
