"""OneRec's own stages: semantic IDs of a log's items, and sessions written from a checkpoint."""
