"""A Grain source whose items are whole batches of sessions, assembled by index from a session log.

An example is a request. Its shown items are the target: of sessions of high quality for a generator ('generate'), of
all sessions with their labels for a reward model ('reward'). The user's positive items STRICTLY earlier are the
history.

B examples a batch (on this process), S items of a target, L history, N requests, P positive items.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxrec.data.features.gather import take
from jaxrec.data.features.lifelong import sample_slots
from jaxrec.data.features.pairs import SIDES
from jaxrec.data.logs.log import Log
from jaxrec.data.logs.vocabulary import hash64
from jaxrec.data.sessions.filter import Selection, make_filter, quantile
from jaxrec.data.sessions.histories import PositiveItems
from jaxrec.data.sessions.labels import COLUMNS, HEADS, SessionLabels, read_labels
from jaxrec.data.sessions.log import WATCH_TIME, SessionLog
from jaxrec.data.sources.batch_source import Batch, BatchSource, check_count, check_features
from jaxrec.data.sources.splits import PARTS, TRAIN, make_split
from jaxrec.options import plain

MODES = ('generate', 'reward')
CHOICES = ('first', 'positive', 'sample')
USERS_SEED = 65_537  # of the order of users: not the run's, lest two runs share users that they must not


@dataclasses.dataclass(eq=False)
class SessionSource(BatchSource):
    """Random access to the sessions of one part of a session log.

    A batch is a dict: `user/<col>` [B, ...]; `history/<col>` [B, L, ...], the user's most recent positive items, oldest
    first, aligned left, and `history/length` int32 [B]; `target/<col>` [B, S, ...] in the order of display; `valid`
    float32 [B, S], 1 where a target slot holds an item; `host/group` int64 [B] (user id) and `host/event` int64 [B]
    (row in the log). In mode 'reward' there are `label/<head>` float32 [B] and `item_label/<head>` float32 [B, S] of
    the heads swt, vtr, wtr and ltr that the log has, see `jaxrec.data.sessions.labels`; they cover the S items of the
    target alone. Ids are int32, numeric columns float32; multi-valued columns have one more axis W.

    Args:
      log_folder: of a `SessionLog`.
      features: user columns are `user` and other columns of a request; candidate columns, of the target, are `item` and
        item attributes; history columns are these and the numbers of shown items.
      label: which shown items are positive, see `jaxrec.data.sessions.histories.read_positives`.
      history_length: L.
      items: S; sessions of fewer items are skipped and counted.
      mode: 'generate' or 'reward'.
      choose: which S of a longer session: the 'first'; the first that are 'positive', where sessions with fewer
        positive ones are skipped; or a 'sample', drawn for each example and epoch, in their order. A reward model reads
        the first.
      quality: the filter of mode 'generate', see `jaxrec.data.sessions.filter.make_filter`; None keeps all.
      session_labels: description of the labels of mode 'reward', see `jaxrec.data.sessions.labels.read_labels`. Without
        `swt_threshold` it is the median over the training split of the watch time of the first S items.
      users: (from, to) shares of all users, in the order of a seeded hash, whose requests are examples: a reward model
        and the generator it evaluates can so have different users. Thresholds are of all.
      min_history: skip requests with fewer history entries.
      split: its 'positive' requests are those with a positive item, see `PositiveItems.requests`.
      others, errors: see `BatchSource`.

    Attributes:
      log: the opened log.
      selection: what the filter keeps; None without one.
      labels: of mode 'reward', thresholds filled in.
      heads: the heads that batches of mode 'reward' have labels of.
      left_out: {reason: skipped requests}, of all parts.
      others: see `BatchSource`.
    """

    _: dataclasses.KW_ONLY
    history_length: int
    label: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    items: int = 5
    mode: str = 'generate'
    choose: str = 'first'
    quality: Mapping[str, Any] | None = dataclasses.field(default_factory=dict)
    session_labels: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    users: Sequence[float] = (0.0, 1.0)
    min_history: int = 0

    def _open(self) -> tuple[Log, int, int]:
        self._check()
        log = self.log = SessionLog(self.log_folder)
        check_sides(log, self.features)
        self._positives = PositiveItems(log, self.label, self.features['history'])
        start, end = self._positives.before_requests()
        part = make_split(self.split)(log, self._positives.requests)
        train = part == TRAIN
        self.selection: Selection | None = None
        if self.mode == 'generate' and self.quality is not None:
            self.selection = make_filter(self.quality).select(log, train)
        self.labels: SessionLabels | None = None
        self.heads: tuple[str, ...] = ()
        if self.mode == 'reward':
            self.labels, self.heads = self._make_labels(train)
        wanted, self.left_out = self._wanted(end - start)
        self._rows = np.flatnonzero(wanted & (part == PARTS[self.part]))
        self._start, self._end = start[self._rows], end[self._rows]
        return log, len(self._rows), len(self._rows)

    def _check(self) -> None:
        check_count('history_length', self.history_length)
        check_count('items', self.items)
        for name, allowed in (('mode', MODES), ('choose', CHOICES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f'{name} {getattr(self, name)!r} is unknown: use one of {", ".join(allowed)}')
        if self.mode == 'reward' and self.choose != 'first':
            raise ValueError(
                f"mode 'reward' with choose={self.choose!r}: what a user does with an item hangs on those "
                "before it, so a reward model reads the first: set choose to 'first'"
            )
        if self.cartesian:
            raise ValueError('cartesian names pairs of candidates, and a session log has sessions: leave it out')
        self.quality, self.session_labels = plain(self.quality), plain(self.session_labels)
        self.users = check_users(self.users)

    def _make_labels(self, train: np.ndarray) -> tuple[SessionLabels, tuple[str, ...]]:
        log = self.log
        heads = tuple(head for head in HEADS if COLUMNS[head] in log.shown)
        if not heads:
            raise ValueError(
                f'{log.folder} has none of {", ".join(COLUMNS.values())}, so a reward model has no labels: '
                'compile the log with them'
            )
        median = None
        if 'swt' in heads:
            whole = train & (log.lengths >= self.items)
            if train.any() and not whole.any():
                raise ValueError(
                    f'no training session of {log.folder} has {self.items} items, the longest has '
                    f'{log.lengths[train].max()}: lower data.session'
                )
            median = quantile(log, log.totals(WATCH_TIME, self.items), whole, 0.5)
        return read_labels(self.session_labels, median), heads

    def _wanted(self, known: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
        """bool [N]: requests that are examples, whatever their part; and how many are not, by reason."""
        log = self.log
        enough, counted = log.lengths, 'items'
        if self.choose == 'positive':
            counted = 'positive items'
            enough = np.add.reduceat(self._positives.mask.astype(np.int64), log.offsets[:-1])
        wanted, left_out = np.ones(len(log), bool), {}
        reasons = {
            'other users': among_users(log, self.users)[log.events['user']],
            f'fewer than {self.items} {counted}': enough >= self.items,
            f'fewer than {self.min_history} history entries': known >= self.min_history,
            'not of high quality': self.selection.kept if self.selection else np.ones(len(log), bool),
        }
        for reason, good in reasons.items():
            if lost := int((wanted & ~good).sum()):
                left_out[reason] = lost
            wanted &= good
        return wanted, left_out

    def _left_out(self) -> str:
        told = [f'{count} requests are left out: {reason}' for reason, count in self.left_out.items()]
        if any('items' in reason for reason in self.left_out):
            told.append('how many a session has, data.session says, and model.session as it')
        if self.selection:
            told.append(f'data.quality: {self.selection.describe()}')
        return f' (of all parts, {"; ".join(told)})' if told else ''

    def at(self, examples: np.ndarray) -> Batch:
        """The batch, B = n, of any examples of the part, int [n] below `examples`, as the first epoch has them."""
        return self._assemble(np.asarray(examples), 0)

    def _assemble(self, pick: np.ndarray, epoch: int) -> Batch:
        log, rows = self.log, self._rows[pick]
        users = log.events['user'][rows]
        batch: Batch = {}
        for name in self.features['user']:
            batch[f'user/{name}'] = take(log.events[name], rows, log.schema[name].width)
        batch |= self._positives.windows(self._start[pick], self._end[pick], self.history_length)
        places = self._places(rows, epoch)
        items = log.of_shown('item')[places]  # [B, S]
        for name in self.features['candidate']:
            batch[f'target/{name}'] = items if name == 'item' else take(log.items[name], items, log.schema[name].width)
        valid = np.ones(items.shape, bool)
        if self.labels is not None:
            columns = {COLUMNS[head]: log.of_shown(COLUMNS[head])[places] for head in self.heads}
            for head, label in self.labels.of_sessions(columns, valid).items():
                batch[f'label/{head}'] = label
            for head, label in self.labels.of_items(columns, valid).items():
                batch[f'item_label/{head}'] = label
        batch['valid'] = valid.astype(np.float32)
        batch['host/group'] = users.astype(np.int64)
        batch['host/event'] = rows.astype(np.int64)
        return batch

    def _places(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        """int64 [B, S]: which of the M shown items the targets are."""
        begin, length = self.log.offsets[rows], self.log.lengths[rows]
        if self.choose == 'first':
            return begin[:, None] + np.arange(self.items)
        if self.choose == 'sample':
            return begin[:, None] + sample_slots(length, self.items, rows, seed=self.seed, epoch=epoch)
        positive = self._positives.places
        return positive[np.searchsorted(positive, begin)[:, None] + np.arange(self.items)]


def check_users(users: Sequence[float]) -> tuple[float, float]:
    """Returns (from, to) shares of users as a tuple; a ValueError for other than two ascending shares."""
    users = tuple(users)
    if len(users) != 2 or not 0 <= users[0] < users[1] <= 1:
        raise ValueError(f'users {users}: give two ascending shares from 0 to 1, as in (0.0, 0.5)')
    return users


def among_users(log: Log, users: Sequence[float]) -> np.ndarray:
    """bool [rows of the user vocabulary]: the users from one share to another, in the order of a seeded hash."""
    place = (hash64(np.arange(log.schema['user'].rows), USERS_SEED) >> np.uint64(11)) * 2.0**-53
    return (place >= users[0]) & (place < users[1])


def check_sides(log: SessionLog, features: Mapping[str, Sequence[str]]) -> None:
    """Refuses features {side: columns} that a side does not have; reactions to the target are none of them."""
    of_items = ['item', *(name for name in log.schema if name in log.items)]
    of_requests = [n for n in log.schema if n in log.events and n != 'item' and n not in log.shown]
    allowed = {'user': of_requests, 'candidate': of_items, 'history': [*of_items, *log.shown]}
    for side in SIDES:
        check_features(log.folder, side, features[side], allowed[side], None)
