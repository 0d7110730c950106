"""A Grain source whose items are whole batches of requests, assembled by index from a behaviour log.

An example is a request of one candidate, C = 1: one event, or one of a positive event's 1 + `per_positive` candidates.
With `candidates` it is a request of up to C: the events of one user and instant, such as a page of impressions, share
one history. `jaxrec.data.sources.batch_source` defines which examples a batch holds.

Letters: B examples a batch (on this process), C candidates, S short and L long window of the history, K kept and n
  sampled behaviours, W values of a multi-valued column, E examples an epoch, E' events.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import numpy as np

from jaxrec.data.features import negatives as drawing
from jaxrec.data.features.gather import take
from jaxrec.data.features.histories import SIDES as HISTORY_SIDES
from jaxrec.data.features.histories import Draw, Histories, Requests
from jaxrec.data.features.labels import Rule, SampledNegatives, history_bounds, make_label
from jaxrec.data.features.pairs import SIDES
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.columns import begins, place_in_run
from jaxrec.data.logs.log import Log
from jaxrec.data.sources.batch_source import Batch, BatchSource, check_count, check_features
from jaxrec.data.sources.splits import PARTS, make_split
from jaxrec.options import plain


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """What batches are assembled from; built in each process on first use, never pickled."""

    rows: np.ndarray  # int64 [E'], event rows of the part
    first: np.ndarray | None  # int64 [E + 1], place in `rows` where each request begins; None: one event each
    start: np.ndarray  # int64 [E'], position of the oldest history entry among the positives
    end: np.ndarray  # int64 [E'], of the first that is no history
    label: np.ndarray  # float32 [E']
    histories: Histories
    negatives: drawing.NegativeTables | None
    beside: drawing.HistoryPool | None


@dataclasses.dataclass(eq=False)
class RequestSource(BatchSource):
    """Random access to the batches of one part of a behaviour log.

    A batch is a dict of `side/column` arrays: `user/<col>` [B, ...], `candidate/<col>` [B, C, ...], `history/<col>` [B,
    S, ...] with `history/length` int32 [B], `label` and `valid` float32 [B, C], `host/group` int64 [B] (user id) and
    `host/event` int64 [B, C] (row in the log, the positive's for a drawn negative; -1 where not valid). A request of
    fewer than C candidates has them first, and 0 in all that the others hold. Ids are int32, numeric columns float32;
    multi-valued columns have one more axis W. Histories run from oldest to newest and are aligned left. With
    `history_negatives` there is `history_negative/<col>` for the item and its attributes: another item than the entry's
    in `history/<col>`, 0 on padding, drawn anew for each example and epoch. Ids of pairs are `cartesian/<candidate
    column>x<column>`, [B, C, S] with a history column and [B, C] with another.

    With `lifelong` there are the L behaviours older than the S of the history too, in the same columns: `long/<col>`
    [B, L, ...] with `long/length` int32 [B]; or, where they are searched, the K most recent ones of the candidate's
    category, `kept/<col>` [B, C, K, ...] with `kept/length` int32 [B, C]. While shuffled, a `sample` of n, drawn for
    each example and epoch, replaces the L, and `long/<col>` is [B, n, ...]. With `time_gap` each side has `gap`, int32
    [B, S], [B, L] or [B, C, K], buckets of the time between behaviour and event: see `jaxrec.data.features.time_gap`.

    Args:
      log_folder: of a `BehaviourLog`, opened as `log`.
      features: user columns are `user` and user attributes; candidate and history columns are `item`, item attributes
        and event columns that the log's schema describes.
      history_length: S; the most recent S entries are kept.
      min_history: skip events with fewer history entries.
      candidates: C, events of one user and instant in a request at most; their history is read once for all of them.
      history_negatives: how items are drawn for history entries, 'uniform', 'popularity' or None.
      lifelong: description of older behaviours, see `jaxrec.data.features.lifelong.read_lifelong`.
      time_gap: description of buckets, see `jaxrec.data.features.time_gap.read_time_gap`.
      others, attributes and errors: see `BatchSource`.
    """

    history_length: int
    min_history: int = 0
    candidates: int = 1
    history_negatives: str | None = None
    lifelong: Mapping[str, Any] | None = None
    time_gap: Mapping[str, Any] | None = None

    def _open(self) -> tuple[Log, int, int]:
        check_count('history_length', self.history_length)
        check_count('candidates', self.candidates)
        self.lifelong, self.time_gap = plain(self.lifelong), plain(self.time_gap)
        self.log = BehaviourLog(self.log_folder)
        self._rule: Rule = make_label(self.label)
        self._check_features()
        if self.candidates > 1:
            _check_candidates(self.log, self._rule)
        if self.history_negatives is not None:
            _check_history_negatives(self.log, self.features['history'])
        self._prepared = self._prepare()
        self._per_event = 1 + self._rule.per_positive if isinstance(self._rule, SampledNegatives) else 1
        events, first = len(self._prepared.rows), self._prepared.first
        return self.log, events, events * self._per_event if first is None else len(first) - 1

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
        wanted = (part == PARTS[self.part]) & (end - start >= self.min_history)
        negatives = None
        if isinstance(self._rule, SampledNegatives):
            wanted &= positive
            negatives = drawing.negative_tables(log, positive, self._rule.sampler, self._rule.category)
        rows = np.flatnonzero(wanted)
        names, beside = self.features['history'], None
        if self.history_negatives is not None:
            beside = drawing.history_pool(log, positive, self.history_negatives)
            names = tuple(dict.fromkeys((*names, 'item')))  # drawn beside the item, whatever else is read
        return _Prepared(
            rows=rows,
            first=_requests(log, rows, self.candidates) if self.candidates > 1 else None,
            start=start[rows],
            end=end[rows],
            label=positive[rows].astype(np.float32),
            histories=Histories(log, names, positives, self.history_length, self.lifelong, self.time_gap),
            negatives=negatives,
            beside=beside,
        )

    @property
    def fallbacks(self) -> int:
        """Positive events whose 'same_category' negatives come from all items, the category being known."""
        return self._prepared.negatives.fallbacks if self._prepared.negatives else 0

    def _assemble(self, pick: np.ndarray, epoch: int) -> Batch:
        prepared, log = self._prepared, self.log
        event, slot, valid = self._candidates(pick)
        rows, label = prepared.rows[event], prepared.label[event] * valid
        users, items = log.events['user'][rows[:, 0]], log.events['item'][rows] * valid
        if prepared.negatives is not None:  # one candidate each
            drawn = np.flatnonzero(slot)
            items[drawn, 0] = drawing.sample_negatives(
                prepared.negatives, rows[drawn, 0], slot[drawn], seed=self.seed, epoch=epoch
            )
            label = np.equal(slot, 0).astype(np.float32)[:, None]
        batch: Batch = {}
        for name in self.features['user']:
            batch[f'user/{name}'] = users if name == 'user' else self._take(name, users)
        for name in self.features['candidate']:
            column = items if name == 'item' else self._take(name, items if name in log.items else rows)
            axes = (1,) * (column.ndim - 2)
            batch[f'candidate/{name}'] = column * valid.reshape(*valid.shape, *axes).astype(column.dtype)
        times = log.events['time'][rows[:, 0]] if self.time_gap is not None else None
        requests = Requests(prepared.start[event[:, 0]], prepared.end[event[:, 0]], users, items, times)
        batch |= self._histories(requests, Draw(rows[:, 0] * self._per_event + slot, self.seed, epoch))
        batch['label'] = label
        batch['valid'] = valid.astype(np.float32)
        batch['host/group'] = users.astype(np.int64)
        batch['host/event'] = np.where(valid, rows, -1)
        return batch

    def _candidates(self, pick: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Events as places in the part [B, C], the number of each among its candidates [B], which are real [B, C]."""
        first = self._prepared.first
        if first is None:
            event, slot = np.divmod(pick, self._per_event)
            return event[:, None], slot, np.ones((len(pick), 1), bool)
        place = np.arange(self.candidates)
        begin, count = first[pick], first[pick + 1] - first[pick]
        return (begin[:, None] + np.minimum(place, count[:, None] - 1), np.zeros_like(pick), place < count[:, None])

    def _histories(self, requests: Requests, draw: Draw) -> Batch:
        """The history sides of a batch; `draw` names each example by its event and candidate."""
        batch = self._prepared.histories.cut(requests, draw if self.shuffle else None)
        beside, names = self._prepared.beside, self.features['history']
        if beside is not None:
            drawn = drawing.sample_beside(
                beside, batch['history/item'], draw.examples, seed=draw.seed, epoch=draw.epoch
            )
            for name in _item_columns(self.log, names):
                batch[f'history_negative/{name}'] = drawn if name == 'item' else self._take(name, drawn)
            for side in HISTORY_SIDES if 'item' not in names else ():
                batch.pop(f'{side}/item', None)
        return batch

    def _take(self, name: str, index: np.ndarray) -> np.ndarray:
        return take(self.log.side(name)[name], index, self.log.schema[name].width)


def make_loader(source: BatchSource, *, threads: int = 2, buffer: int = 4) -> grain.DatasetIterator:
    """Iterates over a source's batches in order; `threads` assemble up to `buffer` batches ahead.

    `get_state()` and `set_state()` of the iterator save and resume its position exactly.
    """
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer)
    return iter(grain.MapDataset.source(source).to_iter_dataset(options))


def _requests(log: BehaviourLog, rows: np.ndarray, candidates: int) -> np.ndarray:
    """int64 [E + 1]: where requests of at most so many events begin, and the end of the last."""
    since = place_in_run(begins(log.events['user'][rows], log.events['time'][rows]))
    return np.append(np.flatnonzero(since % candidates == 0), len(rows))


def _item_columns(log: BehaviourLog, names: Sequence[str]) -> list[str]:
    """Those of the columns that an item has by itself, whatever the event."""
    return [name for name in names if name == 'item' or name in log.items]


def _check_candidates(log: BehaviourLog, rule: Rule) -> None:
    if not log.has_time:
        raise ValueError(f'data.candidates joins the events of one instant, and {log.folder} has no times: set it to 1')
    if isinstance(rule, SampledNegatives):
        raise ValueError(
            "data.candidates joins shown items, and label kind 'sampled_negatives' draws its own: set it to 1"
        )


def _check_history_negatives(log: BehaviourLog, names: Sequence[str]) -> None:
    if not _item_columns(log, names):
        raise ValueError(
            f'history_negatives stand beside item columns, and the history features are {list(names)}: add '
            "'item' or an item attribute to features.history, or leave history_negatives out"
        )
