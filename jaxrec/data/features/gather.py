"""Gathers the columns of a batch: attributes by id, event columns by row, histories by window or position.

A history is a window of consecutive entries in a column of positive events, so it is read as a strided view: one fancy
index copies B windows of L entries each, without an index matrix or a copy of a history per example.

Letters: B examples, L history, W values of a multi-valued column, P positive events.
"""

import hashlib
from pathlib import Path

import numpy as np

from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.columns import Ragged, cached_array
from jaxrec.data.logs.schema import Column

IN_MEMORY_BYTES = 1 << 28  # larger history columns are kept in files beside the log and memory-mapped


def take(column: np.ndarray | Ragged, index: np.ndarray, width: int) -> np.ndarray:
    """Rows of a column: [...] of an array, [..., width] padded with zeros of a ragged one."""
    if not isinstance(column, Ragged):
        return column[index]
    return column.rows(index.reshape(-1), width).reshape(*index.shape, width)


def cache_path(log: BehaviourLog, what: str, positives: np.ndarray) -> Path:
    """Returns the file that caches what follows from a log and its positive events, int64 [P] rows.

    `what` names it, its parameters included; the file's name begins with the first word.
    """
    key = hashlib.sha256(np.ascontiguousarray(positives).data)
    key.update(f'{log.manifest["fingerprint"]} {what}'.encode())
    return log.folder / 'cache' / f'{what.split()[0]}.{key.hexdigest()[:24]}.npy'


def first_not_before(times: np.ndarray, start: np.ndarray, end: np.ndarray, when: np.ndarray) -> np.ndarray:
    """Finds the first place in `[start, end)` whose time is not earlier than `when`, else `end`: int64 [...].

    `times` [P] ascend within each part `[start, end)`, integers [...] like `when`. The search is a bisection.
    """
    low, high = start.astype(np.int64), end.astype(np.int64)
    while (open_ := low < high).any():
        middle = (low + high) // 2
        earlier = open_ & (times[np.minimum(middle, len(times) - 1)] < when)
        low = np.where(earlier, middle + 1, low)
        high = np.where(open_ & ~earlier, middle, high)
    return low


class HistoryColumn:
    """One history feature, or the times, ready to be cut into windows."""

    def __init__(self, log: BehaviourLog, name: str, positives: np.ndarray, length: int):
        """Reads `item`, an item attribute, an event column or `time` at the positive events, int64 [P] rows.

        `length` is that of the longest window.
        """
        described = log.schema[name] if name != 'time' else Column('numeric', None, 0, 1)
        self.width = described.width
        self._shape = () if described.kind != 'multi' else (self.width,)  # of one entry
        dtype = (
            log.events['time'].dtype
            if name == 'time'
            else np.dtype(np.float32 if described.kind == 'numeric' else np.int32)
        )
        # The tail of zeros lets the last window begin anywhere.
        size = (len(positives) + length) * self.width
        if size * dtype.itemsize <= IN_MEMORY_BYTES:
            self._flat = np.zeros(size, dtype)
            self._fill(self._flat, log, name, positives)
        else:
            self._flat = self._mapped(log, name, positives, size, dtype)

    def _fill(self, flat: np.ndarray, log: BehaviourLog, name: str, positives: np.ndarray) -> None:
        source = log.side(name)
        step = 1 << 20
        for first in range(0, len(positives), step):
            rows = positives[first : first + step]
            index = log.events['item'][rows] if source is log.items else rows
            values = take(source[name], index, self.width).reshape(-1)
            flat[first * self.width : first * self.width + len(values)] = values

    def _mapped(self, log: BehaviourLog, name: str, positives: np.ndarray, size: int, dtype: np.dtype) -> np.ndarray:
        def write(partial: Path) -> None:
            flat = np.lib.format.open_memmap(partial, 'w+', dtype, (size,))
            self._fill(flat, log, name, positives)
            flat.flush()

        return cached_array(cache_path(log, f'{name} {size} {dtype}', positives), write)

    def windows(self, first: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Cuts windows of consecutive entries: [B, L] or [B, L, W], zeros where `present`, bool [B, L], is not set.

        `first` is integer [B], the position of the oldest entry among the positives.
        """
        windows = np.lib.stride_tricks.sliding_window_view(self._flat, present.shape[1] * self.width)
        return self._masked(windows[first * self.width].reshape(*present.shape, *self._shape), present)

    def at(self, positions: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Reads entries at positions [...] among the positives: [...] or [..., W], zeros where not `present`."""
        return self._masked(self._flat.reshape(-1, *self._shape)[positions], present)

    def _masked(self, values: np.ndarray, present: np.ndarray) -> np.ndarray:
        mask = present.astype(values.dtype)
        values *= mask if values.ndim == mask.ndim else mask[..., None]
        return values
