"""Batches of a pool log: visits in time order with all their candidates, or the shown items alone.

A policy reads `PoolSource`: batch i holds the visits that follow those of batch i - 1. A CTR model trains on
`ImpressionSource`: requests whose single candidate is the item that was shown.

Letters: B visits a batch, C candidates, L history, W values of a multi-valued column, N visits of the log.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxrec.data.features.gather import take
from jaxrec.data.features.labels import SampledNegatives, make_label
from jaxrec.data.features.pairs import SIDES
from jaxrec.data.logs.log import Log
from jaxrec.data.pools.log import UNKNOWN, PoolLog
from jaxrec.data.sources.batch_source import Batch, BatchSource, check_count, check_features
from jaxrec.data.sources.splits import PARTS, make_split

KEYS = ('time', 'item', 'pool', 'shown', 'click', 'propensity', 'history')


class VisitColumns:
    """Gathers the features of visits and of candidates from `log`; a ValueError for a side or column that it lacks.

    `features` are 'user': event columns; 'candidate': `item`, item attributes and event columns with a number for each
    candidate; 'history': `item` and item attributes, where the log has histories.
    """

    def __init__(self, log: PoolLog, features: Mapping[str, Sequence[str]]):
        unknown = set(features.keys()) - set(SIDES)
        if unknown:
            raise ValueError(f'features have no side {sorted(unknown)[0]!r}: use {", ".join(SIDES)}')
        self.log = log
        self.features = {side: tuple(features.get(side, ())) for side in SIDES}
        events = [name for name in log.schema if name in log.events and name not in KEYS]
        items = ['item', *(name for name in log.schema if name in log.items)]
        pairs = [name for name in events if log.is_pair(name)]
        allowed = {
            'user': [name for name in events if name not in pairs],
            'candidate': items + pairs,
            'history': items if 'history' in log.events else [],
        }
        for side in SIDES:
            check_features(log.folder, side, self.features[side], allowed[side], None)

    def of_visits(self, rows: np.ndarray) -> Batch:
        """`user/<column>` [B, ...]; with history features `history/<column>` [B, L, ...] and its length."""
        log = self.log
        batch = {f'user/{name}': take(log.events[name], rows, log.schema[name].width) for name in self.features['user']}
        if self.features['history']:
            history = log.events['history']
            met = history.rows(rows, log.schema['history'].width)
            batch |= {f'history/{name}': self._of_items(name, met) for name in self.features['history']}
            batch['history/length'] = (history.offsets[rows + 1] - history.offsets[rows]).astype(np.int32)
        return batch

    def of_candidates(self, rows: np.ndarray, items: np.ndarray, slots: np.ndarray) -> Batch:
        """Gathers `candidate/<column>` [B, C, ...] of visits `rows` [B].

        `items` are ids int32 [B, C], 0 where there is no candidate; `slots`, places in the pools, broadcast with them.
        """
        batch: Batch = {}
        for name in self.features['candidate']:
            if self.log.is_pair(name):
                column = self.log.events[name]
                place = column.offsets[rows][:, None] + slots
                values = column.values[np.minimum(place, len(column.values) - 1)]
                batch[f'candidate/{name}'] = np.where(items > 0, values, np.float32(0))
            else:
                batch[f'candidate/{name}'] = self._of_items(name, items)
        return batch

    def _of_items(self, name: str, items: np.ndarray) -> np.ndarray:
        if name == 'item':
            return items
        return take(self.log.items[name], items, self.log.schema[name].width)


@dataclasses.dataclass(eq=False)
class PoolSource:
    """Random access to batches of consecutive visits, as Grain takes it.

    A batch is a dict: `user/<col>` [B, ...], `candidate/<col>` [B, C, ...], `pool` bool [B, C] (which slots hold a
    candidate, from the left), `shown` int32 [B] (slot of the item that was shown), `click` float32 [B]; unless the
    log's are unknown, `propensity` float32 [B]; with history features `history/<col>` [B, L, ...] and `history/length`
    int32 [B]; on the host `host/time` [B], `host/event` int64 [B] (row in the log) and `host/propensity` float64 [B].
    Ids are int32, numeric columns float32. The last batch is padded with visits of `host/event` -1 that have no
    candidate, click 0 and propensity 1.

    Args:
      log_folder: of a `PoolLog`, opened as `log`.
      features: {side: columns}, see `VisitColumns`.
      batch_size: B.
      first, last: the visits [first, last) are read; to the end of the log by default.
      candidates: C; the size of the log's largest pool by default, more to compile one program for all logs.

    Raises:
      ValueError: arguments that do not fit the log.
    """

    log_folder: str | Path
    _: dataclasses.KW_ONLY
    features: Mapping[str, Sequence[str]]
    batch_size: int
    first: int = 0
    last: int | None = None
    candidates: int | None = None

    def __post_init__(self) -> None:
        check_count('batch_size', self.batch_size)
        self.log_folder = str(self.log_folder)
        self.log = PoolLog(self.log_folder)
        self._columns = VisitColumns(self.log, self.features)
        self.features = self._columns.features
        self.last = len(self.log) if self.last is None else self.last
        if not 0 <= self.first < self.last <= len(self.log):
            raise ValueError(
                f'visits {self.first}..{self.last} of {self.log.folder} do not exist: it has '
                f'{len(self.log)}, give 0 <= first < last <= that'
            )
        self.candidates = self.log.candidates if self.candidates is None else self.candidates
        if self.candidates < self.log.candidates:
            raise ValueError(
                f'candidates={self.candidates} cuts the largest pool of {self.log.folder}, which has '
                f'{self.log.candidates}: give at least as many'
            )

    @property
    def visits(self) -> int:
        """Visits that are walked through."""
        return int(self.last or 0) - self.first

    def __len__(self) -> int:
        return -(-self.visits // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(f'batch {index} of {len(self)}')
        begin = self.first + index * self.batch_size
        return self.at(np.arange(begin, min(begin + self.batch_size, int(self.last or 0))), self.batch_size)

    def at(self, rows: np.ndarray, size: int | None = None) -> Batch:
        """Returns the batch of any visits `rows` [n], padded to `size` visits, B >= n; n by default."""
        log = self.log
        items = log.padded_pools[log.events['pool'][rows]]
        items = np.pad(items, ((0, 0), (0, int(self.candidates or 0) - items.shape[1])))
        batch = self._columns.of_visits(rows)
        batch |= self._columns.of_candidates(rows, items, np.arange(items.shape[1]))
        batch |= {
            'pool': items > 0,
            'shown': log.events['shown'][rows],
            'click': log.events['click'][rows].astype(np.float32),
            'host/time': log.events['time'][rows],
            'host/event': np.asarray(rows, np.int64),
        }
        if log.logging != UNKNOWN:
            batch['host/propensity'] = log.events['propensity'][rows]
            batch['propensity'] = batch['host/propensity'].astype(np.float32)
        return batch if size is None or len(rows) == size else _pad(batch, size)

    def impressions(self, rows: np.ndarray, slots: np.ndarray | None = None, clicks: np.ndarray | None = None) -> Batch:
        """Returns what a CTR model learns from visits: requests whose single candidate is the item that was shown.

        Args:
          rows: integer [n], visits of the log.
          slots: integer [n], the places in the pools of what another logger showed; the log's by default.
          clicks: 0 or 1 [n], what it earned; with `slots` and not without.

        Returns:
          `user/<col>` [n, ...], `candidate/<col>` [n, 1, ...], `label` and `valid` float32 [n, 1], `host/event` int64
            [n, 1]; with history features those too. The same as visits whose pool is what was shown: `pool` bool [n,
            1], all true, `shown` int32 [n], all 0, and `click` float32 [n].

        Raises:
          ValueError: a slot without a candidate, a click other than 0 and 1, or one of both alone.
        """
        return _impressions(self._columns, rows, slots, clicks)

    def __reduce__(self):
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return functools.partial(type(self), own.pop('log_folder'), **own), ()


def _impressions(
    columns: VisitColumns, rows: np.ndarray, slots: np.ndarray | None = None, clicks: np.ndarray | None = None
) -> Batch:
    """As `PoolSource.impressions`."""
    log, events = columns.log, columns.log.events
    if slots is None or clicks is None:
        if slots is not None or clicks is not None:
            raise ValueError('slots and clicks belong together: give both, or neither for those of the log')
        slots, clicks = events['shown'][rows], events['click'][rows]
    else:
        _check_shown(rows, log.pools['candidates'].lengths[events['pool'][rows]], slots, clicks)
    item = log.padded_pools[events['pool'][rows], slots][:, None]
    batch = columns.of_visits(rows) | columns.of_candidates(rows, item, slots[:, None])
    label = clicks.astype(np.float32)[:, None]
    return batch | {
        'label': label,
        'valid': np.ones_like(label),
        'pool': np.ones(label.shape, bool),
        'shown': np.zeros(len(label), np.int32),
        'click': label[:, 0],
        'host/event': np.asarray(rows, np.int64)[:, None],
    }


def _check_shown(rows: np.ndarray, sizes: np.ndarray, slots: np.ndarray, clicks: np.ndarray) -> None:
    if (outside := (slots < 0) | (slots >= sizes)).any():
        n = int(np.argmax(outside))
        raise ValueError(f'visit {rows[n]} was shown slot {slots[n]} of a pool of {sizes[n]}: give a place in it')
    if (strange := ~np.isin(clicks, (0, 1))).any():
        n = int(np.argmax(strange))
        remedy = 'a click is 0 or 1, leave out visits without feedback'
        raise ValueError(f'visit {rows[n]} earned click {clicks[n]}: {remedy}')


@dataclasses.dataclass(eq=False)
class ImpressionSource(BatchSource):
    """Random access to the shown items of a pool log, by split and in any order, as a CTR model trains.

    A batch is that of `PoolSource.impressions`, without `pool`, `shown` and `click`. All else is as in `BatchSource`,
    with a `PoolLog`, the features of `VisitColumns` and the label 'impressions'.
    """

    def _open(self) -> tuple[Log, int, int]:
        self.log = PoolLog(self.log_folder)
        rule = make_label(self.label)
        if isinstance(rule, SampledNegatives) or rule.column != 'click':
            raise ValueError(f'{self.log.folder} is a pool log, its label is the click: use label kind "impressions"')
        self._columns = VisitColumns(self.log, self.features)
        clicked = rule.positive(self.log)
        self._rows = np.flatnonzero(make_split(self.split)(self.log, clicked) == PARTS[self.part])
        return self.log, len(self._rows), len(self._rows)

    def _assemble(self, pick: np.ndarray, epoch: int) -> Batch:
        batch = _impressions(self._columns, self._rows[pick])
        return {name: array for name, array in batch.items() if name not in ('pool', 'shown', 'click')}


def _pad(batch: Batch, size: int) -> Batch:
    padded = {name: np.zeros((size, *array.shape[1:]), array.dtype) for name, array in batch.items()}
    for name, array in batch.items():
        padded[name][: len(array)] = array
    count = len(batch['host/event'])
    padded['host/event'][count:] = -1
    padded['host/time'][count:] = batch['host/time'][-1]
    for name in {'propensity', 'host/propensity'} & padded.keys():
        padded[name][count:] = 1
    return padded
