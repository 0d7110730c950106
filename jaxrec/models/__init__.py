"""The papers, one room each, and what they compare with; every model is a `Task`."""
