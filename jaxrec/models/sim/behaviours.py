"""The behaviours older than the short window: which rows they need, and what a model reads of them.

In a batch they have one of two sides, with the columns of `features.history` and in the tables of these: 'long', the
complete window [B, L], or 'kept', what a hard search kept of it for each candidate [B, C, K]. A loader may have
searched already; else a hard search is a pure function of the batch's ids, so it runs before the lookup and only kept
behaviours are looked up.

Of a service's batch, candidates of one category share a sequence of kept behaviours [B, G, K]: each such run has M
slots for its candidates.

B batch, C candidates, L history, K kept, N = C for behaviours kept for each candidate, G for those kept for each run of
them, else 1, E width of a candidate, Di of a column's vector.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.data.features.lifelong import PLACE, SLOT
from jaxrec.models.ctr.features import FeatureMap, read
from jaxrec.models.ctr.task import Ids
from jaxrec.ops.histories.pooling import length_mask
from jaxrec.ops.histories.search import Kept, hard_search, take_kept

LONG, KEPT = 'long', 'kept'
_WINDOW = "give data.lifelong a window, such as {'length': 400}, or take a model of the short one alone"
_GAPS = "give data.time_gap a description, such as {'unit': 86400, 'buckets': 16}, or set model.time_gap = 0"
_SEARCHED = (
    "data.lifelong.search = 'hard' leaves in batches what the loader kept, and model.search reads the whole "
    "window: set data.lifelong.search = None, or model.search = 'hard'"
)


class Runs(NamedTuple):
    """Which candidates share a sequence.

    Attributes:
      slot: int32 [B, G, M], the candidate of each slot; any in a slot that is nobody's.
      place: int32 [B, C], which of the G M slots is each candidate's.
    """

    slot: jax.Array
    place: jax.Array

    def collect(self, found: jax.Array) -> jax.Array:
        """Gives each candidate what was found for its slot: [B * G, M, *] to [B, C, *]."""
        found = found.reshape(len(self.slot), -1, found.shape[-1])
        return take_kept(found, self.place[..., None])[:, :, 0]


class Behaviours(NamedTuple):
    """Behaviours in vectors, a part each column.

    Attributes:
      parts: float [B, N, L, Di] each.
      gap: int32 [B, N, L], the bucket of the time since each; None where it is not read.
      length: int32 [B, N], real behaviours.
      kept: where in the window a search found them; None where they were not chosen from one.
      runs: whose they are; None where N is not G.
    """

    parts: tuple[jax.Array, ...]
    gap: jax.Array | None
    length: jax.Array
    kept: Kept | None = None
    runs: Runs | None = None

    @property
    def mask(self) -> jax.Array:
        """float32 [B, N, L], 1 for real behaviours."""
        return length_mask(self.length, self.parts[0].shape[2])

    def choose(self, kept: Kept, parts: tuple[jax.Array, ...] | None = None) -> 'Behaviours':
        """What a search kept of behaviours that all candidates share, N = C; `parts` [B, C, K, Di] if already read."""
        take = lambda x: take_kept(x[:, 0], kept.index)
        gap = None if self.gap is None else take(self.gap)
        parts = parts or tuple(take(part) for part in self.parts)
        return Behaviours(parts, gap, kept.length, kept)

    def by_run(self, candidate: jax.Array) -> tuple[jax.Array, 'Behaviours']:
        """Makes an example of each run: candidates [B, C, E] to [B * G, M, E], and the behaviours they share, N = 1."""
        assert self.runs is not None
        fold = lambda x: x.reshape(-1, *x.shape[2:])
        parts = tuple(_of_all(fold(part)) for part in self.parts)
        gap = None if self.gap is None else _of_all(fold(self.gap))
        slots = fold(take_kept(candidate, self.runs.slot))
        return slots, Behaviours(parts, gap, _of_all(fold(self.length)))


@dataclasses.dataclass(frozen=True)
class Lifelong:
    """How a model reads the behaviours older than its short window.

    Attributes:
      features: the model's; its history columns are those of the behaviours.
      hard: read what a hard search kept, the loader's or its own; False reads all.
      keep, column: K of the hard search, and what it compares.
      time_gap: read the time since each behaviour.
    """

    features: FeatureMap
    hard: bool
    keep: int
    column: str
    time_gap: bool

    def ids(self, batch: Mapping[str, Any]) -> Ids:
        """Names the rows that the model reads: {table: {'long/column': ids [B, L]}}, or {'kept/column': ids [B, C, K]}.

        Raises:
          ValueError: what `searched` refuses, or the batch lacks a column.
        """
        batch, side = self.searched(batch)
        return self.features.as_history(side).ids(batch)

    def check_data(self, data: Mapping[str, Any]) -> None:
        """Checks that the loader, by a config's section `data`, makes the windows that the model reads.

        Raises:
          ValueError: no long window, a search that the model does not read or by another column, or no gaps.
        """
        if (described := data.get('lifelong')) is None:
            raise ValueError(f'model.search reads behaviours before the short window: {_WINDOW}')
        if hasattr(described, 'keys') and described.get('search') is not None:
            if not self.hard:
                raise ValueError(_SEARCHED)
            if (column := described.get('column', 'category')) != self.column:
                raise ValueError(
                    f'the loader searches by data.lifelong.column = {column!r} and the model by '
                    f'model.column = {self.column!r}, so batches would keep other behaviours than the model '
                    'says: give both the same column'
                )
        if self.time_gap and data.get('time_gap') is None:
            raise ValueError(f'model.time_gap reads the time since each behaviour: {_GAPS}')

    def given_ids(self, batch: Mapping[str, Any]) -> Ids:
        """Names the ids as they are in the batch; arguments and results are those of `ids`."""
        side = self._side(batch)
        _check(batch, side)
        return self.features.as_history(side).ids(batch)

    def searched(self, batch: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
        """Does the hard search, if there is one and the loader has not done it.

        Returns:
          The batch, with 'kept/column', 'kept/length' and 'kept/gap' if a hard search is wanted; and the side to be
          read.

        Raises:
          ValueError: the loader kept another number than the model wants, or a key is absent.
        """
        side = self._side(batch)
        _check(batch, side)
        if not self.hard:
            return batch, LONG
        columns = [name for _, name in self.features.as_history(side).features]
        if side == KEPT:
            if (wide := read(batch, f'kept/{columns[0]}').shape[2]) != self.keep:
                raise ValueError(
                    f'the loader kept {wide} behaviours a candidate, the model wants {self.keep}: give '
                    'data.lifelong.keep and model.keep the same number'
                )
            return batch, KEPT
        kept = self.found(batch)
        real = length_mask(kept.length, self.keep) > 0
        own = {'kept/length': kept.length}
        gaps = {'gap': _read_gap(batch, LONG)} if self.time_gap else {}
        for name, window in ({name: read(batch, f'long/{name}') for name in columns} | gaps).items():
            x = take_kept(window, kept.index)
            own[f'kept/{name}'] = jnp.where(real.reshape(*real.shape, *[1] * (x.ndim - 3)), x, 0)
        return {**batch, **own}, KEPT

    def found(self, batch: Mapping[str, Any]) -> Kept:
        """Does the hard search: the positions, in the complete window of the batch, of what it keeps.

        Raises:
          ValueError: the batch lacks the window, or the column that is compared.
        """
        compared = read(batch, f'long/{self.column}'), read(batch, f'candidate/{self.column}')
        return hard_search(*compared, read(batch, 'long/length'), self.keep)

    def read(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> Behaviours:
        """Gives the behaviours their vectors.

        Args:
          rows: {table: {'side/column': [B, ..., D]}} as `lookup` returns them for `ids`.
          batch: {'side/column': array}.

        Returns:
          The behaviours: N = C, or G in a service's batch, if a search kept them, else all, N = 1.

        Raises:
          ValueError: what `searched` refuses, or the batch lacks the lengths or the gaps.
        """
        batch, side = self.searched(batch)
        parts = self.features.as_history(side).parts(side, rows, batch)
        gap = _read_gap(batch, side) if self.time_gap else None
        length = read(batch, f'{side}/length')
        if side == KEPT:
            runs = Runs(batch[SLOT], batch[PLACE]) if PLACE in batch else None
            return Behaviours(parts, gap, length, runs=runs)
        gap = None if gap is None else _of_all(gap)
        return Behaviours(tuple(_of_all(part) for part in parts), gap, _of_all(length))

    def _side(self, batch: Mapping[str, Any]) -> str:
        return KEPT if self.hard and 'kept/length' in batch else LONG


def _check(batch: Mapping[str, Any], side: str) -> None:
    """Refuses batches of other windows than are to be read, which no feature could mend."""
    if f'{side}/length' not in batch:
        what = _SEARCHED if f'{KEPT}/length' in batch else _WINDOW
        raise ValueError(f"the batch lacks '{side}/length', which the model reads; it has {sorted(batch)}: {what}")


def _read_gap(batch: Mapping[str, Any], side: str) -> Any:
    if f'{side}/gap' not in batch:
        raise ValueError(f"the batch lacks '{side}/gap', which the model reads; it has {sorted(batch)}: {_GAPS}")
    return batch[f'{side}/gap']


def _of_all(x: jax.Array) -> jax.Array:
    """[B, 1, ...] of [B, ...]: from the slope of `x[:, None]`, a sum, XLA's CPU backend makes a copy."""
    return x.reshape(x.shape[0], 1, *x.shape[1:])
