"""Sessions: what requests showed and what came of it, compiled, filtered, labelled and cut into batches."""
