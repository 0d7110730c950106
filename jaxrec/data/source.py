"""A Grain source whose items are whole batches of requests, assembled by index from a behaviour log.

Item i is batch i: a pure function of the source's arguments and i, so an iterator's state is one number, a
resumed run sees the batches an unbroken one would have seen, and processes that share a batch agree on it
without talking. Epochs live inside the source, because each has its own permutation and its own negatives.

An example is one event, or one of a positive event's 1 + `per_positive` candidates; it is a request with a
single candidate, C = 1.

Letters: B examples a batch (on this process), C = 1 candidates, L history, W values of a multi-valued column,
  E examples an epoch.
"""

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np

from jaxrec.data.behaviour_log import BehaviourLog
from jaxrec.data.gather import HistoryColumn, take
from jaxrec.data.labels import Rule, SampledNegatives, history_bounds, make_label
from jaxrec.data.negatives import NegativeTables, negative_tables, sample_negatives
from jaxrec.data.splits import PARTS, make_split
from jaxrec.options import plain

Batch = dict[str, np.ndarray]
SIDES = ('user', 'candidate', 'history')


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """What batches are assembled from; built in each process on first use, never pickled."""

    rows: np.ndarray  # int64 [E'], event rows of the part
    first: np.ndarray  # int64 [E'], position of the oldest history entry among the positives
    length: np.ndarray  # int32 [E'], history length, at most L
    label: np.ndarray  # float32 [E']
    history: dict[str, HistoryColumn]
    negatives: NegativeTables | None


@dataclasses.dataclass(eq=False)
class RequestSource:
    """Random access to the batches of one part of a log.

    A batch is a dict of `side/column` arrays: `user/<col>` [B, ...], `candidate/<col>` [B, C, ...],
    `history/<col>` [B, L, ...] with `history/length` int32 [B], `label` and `valid` float32 [B, C],
    `host/group` int64 [B] (user id) and `host/event` int64 [B, C] (row in the log, the positive's for a drawn
    negative; -1 where not valid). Ids are int32, numeric columns float32; multi-valued columns have one more
    axis W. Histories run from oldest to newest and are aligned left.

    Args:
      log_folder: of a `BehaviourLog`.
      features: {'user': columns, 'candidate': columns, 'history': columns}. User columns are `user` and user
        attributes; the others `item`, item attributes and event columns that the log's schema describes.
      label: description of a label rule, see `make_label`.
      split: description of a split, see `make_split`.
      part: 'train', 'validation' or 'test'.
      batch_size: examples a batch over all processes.
      history_length: L; the most recent L entries are kept.
      epochs: passes over the part.
      seed: of permutations and negatives.
      shuffle: a new order each epoch, or the order of the log.
      min_history: leave out events with fewer history entries.
      process_index, process_count: this process takes that slice of each batch.
      remainder: 'drop' an incomplete last batch, or 'pad' it with examples of `valid` 0.

    Attributes:
      log: the opened log.
      examples: E, examples an epoch over all processes.
      steps: batches an epoch; `len(source)` is steps * epochs.

    Raises:
      ValueError: for arguments that do not fit the log or each other.
    """

    log_folder: str | Path
    _: dataclasses.KW_ONLY
    features: Mapping[str, Sequence[str]]
    label: Mapping[str, Any]
    split: Mapping[str, Any]
    part: str
    batch_size: int
    history_length: int
    epochs: int = 1
    seed: int = 0
    shuffle: bool = True
    min_history: int = 0
    process_index: int = 0
    process_count: int = 1
    remainder: str = 'drop'

    def __post_init__(self) -> None:
        _check_arguments(self)
        self.log_folder = str(self.log_folder)
        self.features = {side: tuple(self.features.get(side, ())) for side in SIDES}
        self.label, self.split = plain(self.label), plain(self.split)
        self.log = BehaviourLog(self.log_folder)
        self._rule: Rule = make_label(self.label)
        _check_features(self.log, self.features, self._rule)
        self._lock = threading.Lock()
        self._orders: dict[int, np.ndarray] = {}
        self._prepared = self._prepare()
        self._per_event = 1 + self._rule.per_positive if isinstance(self._rule, SampledNegatives) else 1
        self.examples = len(self._prepared.rows) * self._per_event
        whole, rest = divmod(self.examples, self.batch_size)
        self.steps = whole + (rest > 0 and self.remainder == 'pad')
        if not self.steps:
            raise ValueError(
                f'part {self.part!r} of {self.log_folder} has {self.examples} examples, no batch of '
                f'{self.batch_size}: lower batch_size or min_history, pad the remainder or check label and '
                'split'
            )

    def _prepare(self) -> _Prepared:
        log = self.log
        positive = self._rule.positive(log)
        part = make_split(self.split)(log, positive)
        positives, start, end = history_bounds(log, positive)
        first = np.maximum(start, end - self.history_length)
        wanted = (part == PARTS[self.part]) & (end - start >= self.min_history)
        negatives = None
        if isinstance(self._rule, SampledNegatives):
            wanted &= positive
            negatives = negative_tables(log, positive, self._rule.sampler, self._rule.category)
        rows = np.flatnonzero(wanted)
        return _Prepared(
            rows=rows,
            first=first[rows],
            length=(end - first)[rows].astype(np.int32),
            label=positive[rows].astype(np.float32),
            history={
                name: HistoryColumn(log, name, positives, self.history_length)
                for name in self.features['history']
            },
            negatives=negatives,
        )

    @property
    def fallbacks(self) -> int:
        """Positive events whose 'same_category' negatives come from all items, the category being known."""
        return self._prepared.negatives.fallbacks if self._prepared.negatives else 0

    def __len__(self) -> int:
        return self.steps * self.epochs

    def __getitem__(self, index: int) -> Batch:
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(f'batch {index} of {len(self)}')
        epoch, step = divmod(index, self.steps)
        share = self.batch_size // self.process_count
        begin = step * self.batch_size + self.process_index * share
        pick = self._order(epoch)[begin : begin + share] if self.shuffle else np.arange(begin, begin + share)
        pick = pick[pick < self.examples]
        batch = self._assemble(pick, epoch)
        return batch if len(pick) == share else _pad(batch, share)

    def _order(self, epoch: int) -> np.ndarray:
        """The permutation of an epoch; two are kept, since prefetching straddles epochs."""
        with self._lock:
            if epoch not in self._orders:
                dtype = np.int32 if self.examples < 2**31 else np.int64
                generator = np.random.default_rng((self.seed, epoch))
                while len(self._orders) > 1:
                    del self._orders[min(self._orders)]
                self._orders[epoch] = generator.permutation(np.arange(self.examples, dtype=dtype))
            return self._orders[epoch]

    def _assemble(self, pick: np.ndarray, epoch: int) -> Batch:
        prepared, log, events = self._prepared, self.log, self.log.events
        event, slot = np.divmod(pick, self._per_event)
        rows, label = prepared.rows[event], prepared.label[event]
        items, users = events['item'][rows], events['user'][rows]
        if prepared.negatives is not None:
            drawn = np.flatnonzero(slot)
            items[drawn] = sample_negatives(
                prepared.negatives, rows[drawn], slot[drawn], seed=self.seed, epoch=epoch
            )
            label = np.equal(slot, 0).astype(np.float32)
        batch: Batch = {}
        for name in self.features['user']:
            batch[f'user/{name}'] = users if name == 'user' else self._take(name, users)
        for name in self.features['candidate']:
            column = items if name == 'item' else self._take(name, items if name in log.items else rows)
            batch[f'candidate/{name}'] = column[:, None]
        if self.features['history']:
            length, first = prepared.length[event], prepared.first[event]
            present = np.arange(self.history_length, dtype=np.int32) < length[:, None]  # [B, L]
            for name, history in prepared.history.items():
                batch[f'history/{name}'] = history.windows(first, present)
            batch['history/length'] = length
        batch['label'] = label[:, None]
        batch['valid'] = np.ones_like(batch['label'])
        batch['host/group'] = users.astype(np.int64)
        batch['host/event'] = rows[:, None]
        return batch

    def _take(self, name: str, index: np.ndarray) -> np.ndarray:
        return take(self.log.side(name)[name], index, self.log.schema[name].width)

    def __reduce__(self):
        return _rebuild, ({field.name: getattr(self, field.name) for field in dataclasses.fields(self)},)


