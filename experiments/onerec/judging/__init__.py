"""Who judges sessions: the reward model, the truth where it is known, and what they say of a generator."""
