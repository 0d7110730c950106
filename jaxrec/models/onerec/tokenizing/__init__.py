"""OneRec's tokenizer: item vectors, semantic IDs and their files (arXiv 2502.18965, section 4.1)."""
