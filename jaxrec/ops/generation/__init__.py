"""Constrained generation over a catalogue of semantic IDs: the trie, beam search, full-catalogue scores, preferences."""
