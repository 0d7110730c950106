"""Gathering the columns of a batch: attributes by id, event columns by row, histories by window.

A history is a window of consecutive entries in a column of positive events, so it is read as a strided view:
one fancy index copies B windows of L entries each, no index matrix, no copy of a history per example.

Letters: B examples, L history, W values of a multi-valued column, P positive events.
"""

import hashlib
from pathlib import Path

import numpy as np

from jaxrec.data.behaviour_log import BehaviourLog
from jaxrec.data.columns import Ragged, cached_array

IN_MEMORY_BYTES = 1 << 28  # larger history columns are kept in files beside the log and memory-mapped


def take(column: np.ndarray | Ragged, index: np.ndarray, width: int) -> np.ndarray:
    """Rows of a column: [...] of an array, [..., width] padded with zeros of a ragged one."""
    if not isinstance(column, Ragged):
        return column[index]
    return column.rows(index.reshape(-1), width).reshape(*index.shape, width)


class HistoryColumn:
    """One history feature, ready to be cut into windows."""

    def __init__(self, log: BehaviourLog, name: str, positives: np.ndarray, length: int):
        """Lines the column up with the positive events.

        Args:
          log: the log.
          name: `item`, an item attribute or an event column.
          positives: int64 [P], rows of the positive events.
          length: L.
        """
        described = log.schema[name]
        self.length, self.width = length, described.width
        self.shape = (length,) if described.kind != 'multi' else (length, self.width)
        dtype = np.dtype(np.float32 if described.kind == 'numeric' else np.int32)
        # The tail of L zeros lets the last window begin anywhere.
        size = (len(positives) + length) * self.width
        if size * dtype.itemsize <= IN_MEMORY_BYTES:
            flat = np.zeros(size, dtype)
            self._fill(flat, log, name, positives)
        else:
            flat = self._mapped(log, name, positives, size, dtype)
        self._windows = np.lib.stride_tricks.sliding_window_view(flat, length * self.width)

    def _fill(self, flat: np.ndarray, log: BehaviourLog, name: str, positives: np.ndarray) -> None:
        source = log.side(name)
        step = 1 << 20
        for first in range(0, len(positives), step):
            rows = positives[first : first + step]
            index = log.events['item'][rows] if source is log.items else rows
            values = take(source[name], index, self.width).reshape(-1)
            flat[first * self.width : first * self.width + len(values)] = values

    def _mapped(
        self, log: BehaviourLog, name: str, positives: np.ndarray, size: int, dtype: np.dtype
    ) -> np.ndarray:
        key = hashlib.sha256(np.ascontiguousarray(positives).data)
        key.update(f'{log.manifest["fingerprint"]} {name} {size} {dtype}'.encode())

        def write(partial: Path) -> None:
            flat = np.lib.format.open_memmap(partial, 'w+', dtype, (size,))
            self._fill(flat, log, name, positives)
            flat.flush()

        return cached_array(log.folder / 'cache' / f'{name}.{key.hexdigest()[:24]}.npy', write)

    def windows(self, first: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Cuts windows.

        Args:
          first: integer [B], position of the oldest entry among the positives.
          present: bool [B, L], which slots are real.

        Returns:
          [B, L] or [B, L, W], zeros where not present.
        """
        window = self._windows[first * self.width].reshape(-1, *self.shape)
        mask = present.astype(window.dtype)
        window *= mask if window.ndim == 2 else mask[:, :, None]
        return window
