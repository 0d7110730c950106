"""What `experiments.compare` is made of: cells, processes that run them, tuning, and their table."""
