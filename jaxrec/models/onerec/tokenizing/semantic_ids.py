"""The IDs of a catalogue: codes of L levels, and a rank for items that share all of them.

Items of the same codes form a collision group. A rank inside it, by the order in which items came, is appended as one
more level, so that every ID names one item; or groups are kept, and an ID names all items of one. Later items take
ranks behind those of their group: no ID ever changes.

V items, L levels, K codes of a level, R codes of the rank level, U groups.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxrec.data.logs.array_files import Described, load_arrays, save_arrays

KIND, VERSION = 'jaxrec.onerec.semantic_ids', 1
_ARRAYS: Described = {'codes': ('i', 2), 'ranks': ('i', 1), 'sizes': ('i', 1)}
_REMEDY = 'tokenize the items again'
LEAST_ROOM = 16  # of a rank level, so that new items find a place where no two old ones share their codes


class Groups(NamedTuple):
    """The items that share their codes."""

    codes: np.ndarray  # int32 [U, L], distinct, in ascending order
    offsets: np.ndarray  # int64 [U + 1]; the items of group u are `items[offsets[u]:offsets[u + 1]]`
    items: np.ndarray  # int64 [V], in ascending order inside each group


@dataclasses.dataclass(frozen=True, eq=False)
class SemanticIds:
    """The IDs of all items of a catalogue; a ValueError refuses codes and ranks that are none."""

    codes: np.ndarray  # int32 [V, L], from 0 to K - 1
    ranks: np.ndarray  # int32 [V], from 0 to R - 1; those of a group of n are 0 to n - 1
    clusters: int  # K
    room: int  # R, the largest possible group

    def __post_init__(self):
        if self.codes.ndim != 2 or not self.codes.shape[1] or self.ranks.shape != self.codes.shape[:1]:
            raise ValueError(
                f'codes {self.codes.shape} and ranks {self.ranks.shape}: give [V, L] of at least one level, '
                f'and [V]; {_REMEDY}'
            )
        keys = code_keys(self.codes, self.clusters, self.room)
        largest = int(self.ranks.max(initial=-1))
        if len(self.ranks) and not (self.ranks.min() >= 0 and largest < self.room):
            raise ValueError(
                f'ranks {self.ranks.min()}..{largest} of a rank level of {self.room} codes: {_REMEDY}, with more room'
            )
        order = np.lexsort((self.ranks, keys))
        if (self.ranks[order] != _places(keys[order])).any():
            raise ValueError(f'ranks do not number the items of each group from 0: {_REMEDY}')

    @property
    def ids(self) -> np.ndarray:
        """int32 [V, L + 1], codes and rank: every row differs from every other."""
        return np.concatenate([self.codes, self.ranks[:, None]], 1)

    def groups(self) -> Groups:
        """Returns the collision groups, including those of one item."""
        keys = code_keys(self.codes, self.clusters, self.room)
        items = np.argsort(keys, kind='stable')
        _, start, counts = np.unique(keys[items], return_index=True, return_counts=True)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
        return Groups(self.codes[items[start]], offsets, items)

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Looks items up by their IDs.

        Args:
          ids: int [..., L + 1], codes and rank, in the ranges of their levels.

        Returns:
          int64 [...], rows of items; -1 for an ID that no item has.

        Raises:
          ValueError: another number of levels, or codes out of range.
        """
        ids = np.asarray(ids)
        if ids.shape[-1:] != (self.codes.shape[1] + 1,):
            raise ValueError(
                f'IDs of shape {ids.shape}: give {self.codes.shape[1]} codes and a rank along the last axis'
            )
        flat = ids.reshape(-1, ids.shape[-1])
        ranks = flat[:, -1].astype(np.int64)
        if len(ranks) and not (ranks.min() >= 0 and ranks.max() < self.room):
            raise ValueError(f'ranks {ranks.min()}..{ranks.max()}: the rank level has {self.room} codes')
        wanted = code_keys(flat[:, :-1], self.clusters, self.room) * self.room + ranks
        own = code_keys(self.codes, self.clusters, self.room) * self.room + self.ranks
        if not len(own):
            return np.full(ids.shape[:-1], -1, np.int64)
        order = np.argsort(own)
        place = np.minimum(np.searchsorted(own[order], wanted), len(own) - 1)
        return np.where(own[order[place]] == wanted, order[place], -1).reshape(ids.shape[:-1])

    def add(self, codes: np.ndarray, instead: Callable[[int], np.ndarray] | None = None) -> 'SemanticIds':
        """Gives new items IDs; those of the old ones stay.

        Args:
          codes: int [n, L], as `Codebooks.encode` returns them; they become rows V to V + n - 1.
          instead: of new item i the codes of the last level, the best first, of which it takes the first whose group
            has room if its own is full; None where an item without room is an error.

        Raises:
          ValueError: codes out of range, or a group that outgrows the rank level.
        """
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != self.codes.shape[1]:
            raise ValueError(f'codes of shape {codes.shape}: give [n, {self.codes.shape[1]}], a row an item')
        every = np.concatenate([self.codes, codes])
        ranks = _ranks(code_keys(every, self.clusters, self.room))
        if instead is not None and ranks.max(initial=0) >= self.room:
            self._spill(every, instead)
            ranks = _ranks(code_keys(every, self.clusters, self.room))
        _check_room(every, ranks, self.room)
        return dataclasses.replace(self, codes=every.astype(np.int32), ranks=ranks)

    def _spill(self, every: np.ndarray, instead: Callable[[int], np.ndarray]) -> None:
        """Changes the last codes of those new items, in their order, that find no room."""
        old = len(self.codes)
        keys, counts = np.unique(code_keys(self.codes, self.clusters, self.room), return_counts=True)
        held = dict(zip(keys.tolist(), counts.tolist(), strict=True))
        own = code_keys(every[old:], self.clusters, self.room)
        for i, key in enumerate(own.tolist()):
            if held.get(key, 0) >= self.room:
                first = key - key % self.clusters
                free = [code for code in instead(i).tolist() if held.get(first + code, 0) < self.room]
                if not free:
                    continue  # told by who checks the room
                every[old + i, -1], key = free[0], first + free[0]
            held[key] = held.get(key, 0) + 1

    def save(self, path: str | Path) -> None:
        """Writes the IDs to an `.npz` file."""
        sizes = np.array([self.clusters, self.room], np.int64)
        save_arrays(path, KIND, VERSION, {'codes': self.codes, 'ranks': self.ranks, 'sizes': sizes})

    @classmethod
    def load(cls, path: str | Path) -> 'SemanticIds':
        """Reads IDs; a ValueError for a file that is missing, damaged, of another kind or version, or holds no IDs."""
        found = load_arrays(path, KIND, VERSION, _ARRAYS, _REMEDY)
        if found['sizes'].shape != (2,):
            raise ValueError(f'{path} holds sizes of shape {found["sizes"].shape}, not of K and R: {_REMEDY}')
        clusters, room = found['sizes'].tolist()
        try:
            return cls(found['codes'], found['ranks'], clusters, room)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from None


