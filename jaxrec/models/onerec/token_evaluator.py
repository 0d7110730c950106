"""Evaluates sessions token by token, and the ranks of single items.

B batch, C sessions of a request, m session items, L levels, K beams.
"""

from collections.abc import Mapping
from typing import Self

import numpy as np

from jaxrec.evaluation.ranking import RankingEvaluator


class SessionEvaluator:
    """Accumulates the log-probabilities of target sessions."""

    def __init__(self) -> None:
        self.total: np.ndarray | None = None
        self.tokens = 0.0
        self.sessions = 0

    def add(self, batch: Mapping[str, np.ndarray], predictions: Mapping[str, np.ndarray]) -> None:
        """Adds a host batch.

        Args:
          batch: with 'valid' [B, m], or [B, C, m] of C sessions a request.
          predictions: 'token_log_prob' float [..., m, L] and 'real' [..., m], 0 where an item has no ID.
        """
        found = np.asarray(predictions['token_log_prob'], np.float64)
        valid = (np.asarray(batch['valid']) > 0) & (np.asarray(predictions['real']) > 0)
        of_levels = np.where(valid[..., None], found, 0).sum(tuple(range(valid.ndim)))
        self.total = of_levels if self.total is None else self.total + of_levels
        self.tokens += float(valid.sum())  # of each level
        self.sessions += int(valid.any(-1).sum())

    def merge(self, other: Self) -> Self:
        """Returns the evaluator of both sets of sessions."""
        merged = type(self)()
        totals = [each.total for each in (self, other) if each.total is not None]
        merged.total = np.sum(totals, axis=0) if totals else None
        merged.tokens, merged.sessions = self.tokens + other.tokens, self.sessions + other.sessions
        return merged

    def compute(self) -> dict[str, float]:
        """Returns the mean 'ntp' of a token and by level, its 'perplexity', and 'sessions'; a ValueError if empty."""
        if self.total is None or not self.tokens:
            raise ValueError('no valid session was evaluated: the part of the data is empty')
        losses = -self.total / self.tokens
        mean = float(losses.mean())
        by_level = {f'ntp_{level}': float(loss) for level, loss in enumerate(losses, 1)}
        return {'ntp': mean, **by_level, 'perplexity': float(np.exp(mean)), 'sessions': float(self.sessions)}


class NextItemEvaluator(RankingEvaluator):
    """Accumulates the ranks of targets among beams, and the losses of their tokens."""

    def __init__(self, catalogue: int) -> None:
        super().__init__(catalogue=catalogue)
        self.tokens = SessionEvaluator()

    def add(self, batch: Mapping[str, np.ndarray], predictions: Mapping[str, np.ndarray]) -> None:
        """Adds a host batch: as `RankingEvaluator`, with 'token_log_prob' [B, 1, L] and 'real' [B, 1]."""
        super().add(batch, predictions)
        self.tokens.add(batch, predictions)

    def merge(self, other: Self) -> Self:
        """Returns the evaluator of both sets of users."""
        merged = super().merge(other)
        merged.tokens = self.tokens.merge(other.tokens)
        return merged

    def compute(self) -> dict[str, float]:
        """As `RankingEvaluator`, and 'ntp' and those of each level as `SessionEvaluator`."""
        losses = {name: value for name, value in self.tokens.compute().items() if name.startswith('ntp')}
        return super().compute() | losses
