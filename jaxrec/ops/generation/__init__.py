"""Constrained generation over a catalogue of semantic IDs: trie, beam search, full-catalogue scores, preferences."""