def assign_ids(codes: np.ndarray, clusters: int, room: int | None = None) -> SemanticIds:
    """Resolves collisions of codes int [V, L], from 0 to K - 1, by ranks in the order of the rows.

    The room R is at least the size of the largest group; None is twice that and at least `LEAST_ROOM`, so that groups
    can grow.

    Raises:
      ValueError: codes out of range, or a group larger than the room.
    """
    codes = np.asarray(codes)
    ranks = _ranks(code_keys(codes, clusters))
    room = max(LEAST_ROOM, 2 * (int(ranks.max(initial=0)) + 1)) if room is None else room
    _check_room(codes, ranks, room)
    return SemanticIds(codes.astype(np.int32), ranks, clusters, room)


def code_keys(codes: np.ndarray, clusters: int, room: int = 1) -> np.ndarray:
    """Maps codes int [V, L] to int64 [V], in the same order; a ValueError if out of range, or above 64 bits."""
    if codes.ndim != 2 or clusters < 1 or room < 1 or clusters ** codes.shape[1] * room > 2**62:
        raise ValueError(
            f'codes {codes.shape} of {clusters} a level and {room} ranks: give [V, L], and levels and codes '
            'of which there are at most 2^62 IDs'
        )
    if codes.size and not (codes.min() >= 0 and codes.max() < clusters):
        raise ValueError(f'codes {codes.min()}..{codes.max()}: each level has {clusters}, from 0')
    keys = np.zeros(len(codes), np.int64)
    for level in codes.T:
        keys = keys * clusters + level
    return keys


def _ranks(keys: np.ndarray) -> np.ndarray:
    """int32 [V]: how many earlier rows have the same key."""
    order = np.argsort(keys, kind='stable')
    ranks = np.empty(len(keys), np.int32)
    ranks[order] = _places(keys[order])
    return ranks


def _places(keys: np.ndarray) -> np.ndarray:
    """int32 [V]: the place of each in the run of equal ones, of sorted keys."""
    first = np.append(True, keys[1:] != keys[:-1])[: len(keys)]
    position = np.arange(len(keys))
    return (position - np.maximum.accumulate(np.where(first, position, 0))).astype(np.int32)


def _check_room(codes: np.ndarray, ranks: np.ndarray, room: int) -> None:
    if len(ranks) and ranks.max() >= room:
        worst = int(ranks.argmax())
        raise ValueError(
            f'{ranks.max() + 1} items share the codes {codes[worst].tolist()} and the rank level has {room} '
            'codes: train anew with more room for it, or without ranks (model.ranks=False)'
        )
