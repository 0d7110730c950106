"""Pairs of ids as 64-bit keys, and which of N keys are distinct; on the host alone."""

import numpy as np

CHUNK = 1 << 21  # keys that wait before they are merged, 16 MiB
Keys = tuple[np.ndarray, np.ndarray | None]  # distinct ones in ascending order, and how often each came


def join_ids(candidate: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Joins pairs of ids, int32 of shapes that broadcast, 0 or more, to int64 keys."""
    return (candidate.astype(np.int64) << 32) | other


class DistinctKeys:
    """The distinct ones among many 64-bit keys, merged as they come.

    Memory is bounded by the distinct keys: 17 bytes each at the height of a merge, 57 where they are counted.
    """

    def __init__(self, counted: bool = False):
        """Starts empty; `counted` remembers how often each key came."""
        self._counted = counted
        self._merged: list[Keys] = []  # one part, or none at first
        self._waiting: list[Keys] = []

    def add(self, keys: np.ndarray) -> None:
        """Takes in keys, 64-bit integers [N]."""
        counts = np.ones(len(keys), np.int64) if self._counted else None
        self._waiting.append(_distinct(keys.copy(), counts))
        if _size(self._waiting) > max(CHUNK, _size(self._merged)):
            self._merge()

    def result(self, min_count: int = 1) -> np.ndarray:
        """Returns the keys that came at least so often, [N] in ascending order."""
        self._merge()
        if not self._merged:
            return np.zeros(0, np.uint64)
        keys, counts = self._merged[0]
        return keys if counts is None else keys[counts >= min_count]

    def _merge(self) -> None:
        parts = self._merged + self._waiting
        self._merged, self._waiting = [], []
        if parts:
            keys = np.concatenate([part for part, _ in parts])
            counts = np.concatenate([count for _, count in parts]) if self._counted else None
            del parts
            self._merged = [_distinct(keys, counts)]


def _size(parts: list[Keys]) -> int:
    return sum(len(keys) for keys, _ in parts)


def _distinct(keys: np.ndarray, counts: np.ndarray | None) -> Keys:
    """Sorts keys, in place where nothing is counted, and sums the counts of equal ones."""
    if counts is None:
        keys.sort()
    else:
        order = np.argsort(keys, kind='stable')
        keys, counts = keys[order], counts[order]
    first = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    if counts is not None and len(keys):
        counts = np.add.reduceat(counts, np.flatnonzero(first))
    return keys[first], counts
