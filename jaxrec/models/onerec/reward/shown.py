"""Sessions as they were shown, with their labels, and how well a reward model predicts these.

B batch, C sessions a request, m items, N sessions.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from jaxrec.evaluation.metrics import auc

log = logging.getLogger(__name__)
HEADS = ('swt', 'vtr', 'wtr', 'ltr')


def as_sessions(batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """Reads what was shown to a request as its one session, C = 1; a batch without a target stays as it is.

    A batch of a `SessionSource` has 'target/<column>' [B, m], 'label/<head>' [B] and 'valid' [B, m]; the result has
    'session/<column>' [B, 1, m], 'session/length' int32 [B, 1], 'label/<head>' [B, 1] and 'valid' [B, 1].
    """
    if not any(key.startswith('target/') for key in batch):
        return batch
    found: dict[str, Any] = {}
    for key, value in batch.items():
        side, _, name = key.partition('/')
        if side == 'target':
            found[f'session/{name}'] = value[:, None]
        else:
            found[key] = value[:, None] if side == 'label' else value
    real = batch['valid'] > 0
    return found | {
        'session/length': real.sum(-1).astype('int32')[:, None],
        'valid': real.any(-1).astype('float32')[:, None],
    }


class RewardEvaluator:
    """AUC, log-loss and calibration of each head that is learned."""

    def __init__(self, heads: tuple[str, ...] = HEADS) -> None:
        self.heads = heads
        self.seen: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, batch: Mapping[str, np.ndarray], predictions: Mapping[str, np.ndarray]) -> None:
        """Adds a host batch and 'probability' [B, C, 4]."""
        batch = as_sessions(batch)
        valid = np.asarray(batch['valid']) > 0
        labels = np.stack([np.asarray(batch[f'label/{head}'])[valid] for head in self.heads], -1)
        places = [HEADS.index(head) for head in self.heads]
        self.seen.append((labels, np.asarray(predictions['probability'])[valid][:, places]))

    def merge(self, other: Self) -> Self:
        """Returns the evaluator of both sets of sessions, this one's first."""
        merged = type(self)(self.heads)
        merged.seen = self.seen + other.seen
        return merged

    def collected(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels and probabilities of all valid sessions, [N, heads] each."""
        labels, probability = (np.concatenate(parts) for parts in zip(*self.seen, strict=True))
        return labels, probability

    def one_class(self) -> tuple[str, ...]:
        """The heads whose label is the same in all sessions, so that there is no AUC."""
        labels = self.collected()[0]
        alike = labels.min(0) == labels.max(0)
        return tuple(head for head, gap in zip(self.heads, alike.tolist(), strict=True) if gap)

    def compute(self) -> dict[str, float]:
        """Computes the metrics; a head of one class is named in the log, and has NaN for what it lacks.

        Where labels are shares of a session's items, sessions above the least share count as positive.

        Returns:
          'auc_<head>', 'logloss_<head>' and 'pcoc_<head>', the last NaN without a positive label; 'auc', the mean over
          the heads that have one; and 'one_class', how many have none.
        """
        labels, probability = self.collected()
        gaps = self.one_class()
        metrics: dict[str, float] = {}
        for place, head in enumerate(self.heads):
            y, p = labels[:, place], np.clip(probability[:, place].astype(np.float64), 1e-7, 1 - 1e-7)
            metrics[f'auc_{head}'] = math.nan if head in gaps else auc(y > y.min(), p)
            metrics[f'logloss_{head}'] = float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
            metrics[f'pcoc_{head}'] = float(p.sum() / y.sum()) if y.any() else math.nan
        found = [metrics[f'auc_{head}'] for head in self.heads if head not in gaps]
        metrics['auc'] = float(np.mean(found)) if found else math.nan
        metrics['one_class'] = float(len(gaps))
        if gaps:
            log.warning(
                'no AUC of %s: the label is the same in all %d sessions; auc is the mean over %d of %d heads',
                ', '.join(gaps), len(labels), len(found), len(self.heads),
            )  # fmt: skip
        return metrics
