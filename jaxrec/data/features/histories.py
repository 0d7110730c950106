"""The history side of batches: the short window, older behaviours, and the time gaps of both.

One class serves the source, whose requests are events of the log, and new rows, which no log holds.

B requests, C candidates, S short window, L long window, K kept behaviours, n sampled behaviours, W values of a
multi-valued column, P positive events, G buckets of time gaps.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxrec.data.features.gather import HistoryColumn
from jaxrec.data.features.hard_search import SearchIndex, scan, search_index
from jaxrec.data.features.lifelong import Lifelong, read_lifelong, sample_slots
from jaxrec.data.features.time_gap import read_time_gap
from jaxrec.data.logs.behaviour_log import BehaviourLog

SIDES = ('history', 'long', 'kept')  # sides of a batch that hold the columns of `features.history`
Read = Callable[[HistoryColumn], np.ndarray]
Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Requests:
    """Users and candidates of requests, and their histories: oldest first, `positives[start:end]`."""

    start: np.ndarray  # int64 [B]
    end: np.ndarray  # int64 [B]
    users: np.ndarray  # int32 [B]
    items: np.ndarray  # int32 [B, C], the candidates
    times: np.ndarray | None  # [B]; None where they are not known


@dataclasses.dataclass(frozen=True, eq=False)
class Draw:
    """What the draws of training depend on: `examples`, integer [B], `seed` and `epoch`."""

    examples: np.ndarray
    seed: int
    epoch: int


@dataclasses.dataclass(frozen=True, eq=False)
class _Search:
    """What a hard search needs, prepared once for a log."""

    index: SearchIndex
    of_item: np.ndarray | None  # int32 [V], what is compared; None for the item itself
    values: HistoryColumn | None  # the same of the behaviours; of a sample alone, which no index knows


class Histories:
    """Cuts the histories of requests.

    `history/<col>` [B, S] are the S most recent behaviours and `history/length` int32 [B] their number. With a lifelong
    history the L before these, disjoint from them, are
      `long/<col>` [B, L] and `long/length` int32 [B], or, with a hard search,
      `kept/<col>` [B, C, K] and `kept/length` int32 [B, C]: the K most recent ones whose `column` equals that of the
        candidate. Out-of-vocabulary equals out-of-vocabulary; padding equals nothing.
    In training a `sample` of n replaces the L: `long/<col>` is [B, n] then. With time gaps each side has `gap`, int32
    of the shape of its slots. All run from oldest to newest, aligned left, 0 in the slots left over; multi-valued
    columns have one more axis W.
    """

    def __init__(
        self,
        log: BehaviourLog,
        names: Sequence[str],
        positives: np.ndarray,
        length: int,
        lifelong: Mapping[str, Any] | None = None,
        time_gap: Mapping[str, Any] | None = None,
    ):
        """Prepares the columns.

        Args:
          log: the log; a ValueError for a description that does not fit it.
          names: `item`, item attributes and event columns.
          positives: int64 [P], rows of the positive events.
          length: S.
          lifelong, time_gap: descriptions, see `read_lifelong` and `read_time_gap`.
        """
        self.length = length
        self.lifelong, self.time_gap = read_lifelong(lifelong, log), read_time_gap(time_gap, log)
        for key, described in (('lifelong', lifelong), ('time_gap', time_gap)):
            if described is not None and not names:
                raise ValueError(
                    f'data.{key} reads the columns of features.history, and there are none: '
                    f'add some, or leave data.{key} out'
                )
        longest = max(length, self.lifelong.length if self.lifelong else 0)
        column = lambda name: HistoryColumn(log, name, positives, longest)
        self._columns = {name: column(name) for name in names}
        self._times = column('time') if self.time_gap else None
        self._search = None
        if self.lifelong and self.lifelong.search:
            name = self.lifelong.column
            self._search = _Search(
                search_index(log, name, positives),
                None if name == 'item' else log.items[name],
                (self._columns.get(name) or column(name)) if self.lifelong.sample else None,
            )

    def cut(self, requests: Requests, draw: Draw | None = None) -> Batch:
        """Builds the history side of a batch, {'side/column': array}, see the class; {} where there are no columns.

        `draw` is for training, where a lifelong history may be sampled; None reads all of it.

        Raises:
          ValueError: time gaps are wanted, and the requests have no times.
        """
        if not self._columns:
            return {}
        first = np.maximum(requests.start, requests.end - self.length)
        batch = self._windows('history', first, requests.end, self.length, requests)
        if self.lifelong is None:
            return batch
        oldest = np.maximum(requests.start, first - self.lifelong.length)
        if draw is not None and self.lifelong.sample is not None:
            return batch | self._sampled(oldest, first, requests, self.lifelong, draw)
        if self._search is None:
            return batch | self._windows('long', oldest, first, self.lifelong.length, requests)
        wanted = _wanted(self._search, requests)
        found = self._search.index.search(requests.users, wanted, oldest, first, self.lifelong.keep)
        return batch | self._entries('kept', *found, requests)

    def _sampled(
        self, oldest: np.ndarray, end: np.ndarray, requests: Requests, lifelong: Lifelong, draw: Draw
    ) -> Batch:
        """The long or kept side, of n behaviours among the positions from `oldest` to `end`."""
        assert lifelong.sample is not None
        slots = sample_slots(end - oldest, lifelong.sample, draw.examples, seed=draw.seed, epoch=draw.epoch)
        length = np.minimum(end - oldest, lifelong.sample).astype(np.int32)
        positions = oldest[:, None] + slots
        if self._search is None or self._search.values is None:
            return self._entries('long', positions, length, requests)
        present = _present(length, lifelong.sample)
        values = self._search.values.at(positions, present)
        kept, length = scan(values, present, _wanted(self._search, requests), lifelong.keep)
        return self._entries('kept', np.take_along_axis(positions[:, None], kept, 2), length, requests)

    def _windows(self, side: str, first: np.ndarray, end: np.ndarray, slots: int, requests: Requests) -> Batch:
        length = (end - first).astype(np.int32)
        present = _present(length, slots)
        return self._read(side, length, present, requests, lambda column: column.windows(first, present))

    def _entries(self, side: str, positions: np.ndarray, length: np.ndarray, requests: Requests) -> Batch:
        present = _present(length, positions.shape[-1])
        return self._read(side, length, present, requests, lambda column: column.at(positions, present))

    def _read(self, side: str, length: np.ndarray, present: np.ndarray, requests: Requests, read: Read) -> Batch:
        batch = {f'{side}/{name}': read(column) for name, column in self._columns.items()}
        batch[f'{side}/length'] = length
        if self.time_gap and self._times is not None:
            if requests.times is None:
                raise ValueError(
                    'data.time_gap counts back from the time of each request, and these have none: add the '
                    'column of times to the rows and the mapping, or train without data.time_gap'
                )
            batch[f'{side}/gap'] = self.time_gap.bucket(requests.times, read(self._times), present)
        return batch


def _present(length: np.ndarray, slots: int) -> np.ndarray:
    """bool [..., slots], true in the first `length` slots."""
    return np.arange(slots, dtype=np.int32) < length[..., None]


def _wanted(search: _Search, requests: Requests) -> np.ndarray:
    """int32 [B, C], what the candidates have in the column of the search."""
    return requests.items if search.of_item is None else search.of_item[requests.items]
