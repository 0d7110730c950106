"""Features of an event: labels, histories, searched and sampled behaviours, time gaps, negatives, pairs of ids."""
