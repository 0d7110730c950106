"""Parts of a test set that are evaluated apart.

B batch, L history, N examples.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from jaxrec.keys import DistinctKeys, join_ids

Batch = Mapping[str, np.ndarray]


def pair_keys(batch: Batch, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Names each (candidate, behaviour) pair of a batch, by the id column `column`, by one 64-bit number.

    The batch has `candidate/<column>` [B, 1], `history/<column>` [B, L], `history/length` [B] and `valid` [B, 1].
    Returns keys int64 [B, L] and real bool [B, L], which slots hold a pair.
    """
    candidate, history = batch[f'candidate/{column}'], batch[f'history/{column}']
    real = (np.arange(history.shape[1]) < batch['history/length'][:, None]) & (batch['valid'] > 0)
    return join_ids(candidate, history), real


def unseen_pairs(train: Iterable[Batch], test: Iterable[Batch], column: str = 'item') -> np.ndarray:
    """Marks test examples none of whose (candidate, behaviour) pairs occurred in any training example.

    `train` and `test` are batches that hold each example of a part at least once, `column` the id column of the pairs.
    Returns bool [N], for the valid test examples in order; False for those with an empty history.

    Raises:
      ValueError: there is no training batch.
    """
    seen, batches = DistinctKeys(), 0
    for batch in train:
        keys, real = pair_keys(batch, column)
        seen.add(keys[real])
        batches += 1
    if not batches:
        raise ValueError('no training batch was given; without one every pair would count as unseen')
    known = np.append(seen.result(), np.iinfo(np.int64).max)
    marks = []
    for batch in test:
        keys, real = pair_keys(batch, column)
        met = (known[np.searchsorted(known, keys)] == keys) & real
        marks.append((real.any(1) & ~met.any(1))[batch['valid'][:, 0] > 0])
    return np.concatenate(marks)
