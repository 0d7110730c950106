"""Click prediction evaluated: collects host batches and predictions, then computes the exact metrics once.

B batch, C candidates, N valid examples.
"""

from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxrec.evaluation import metrics

GROUP, EVENT = 'host/group', 'host/event'


def ctr_metrics(labels: ArrayLike, probabilities: ArrayLike, groups: ArrayLike | None = None) -> dict[str, float | int]:
    """Computes all click metrics of one set of examples.

    Args:
      labels, probabilities: 0 or 1, and of label 1, in [0, 1], [N].
      groups: integer key of each example's user, [N]; None skips the `gauc` entries.

    Returns:
      `auc`, `logloss`, `pcoc`, `examples`, `clicks`, `logloss_floored` (examples whose loss was bounded, see
        `metrics.log_loss`); with groups also `gauc`, `gauc_users`, `gauc_users_dropped` (one class only) and
        `gauc_coverage` (share of the examples behind `gauc`).

    Raises:
      ValueError: as the functions in `metrics` do.
    """
    labels = np.asarray(labels)
    result: dict[str, float | int] = {
        'auc': metrics.auc(labels, probabilities),
        'logloss': metrics.log_loss(labels, probabilities),
        'logloss_floored': metrics.count_floored(labels, probabilities),
        'pcoc': metrics.pcoc(labels, probabilities),
        'examples': int(labels.size),
        'clicks': int(labels.sum()),
    }
    if groups is not None:
        grouped = metrics.gauc(labels, probabilities, groups)
        result |= {
            'gauc': grouped.value,
            'gauc_users': grouped.groups,
            'gauc_users_dropped': grouped.dropped,
            'gauc_coverage': grouped.coverage,
        }
    return result


class CtrEvaluator:
    """Accumulates the valid examples of batches in host memory, 8 to 24 bytes an example.

    Example:
      evaluator = CtrEvaluator()
      for batch in batches:
        evaluator.add(batch, predict(batch))
      evaluator.compute()['auc']
    """

    def __init__(self) -> None:
        self._parts: list[dict[str, NDArray]] = []

    def add(self, batch: Mapping[str, ArrayLike], predictions: Mapping[str, ArrayLike]) -> None:
        """Adds the valid examples of one batch.

        Args:
          batch: the host batch; `label` and `valid` [B, C], and where the log has them `host/group` [B] (user) and
            `host/event` [B, C] (row of the event in the log).
          predictions: what the task predicts for it; `probability` [B, C].

        Raises:
          ValueError: a key is missing or a shape differs, or this batch has other host keys than those before.
        """
        label = _array(batch, 'label', 'the batch')
        valid = _array(batch, 'valid', 'the batch', label.shape) > 0
        probability = _array(predictions, 'probability', 'the predictions', label.shape)
        part = {'label': label[valid].astype(np.float32), 'probability': probability[valid].astype(np.float32)}
        if GROUP in batch:
            group = _array(batch, GROUP, 'the batch', label.shape[:1])
            part['group'] = np.broadcast_to(group[:, None], label.shape)[valid]
        if EVENT in batch:
            part['event'] = _array(batch, EVENT, 'the batch', label.shape)[valid]
        if self._parts and part.keys() != self._parts[0].keys():
            raise ValueError(
                f'This batch yields {sorted(part)}, earlier ones {sorted(self._parts[0])}; '
                f'give {GROUP} and {EVENT} with every batch or with none.'
            )
        self._parts.append(part)

    def merge(self, other: Self) -> Self:
        """The evaluator of both sets of examples, this one's first."""
        merged = type(self)()
        merged._parts = self._parts + other._parts
        return merged

    def columns(self) -> dict[str, NDArray]:
        """Returns the examples so far: `label`, `probability` float32 [N]; where given, `group`, `event` int64 [N].

        Raises:
          ValueError: no batch was added.
        """
        if not self._parts:
            raise ValueError('Nothing was added to this evaluator; is the split empty, or smaller than one batch?')
        return {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}

    def compute(self, where: NDArray | None = None) -> dict[str, float | int]:
        """Computes `ctr_metrics` of all examples, or of those where a mask bool [N] of `columns()` is True.

        Raises:
          ValueError: no batch was added, the mask does not fit, or a metric is undefined.
        """
        columns = self.columns()
        if where is not None:
            if where.dtype != bool or where.shape != columns['label'].shape:
                raise ValueError(
                    f'where is {where.dtype} {where.shape}; it must be bool {columns["label"].shape}, '
                    'one entry an example of columns().'
                )
            columns = {name: column[where] for name, column in columns.items()}
        return ctr_metrics(columns['label'], columns['probability'], columns.get('group'))


def _array(values: Mapping[str, ArrayLike], key: str, place: str, shape: tuple[int, ...] | None = None) -> NDArray:
    if key not in values:
        raise ValueError(f'There is no {key!r} in {place}; its keys are {sorted(values)}.')
    array = np.asarray(values[key])
    if shape is None and array.ndim != 2:
        raise ValueError(f'{key!r} of {place} has shape {array.shape}; it must be [B, C].')
    if shape is not None and array.shape != shape:
        raise ValueError(
            f'{key!r} of {place} has shape {array.shape}, where labels call for {shape}; '
            'cut off the rows that padded the batch to the device count, and do not squeeze C = 1.'
        )
    return array
