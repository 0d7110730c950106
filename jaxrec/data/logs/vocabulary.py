"""Vocabularies: raw values to table rows, by enumeration with a frequency floor or by hashing.

Row 0 is padding, row 1 is every value out of the vocabulary, real values start at 2. Enumerated ids follow a seeded
hash of the value, not its frequency and not its first appearance: contiguous shards of a table are then equally busy,
and the same data give the same ids whatever the order of reading.

Letters: N values, V rows of the table.
"""

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

PADDING, OUT_OF_VOCABULARY, FIRST = 0, 1, 2
MAX_ROWS = 2**31 - 1
CHUNK = 1 << 22  # values that are counted or looked up at a time
_GOLDEN = 0x9E3779B97F4A7C15


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: uint64 [...] -> uint64 [...], every input bit moves every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hash64(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Hashes integers, booleans or strings [N] to uint64 [N], alike on every machine and in every process.

    The result does not depend on the width of the dtype; `seed` chooses one of 2^64 hash functions.

    Raises:
      ValueError: another dtype.
    """
    values = np.asarray(values)
    start = _mix(np.asarray([(seed + 1) * _GOLDEN & 0xFFFFFFFFFFFFFFFF], np.uint64))
    if values.dtype.kind in 'biu':
        wide = values if values.dtype == np.uint64 else values.astype(np.int64).view(np.uint64)
        return _mix(_mix(wide + np.uint64(_GOLDEN)) ^ start)
    if values.dtype.kind != 'U':
        raise ValueError(f'cannot hash values of dtype {values.dtype}: give integers or strings')
    width = values.dtype.itemsize // 4
    native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder('='))
    points = native.view(np.uint32).reshape(len(values), width)  # [N, W] code points
    lengths = np.strings.str_len(native)
    hashed = np.broadcast_to(start, len(values)).copy()
    for position in range(width):
        step = _mix(hashed * np.uint64(_GOLDEN) + points[:, position] + np.uint64(1))
        hashed = np.where(position < lengths, step, hashed)
    return _mix(hashed ^ lengths.astype(np.uint64))


def hash_order(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """int64 [K], indices of distinct values [K] by hash, and by value where two hashes are equal: the order of ids."""
    hashed = np.concatenate([hash64(chunk, seed) for chunk in _chunks(values)])
    order = np.argsort(hashed, kind='stable')
    if (hashed[order[1:]] == hashed[order[:-1]]).any():
        by_value = np.argsort(values, kind='stable')
        order = by_value[np.argsort(hashed[by_value], kind='stable')]
    return order


def count_values(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sorted distinct values [K] of an integer or string array [N], and how often each occurs, int64 [K]."""
    return merge_counts([np.unique(chunk, return_counts=True) for chunk in _chunks(values)])


def merge_counts(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Sums counts of parts, (distinct values [K], counts [K]) pairs; returns sorted values and int64 counts."""
    if len(parts) == 1 and (parts[0][0][1:] > parts[0][0][:-1]).all():
        return parts[0]
    values, place = np.unique(np.concatenate([values for values, _ in parts]), return_inverse=True)
    counts = np.zeros(len(values), np.int64)
    np.add.at(counts, place, np.concatenate([counts for _, counts in parts]))
    return values, counts


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """Maps raw values to ids and back."""

    keys: np.ndarray  # [V - 2], raw values in id order; none when hashed
    counts: np.ndarray  # int64 [V], occurrences when it was built, [1] those below the floor; none when hashed
    seed: int = 0  # of the hash
    min_count: int = 1  # the floor; values seen less often get id 1
    buckets: int | None = None  # number of hash buckets; None when enumerated
    dropped: int = 0  # number of distinct values below the floor

    @classmethod
    def build(cls, values: np.ndarray, *, min_count: int = 1, seed: int = 0) -> 'Vocabulary':
        """Enumerates the distinct integers or strings [N] seen at least `min_count` times; `seed` orders the ids.

        Raises:
          ValueError: values that are neither integers nor strings, or too many of them for 32-bit ids.
        """
        return cls.from_counts(*count_values(values), min_count=min_count, seed=seed)

    @classmethod
    def from_counts(
        cls, distinct: np.ndarray, counts: np.ndarray, *, min_count: int = 1, seed: int = 0
    ) -> 'Vocabulary':
        """As `build`, from the distinct values [K] and their counts int64 [K]."""
        return cls.enumerate(distinct, counts, min_count=min_count, seed=seed)[0]

    @classmethod
    def enumerate(
        cls,
        distinct: np.ndarray,
        counts: np.ndarray,
        *,
        min_count: int = 1,
        seed: int = 0,
        base: 'Vocabulary | None' = None,
    ) -> tuple['Vocabulary', np.ndarray]:
        """Gives ids to values that have been counted.

        Args:
          distinct: integer or string [K], each value once; with a base, its keys first, in their order.
          counts: int64 [K], occurrences.
          min_count: frequency floor; the keys of the base are above it whatever their count.
          seed: of the hash that orders the ids.
          base: a vocabulary to extend: its keys keep their ids, the others follow in hash order among themselves.

        Returns:
          The vocabulary, and the id of each value, int32 [K].

        Raises:
          ValueError: a floor below 1, or too many values for 32-bit ids.
        """
        if min_count < 1:
            raise ValueError(f'min_count is {min_count}: it must be at least 1')
        old = 0 if base is None else len(base.keys)
        kept = np.append(np.ones(old, bool), counts[old:] >= min_count)
        if kept.sum() > MAX_ROWS - FIRST:
            raise ValueError(
                f'{kept.sum()} distinct values do not fit 32-bit ids: raise min_count or use hashed buckets'
            )
        new = np.flatnonzero(kept[old:]) + old
        order = np.append(np.arange(old), new[hash_order(distinct[new], seed)])
        ids = np.full(len(distinct), OUT_OF_VOCABULARY, np.int32)
        ids[order] = np.arange(FIRST, FIRST + len(order))
        rows = np.concatenate([[0, counts[~kept].sum()], counts[order]]).astype(np.int64)
        dropped = int((~kept).sum())
        if base is not None:
            rows[: old + FIRST] += base.counts
            dropped += base.dropped
        return cls(distinct[order], rows, seed, min_count, None, dropped), ids

    @classmethod
    def hashed(cls, buckets: int, seed: int = 0) -> 'Vocabulary':
        """A vocabulary without a list: id = 2 + hash64(value) % buckets; distinct values may share an id."""
        if not 1 <= buckets <= MAX_ROWS - FIRST:
            raise ValueError(f'buckets is {buckets}: it must lie in 1..{MAX_ROWS - FIRST}, ids are 32-bit')
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), seed, 1, int(buckets))

    @property
    def size(self) -> int:
        """Rows V of a table for this vocabulary, padding and out-of-vocabulary included."""
        return FIRST + (len(self.keys) if self.buckets is None else self.buckets)

    @property
    def out_of_vocabulary(self) -> int:
        """Occurrences that got id 1 when the vocabulary was built; 0 when hashed."""
        return int(self.counts[OUT_OF_VOCABULARY]) if len(self.counts) else 0

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Looks up the ids, int32 [N], of integers or strings [N]; values that the vocabulary does not hold get 1.

        Raises:
          ValueError: strings are looked up among integers or the other way round.
        """
        return np.concatenate([self._find(chunk) for chunk in _chunks(values)])

    def _find(self, values: np.ndarray) -> np.ndarray:
        if self.buckets is not None:
            return (hash64(values, self.seed) % np.uint64(self.buckets)).astype(np.int32) + np.int32(FIRST)
        if (values.dtype.kind == 'U') != (self.keys.dtype.kind == 'U') and len(self.keys) and len(values):
            raise ValueError(
                f'values of dtype {values.dtype} were looked up in a vocabulary of {self.keys.dtype}: '
                'convert them first, 12 and "12" are different values'
            )
        if not len(self.keys):
            return np.full(len(values), OUT_OF_VOCABULARY, np.int32)
        if values.dtype.kind == 'U':  # comparing strings is slow: each distinct one is looked up once
            distinct, inverse = np.unique(values, return_inverse=True)
            return self._place(distinct)[inverse]
        return self._place(values)

    def _place(self, values: np.ndarray) -> np.ndarray:
        keys, ids = self._sorted
        place = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
        return np.where(keys[place] == values, ids[place], np.int32(OUT_OF_VOCABULARY))

    @functools.cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Keys in sorted order and their ids."""
        order = np.argsort(self.keys, kind='stable')
        return self.keys[order], (order + FIRST).astype(np.int32)

    def decode(self, ids: np.ndarray) -> np.ndarray:
        """Raw values of ids, integer [...] in [2, V); a ValueError for ids without a value or a hashed vocabulary."""
        if self.buckets is not None:
            raise ValueError(f'ids of {self.buckets} hash buckets cannot be decoded: distinct values share them')
        ids = np.asarray(ids)
        outside = (ids < FIRST) | (ids >= self.size)
        if outside.any():
            raise ValueError(
                f'id {ids[outside].flat[0]} has no raw value: decodable ids are {FIRST}..{self.size - 1} '
                '(0 is padding, 1 out-of-vocabulary; mask them first)'
            )
        return self.keys[ids - FIRST]

    def describe(self) -> dict[str, Any]:
        """What a manifest says of this vocabulary."""
        return {
            'rows': self.size,
            'seed': self.seed,
            'min_count': self.min_count,
            'buckets': self.buckets,
            'values_below_min_count': self.dropped,
            'occurrences_below_min_count': self.out_of_vocabulary,
        }

    def save(self, folder: str | Path, name: str) -> None:
        """Writes `folder/vocab/name.json`, and `name.npy` and `name.counts.npy` unless hashed."""
        vocab = Path(folder) / 'vocab'
        vocab.mkdir(parents=True, exist_ok=True)
        if self.buckets is None:
            np.save(vocab / f'{name}.npy', self.keys)
            np.save(vocab / f'{name}.counts.npy', self.counts)
        (vocab / f'{name}.json').write_text(json.dumps(self.describe(), indent=1))

    @classmethod
    def load(cls, folder: str | Path, name: str) -> 'Vocabulary':
        """Reads what `save` wrote; a ValueError names the file that is missing, damaged or disagrees with others."""
        vocab = Path(folder) / 'vocab'
        remedy = 'delete the folder and compile it again'
        try:
            described: Mapping[str, Any] = json.loads((vocab / f'{name}.json').read_text())
            seed, buckets = described['seed'], described['buckets']
            if buckets is not None:
                return cls.hashed(buckets, seed)
            keys = np.load(vocab / f'{name}.npy', allow_pickle=False)
            counts = np.load(vocab / f'{name}.counts.npy', allow_pickle=False)
            rows, floor = described['rows'], described['min_count']
            dropped = described['values_below_min_count']
        except (OSError, KeyError, EOFError, ValueError) as error:
            raise ValueError(f'vocabulary {name!r} cannot be read from {vocab} ({error}): {remedy}') from None
        if len(keys) + FIRST != rows or len(counts) != rows:
            raise ValueError(
                f'{vocab / name}.npy has {len(keys)} values where {name}.json says {rows - FIRST}: {remedy}'
            )
        return cls(keys, counts, seed, floor, None, dropped)


def _chunks(values: np.ndarray) -> Iterator[np.ndarray]:
    """Checked parts, at least one: sorting and casting then cost the memory of a part, not of all values."""
    values = np.asarray(values)
    for first in range(0, max(1, len(values)) if values.ndim == 1 else 1, CHUNK):
        yield _checked(values[first : first + CHUNK] if values.ndim == 1 else values)


def _checked(values: np.ndarray) -> np.ndarray:
    """int64 or string [N]: one integer dtype everywhere, since numpy compares int64 with uint64 as floats."""
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in 'biuU':
        raise ValueError(f'vocabulary values are {values.dtype} {values.shape}: give one axis of integers or strings')
    if values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max:
        raise ValueError(f'value {values.max()} does not fit int64: give such identifiers as strings')
    return values if values.dtype.kind == 'U' else values.astype(np.int64, copy=False)
