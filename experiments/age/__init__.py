"""AGE's own stages: streams of visits with a policy on them, and their replay."""
