"""Readers of randomly logged candidate pools: Yahoo! R6B and the Open Bandit Dataset."""