def make_loader(source: RequestSource, *, threads: int = 2, buffer: int = 4) -> grain.DatasetIterator:
    """Iterates over a source's batches in order, assembling some ahead.

    Args:
      source: a `RequestSource`.
      threads: threads that assemble batches.
      buffer: batches assembled ahead.

    Returns:
      An iterator of batches; `get_state()` and `set_state()` save and resume its position exactly.
    """
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer)
    return iter(grain.MapDataset.source(source).to_iter_dataset(options))


def _rebuild(arguments: Mapping[str, Any]) -> RequestSource:
    return RequestSource(**arguments)


def _pad(batch: Batch, size: int) -> Batch:
    padded = {name: np.zeros((size, *array.shape[1:]), array.dtype) for name, array in batch.items()}
    padded['host/event'][:] = -1
    for name, array in batch.items():
        padded[name][: len(array)] = array
    return padded


def _check_arguments(source: RequestSource) -> None:
    for name in ('batch_size', 'history_length', 'epochs', 'process_count'):
        if getattr(source, name) < 1:
            raise ValueError(f'{name} is {getattr(source, name)}: it must be at least 1')
    if source.part not in PARTS:
        raise ValueError(f'part {source.part!r} is unknown: use one of {", ".join(PARTS)}')
    if source.remainder not in ('drop', 'pad'):
        raise ValueError(f"remainder {source.remainder!r} is unknown: use 'drop' or 'pad'")
    last = source.process_count - 1
    if not 0 <= source.process_index <= last:
        raise ValueError(f'process_index {source.process_index} must lie in 0..{last} (process_count - 1)')
    if source.batch_size % source.process_count:
        raise ValueError(
            f'batch_size {source.batch_size} cannot be cut among {source.process_count} processes: '
            'make it a multiple'
        )
    unknown = set(source.features.keys()) - set(SIDES)
    if unknown:
        raise ValueError(f'features have no side {sorted(unknown)[0]!r}: use {", ".join(SIDES)}')


def _check_features(log: BehaviourLog, features: Mapping[str, Sequence[str]], rule: Rule) -> None:
    judged = rule.positives if isinstance(rule, SampledNegatives) else rule
    for side, names in features.items():
        stores = (log.users,) if side == 'user' else (log.items, log.events)
        allowed = [name for store in stores for name in store.names if name in log.schema and name != 'user']
        allowed = ['user', *allowed] if side == 'user' else allowed
        for name in names:
            if name not in allowed:
                raise ValueError(
                    f'{log.folder} has no {side} feature {name!r}: use any of {", ".join(allowed)}'
                )
            if side == 'candidate' and judged is not None and name == judged.column:
                raise ValueError(
                    f'candidate feature {name!r} is the label itself: take it out of the features'
                )
