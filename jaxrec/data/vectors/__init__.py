"""Vectors of items: from texts, from behaviour, or from both."""
