"""Full ranking evaluated: where the next item stands among all, and what share of the items is ever named.

B batch, K items that are named.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

CUTS = (5, 10)


class RankingEvaluator:
    """Accumulates the ranks of targets.

    With `cold` items, such as those that training never saw, their recall is reported apart.
    """

    def __init__(self, cuts: Sequence[int] = CUTS, cold: np.ndarray | None = None):
        """Starts empty.

        Args:
          cuts: at which recall and NDCG are computed.
          cold: bool [item rows], or None.
        """
        self.cuts, self.cold = tuple(cuts), cold
        self.ranks: list[np.ndarray] = []
        self.targets: list[np.ndarray] = []
        self.named: set[int] = set()

    def add(self, batch: Mapping[str, np.ndarray], predictions: Mapping[str, np.ndarray]) -> None:
        """Takes in a host batch.

        Args:
          batch: with 'target/item' [B, 1] and 'valid' [B, 1].
          predictions: 'rank' float [B], from 1, inf for a target that was not reached, and 'items' int
            [B, K], the best first; negative ones are no items.
        """
        valid = np.asarray(batch['valid'])[:, 0] > 0
        self.ranks.append(np.asarray(predictions['rank'], np.float64)[valid])
        self.targets.append(np.asarray(batch['target/item'])[:, 0][valid])
        items = np.asarray(predictions['items'])[valid, : max(self.cuts)]
        self.named.update(np.unique(items[items >= 0]).tolist())

    def compute(self) -> dict[str, float]:
        """Averages over the users.

        Returns:
          'recall@k' and 'ndcg@k' of each cut, 'mrr', 'coverage' (different items among the best of all users)
          and 'users'; with cold items 'cold_recall@k' and 'cold_users'.

        Raises:
          ValueError: nothing was taken in.
        """
        ranks = np.concatenate(self.ranks) if self.ranks else np.zeros(0)
        if not len(ranks):
            raise ValueError('no valid target was evaluated: the part of the data is empty')
        metrics = {'users': float(len(ranks)), 'mrr': float(np.mean(1 / ranks))}
        metrics['coverage'] = float(len(self.named))
        gain = 1 / np.log2(ranks + 1)
        for cut in self.cuts:
            hit = ranks <= cut
            metrics[f'recall@{cut}'] = float(hit.mean())
            metrics[f'ndcg@{cut}'] = float(np.where(hit, gain, 0).mean())
        if self.cold is not None:
            cold = self.cold[np.concatenate(self.targets)]
            metrics['cold_users'] = float(cold.sum())
            for cut in self.cuts:
                metrics[f'cold_recall@{cut}'] = float((ranks[cold] <= cut).mean()) if cold.any() else math.nan
        return metrics
