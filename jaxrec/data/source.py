"""A Grain source whose items are whole batches of requests, assembled by index from a behaviour log.

An example is one event, or one of a positive event's 1 + `per_positive` candidates; it is a request with a
single candidate, C = 1. Which examples a batch holds is said in `jaxrec.data.batch_source`.

Letters: B examples a batch (on this process), C = 1 candidates, L history, W values of a multi-valued column,
  E examples an epoch.
"""

import dataclasses

import grain
import numpy as np

from jaxrec.data.batch_source import Batch, BatchSource, check_count, check_features
from jaxrec.data.behaviour_log import BehaviourLog
from jaxrec.data.gather import HistoryColumn, take
from jaxrec.data.labels import Rule, SampledNegatives, history_bounds, make_label
from jaxrec.data.log import Log
from jaxrec.data.negatives import NegativeTables, negative_tables, sample_negatives
from jaxrec.data.pairs import SIDES
from jaxrec.data.splits import PARTS, make_split


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
class RequestSource(BatchSource):
    """Random access to the batches of one part of a behaviour log.

    A batch is a dict of `side/column` arrays: `user/<col>` [B, ...], `candidate/<col>` [B, C, ...],
    `history/<col>` [B, L, ...] with `history/length` int32 [B], `label` and `valid` float32 [B, C],
    `host/group` int64 [B] (user id) and `host/event` int64 [B, C] (row in the log, the positive's for a drawn
    negative; -1 where not valid). Ids are int32, numeric columns float32; multi-valued columns have one more
    axis W. Histories run from oldest to newest and are aligned left. Ids of pairs are
    `cartesian/<candidate column>x<column>`, [B, C, L] with a history column and [B, C] with another.

    Args:
      log_folder: of a `BehaviourLog`.
      features: user columns are `user` and user attributes; candidate and history columns are `item`, item
        attributes and event columns that the log's schema describes.
      history_length: L; the most recent L entries are kept.
      min_history: leave out events with fewer history entries.
      label, split, part, batch_size, epochs, seed, shuffle, process_index, process_count, remainder,
        cartesian: see `BatchSource`.

    Attributes:
      log: the opened log.
      events, examples, steps, vocabularies: see `BatchSource`.

    Raises:
      ValueError: for arguments that do not fit the log or each other.
    """

    history_length: int
    min_history: int = 0

    def _open(self) -> tuple[Log, int, int]:
        check_count('history_length', self.history_length)
        self.log = BehaviourLog(self.log_folder)
        self._rule: Rule = make_label(self.label)
        self._check_features()
        self._prepared = self._prepare()
        self._per_event = 1 + self._rule.per_positive if isinstance(self._rule, SampledNegatives) else 1
        events = len(self._prepared.rows)
        return self.log, events, events * self._per_event

    def _check_features(self) -> None:
        log, rule = self.log, self._rule
        judged = rule.positives if isinstance(rule, SampledNegatives) else rule
        label = None if judged is None else judged.column
        for side in SIDES:
            stores = (log.users,) if side == 'user' else (log.items, log.events)
            allowed = [n for store in stores for n in store.names if n in log.schema and n != 'user']
            allowed = ['user', *allowed] if side == 'user' else allowed
            check_features(log.folder, side, self.features[side], allowed, label)

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


def make_loader(source: BatchSource, *, threads: int = 2, buffer: int = 4) -> grain.DatasetIterator:
    """Iterates over a source's batches in order, assembling some ahead.

    Args:
      source: of any kind of log.
      threads: threads that assemble batches.
      buffer: batches assembled ahead.

    Returns:
      An iterator of batches; `get_state()` and `set_state()` save and resume its position exactly.
    """
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer)
    return iter(grain.MapDataset.source(source).to_iter_dataset(options))
