"""Full ranking evaluated: the rank of the next item among all, and the share of the items that is ever recommended.

B batch, K recommended items.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

CUTS = (5, 10)


class RankingEvaluator:
    """Accumulates the ranks of targets, from which `of_cold` computes the recall of cold items too.

    Recall and NDCG are computed at `cuts`; `catalogue` is the number of items that could be recommended, None if
    unknown.
    """

    def __init__(self, cuts: Sequence[int] = CUTS, catalogue: int | None = None):
        self.cuts, self.catalogue = tuple(cuts), catalogue
        self.ranks: list[np.ndarray] = []
        self.targets: list[np.ndarray] = []
        self.named: set[int] = set()

    def add(self, batch: Mapping[str, np.ndarray], predictions: Mapping[str, np.ndarray]) -> None:
        """Adds a host batch with 'target/item' and 'valid' [B, 1].

        `predictions` are 'rank' float [B], from 1, inf for a target that was not reached, and 'items' int [B, K], the
        best first; negative ones are no items.
        """
        valid = np.asarray(batch['valid'])[:, 0] > 0
        self.ranks.append(np.asarray(predictions['rank'], np.float64)[valid])
        self.targets.append(np.asarray(batch['target/item'])[:, 0][valid])
        items = np.asarray(predictions['items'])[valid, : max(self.cuts)]
        self.named.update(np.unique(items[items >= 0]).tolist())

    def merge(self, other: Self) -> Self:
        """Returns the evaluator of both sets of users, this one's first; other cuts or catalogues are a ValueError."""
        if (self.cuts, self.catalogue) != (other.cuts, other.catalogue):
            raise ValueError('the evaluators judge by different rules: make both with the same arguments')
        merged = copy.copy(self)
        merged.ranks, merged.targets = self.ranks + other.ranks, self.targets + other.targets
        merged.named = self.named | other.named
        return merged

    def compute(self) -> dict[str, float]:
        """Averages over the users.

        Returns:
          'recall@k' and 'ndcg@k' of each cut, 'mrr', 'named' (different items among the first k of any user, k the
            largest cut), 'coverage' (their share of the catalogue, where its size is known) and 'users'.

        Raises:
          ValueError: no batch was added, or a rank is below 1 or NaN.
        """
        ranks = np.concatenate(self.ranks) if self.ranks else np.zeros(0)
        if not len(ranks):
            raise ValueError('no valid target was evaluated: the part of the data is empty')
        if not (ranks >= 1).all():
            raise ValueError(f'{(~(ranks >= 1)).sum()} of {len(ranks)} ranks are below 1 or NaN: they count from 1')
        metrics = {'users': float(len(ranks)), 'mrr': float(np.mean(1 / ranks))}
        metrics['named'] = float(len(self.named))
        if self.catalogue:
            metrics['coverage'] = len(self.named) / self.catalogue
        gain = 1 / np.log2(ranks + 1)
        for cut in self.cuts:
            hit = ranks <= cut
            metrics[f'recall@{cut}'] = float(hit.mean())
            metrics[f'ndcg@{cut}'] = float(np.where(hit, gain, 0).mean())
        return metrics

    def of_cold(self, cold: np.ndarray) -> dict[str, float]:
        """The number of targets that are cold (bool [item rows]), 'cold_users', and their 'cold_recall@k' or NaN."""
        ranks = np.concatenate([np.zeros(0), *self.ranks])
        mine = ranks[cold[np.concatenate([np.zeros(0, np.int64), *self.targets])]]
        share = lambda cut: float((mine <= cut).mean()) if len(mine) else math.nan
        return {'cold_users': float(len(mine))} | {f'cold_recall@{cut}': share(cut) for cut in self.cuts}
