"""State, step, loop, checkpoints and metric writers; knows no paper."""
