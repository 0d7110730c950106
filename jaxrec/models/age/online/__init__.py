"""AGE's online experiment in a simulated feed (arXiv 2112.11136, section 5.3)."""
