"""What a search finds of what matters, and whether two stages agree: exact, on host numpy.

B batch, C candidates, L history, K kept.
"""

from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray


def kept_slots(index: ArrayLike, length: ArrayLike, size: int) -> NDArray:
    """Marks the kept behaviours, bool [..., L] with L = `size`.

    `index` holds positions, integer [..., K], of which the first `length` [...] are real and distinct.

    Raises:
      ValueError: a real position is not in the history.
    """
    index, length = np.asarray(index), np.asarray(length)
    real = np.arange(index.shape[-1]) < length[..., None]
    if (wrong := index[real & ((index < 0) | (index >= size))]).size:
        raise ValueError(f'position {wrong[0]} was kept of a history of {size}; positions count from 0')
    marks = np.zeros((*index.shape[:-1], size + 1), bool)
    np.put_along_axis(marks, np.where(real, index, size), True, -1)  # the last slot takes what is not real
    return marks[..., :size]


def share_found(wanted: NDArray, found: NDArray) -> NDArray:
    """Computes the share, float64 [...], of what is wanted, bool [..., L], that was found; NaN where nothing is wanted.

    This is the recall, or the agreement of two choices.
    """
    return ratio((wanted & found).sum(-1), wanted.sum(-1))


def ratio(part: ArrayLike, whole: ArrayLike) -> NDArray:
    """Part over whole, float64; NaN where the whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)


class Means:
    """Means of named values over examples; where a value is NaN, its example does not count for that name.

    Example:
      means = Means()
      for batch in batches:
        means.add({'recall': share_found(relevant, kept)}, batch['valid'] > 0)
      means.compute()['recall']
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, values: Mapping[str, NDArray], valid: NDArray) -> None:
        """Adds the values {name: float [B, C]} of one batch where `valid`, bool [B, C]; refuses another shape."""
        for name, value in values.items():
            if value.shape != valid.shape:
                raise ValueError(f'{name!r} has shape {value.shape}, valid {valid.shape}; one value an example')
            counted = value[valid & ~np.isnan(value)]
            self._put(name, float(counted.sum(dtype=np.float64)), counted.size)

    def merge(self, other: Self) -> Self:
        """The means of both sets of examples."""
        merged = type(self)()
        for means in (self, other):
            for name, (total, count) in means._sums.items():
                merged._put(name, total, count)
        return merged

    def compute(self) -> dict[str, float]:
        """{name: mean}; names that no example has a value of are left out."""
        return {name: total / count for name, (total, count) in self._sums.items() if count}

    def _put(self, name: str, total: float, count: int) -> None:
        before = self._sums.get(name, (0.0, 0))
        self._sums[name] = before[0] + total, before[1] + count
