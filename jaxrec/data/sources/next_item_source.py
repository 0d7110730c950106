"""A Grain source of next items: the user's positive items so far, and the next one.

The protocol of the public benchmarks of sequential recommendation: with the split 'leave_last_out' each user's last
positive event is test, the one before it validation, and all items are ranked. It reads a behaviour log, or a session
log, whose positive items of a request share their history.

B examples a batch (on this process), L history, T targets of an example, E examples, P positive items.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.features.gather import take
from jaxrec.data.features.histories import Histories, Requests
from jaxrec.data.features.labels import history_bounds, positive_events
from jaxrec.data.features.pairs import SIDES
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.columns import begins, place_in_run
from jaxrec.data.logs.log import Log
from jaxrec.data.sessions.histories import PositiveItems
from jaxrec.data.sessions.log import SessionLog
from jaxrec.data.sources.batch_source import Batch, BatchSource, check_count, check_features
from jaxrec.data.sources.session_source import among_users, check_sides, check_users
from jaxrec.data.sources.splits import PARTS, make_split

PER_USER = ('each', 'last', 'windows')


@dataclasses.dataclass(frozen=True, eq=False)
class _Positives:
    """The positive items of a log, by user and time."""

    users: np.ndarray  # int32 [P]
    items: np.ndarray  # int32 [P]
    rows: np.ndarray  # int64 [P], event or request
    start: np.ndarray  # int64 [P], where the history of each begins among the P
    end: np.ndarray  # int64 [P]
    part: np.ndarray  # int8 [P]


@dataclasses.dataclass(eq=False)
class NextItemSource(BatchSource):
    """Random access to the next items of one part of a log.

    A batch is a dict: `user/<col>` [B, ...]; `history/<col>` [B, L, ...], the most recent positive items STRICTLY
    earlier, oldest first, aligned left, and `history/length` int32 [B]; `target/<col>` [B, 1, ...]; `valid` float32 [B,
    1]; `host/group` int64 [B] (user id) and `host/event` int64 [B] (row in the log). Ids are int32, numeric columns
    float32; multi-valued columns have one more axis W. With several `targets` an example is a history and up to T next
    items of it: `target/<col>` [B, T, 1, ...], `valid` [B, T, 1].

    Args:
      log_folder: of a `BehaviourLog` or a `SessionLog`, opened as `log`.
      features: user columns are `user` and, of a behaviour log, user attributes; candidate columns, of the target, are
        `item` and item attributes; history columns are these and event columns.
      label: what is positive. Of a behaviour log a label rule, see `jaxrec.data.features.labels.make_label`, of a
        session log see `jaxrec.data.sessions.histories.read_positives`; empty takes all events, or all positives of the
        session log.
      history_length: L.
      per_user: 'each': every positive item of the part is an example; 'last': each user's last one, for models that
        learn from all places of a history at once; 'windows', for those too: in training the last one and every L-th
        before it, so that histories of more than L items are used to their beginning, in the other parts the last one.
      min_history: skip items with fewer history entries.
      targets: T, items of one request in one example, which share its history; those beyond T begin another. 1: an
        example for each item.
      widths: shorter lengths of histories, ascending and below L. Shuffled batches then hold examples with histories of
        similar length, cut to the least of these lengths and L that holds them: as many shapes, and a step that reads
        little padding. The examples of an epoch and the number of batches do not change. Other batches have length L.
      users: (from, to) shares of all users whose items are examples, as of `SessionSource`.
      others, attributes and errors: see `BatchSource`.
    """

    _: dataclasses.KW_ONLY
    history_length: int
    label: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    per_user: str = 'each'
    min_history: int = 1
    targets: int = 1
    widths: Sequence[int] = ()
    users: Sequence[float] = (0.0, 1.0)

    def _open(self) -> tuple[Log, int, int]:
        self._check()
        self.log = _open_log(self.log_folder)
        found = self._of_sessions() if isinstance(self.log, SessionLog) else self._of_events()
        wanted = (found.part == PARTS[self.part]) & (found.end - found.start >= self.min_history)
        wanted &= among_users(self.log, self.users)[found.users]
        self._picked = np.flatnonzero(wanted)
        if self.per_user != 'each':
            whole = self.per_user == 'windows' and self.part == 'train'
            to_last = _to_last(found.users[self._picked])
            self._picked = self._picked[to_last % self.history_length == 0 if whole else to_last == 0]
        self._found = found
        self._first = self._examples(found.rows[self._picked])
        return self.log, len(self._picked), len(self._first) - 1

    def _check(self) -> None:
        for name in ('history_length', 'targets'):
            check_count(name, getattr(self, name))
        if self.per_user not in PER_USER:
            raise ValueError(f'per_user {self.per_user!r} is unknown: use one of {", ".join(PER_USER)}')
        if self.targets > 1 and self.per_user != 'each':
            raise ValueError(
                f'targets = {self.targets} with per_user = {self.per_user!r}: one item of a user has no '
                "others of its request beside it, leave targets out or set per_user to 'each'"
            )
        self.users, self.widths = check_users(self.users), tuple(self.widths)
        if (np.diff((0, *self.widths, self.history_length)) < 1).any():
            raise ValueError(
                f'widths = {self.widths}: give ascending lengths of histories, from 1 to below '
                f'history_length = {self.history_length}'
            )
        if self.cartesian:
            raise ValueError('cartesian names pairs of candidates, and a next item has none: leave it out')

    def _examples(self, rows: np.ndarray) -> np.ndarray:
        """int64 [E + 1]: where examples begin among the picked items, of these requests, and the last end."""
        if self.targets > 1 and not isinstance(self.log, SessionLog):
            raise ValueError(
                f'targets = {self.targets}: {self.log.folder} is a {self.log.KIND}, and only items of one '
                'request of a session log share their history: leave targets out'
            )
        return np.append(np.flatnonzero(place_in_run(begins(rows)) % self.targets == 0), len(rows))

    def __getitem__(self, index: int) -> Batch:
        batch = super().__getitem__(index)
        if not self.widths or not self.shuffle:
            return batch
        epoch, step = divmod(int(index), self.steps)
        # Of the whole batch, whatever part of it this process has: all have one shape.
        whole = self._order(epoch)[step * self.batch_size :][: self.batch_size]
        width = self._all_widths[self._width_of(whole).max()]
        of_history = {f'history/{name}' for name in self.features['history']}
        return batch | {name: array[:, :width] for name, array in batch.items() if name in of_history}

    @property
    def _all_widths(self) -> tuple[int, ...]:
        return (*self.widths, self.history_length)

    def _width_of(self, examples: np.ndarray) -> np.ndarray:
        """int [n]: the number of the least width that holds the history of each."""
        chosen = self._picked[self._first[examples]]
        known = np.minimum(self._found.end[chosen] - self._found.start[chosen], self.history_length)
        return np.searchsorted(self._all_widths, known)

    def _arrange(self, order: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """The same examples, batches of histories of one width (on a border the longer), the batches in any order."""
        if not self.widths:
            return order
        kept = order[: self.steps * self.batch_size]  # those of a remainder that is dropped stay the same
        grouped = kept[np.argsort(self._width_of(kept), kind='stable')]
        full = len(grouped) // self.batch_size * self.batch_size
        batches = generator.permutation(grouped[:full].reshape(-1, self.batch_size))
        return np.append(batches, grouped[full:])

    def _of_events(self) -> _Positives:
        log = self.log
        assert isinstance(log, BehaviourLog)
        of_items = ['item', *(name for name in log.schema if name in log.items)]
        allowed = {
            'user': ['user', *(name for name in log.schema if name in log.users)],
            'candidate': of_items,
            'history': [*of_items, *(n for n in log.schema if n in log.events and n not in ('item', 'user'))],
        }
        for side in SIDES:
            check_features(log.folder, side, self.features[side], allowed[side], None)
        positive = positive_events(log, self.label)
        part = make_split(self.split)(log, positive)
        rows, start, end = history_bounds(log, positive)
        self._histories = Histories(log, self.features['history'], rows, self.history_length)
        users, items = log.events['user'][rows], log.events['item'][rows]
        return _Positives(users, items, rows, start[rows], end[rows], part[rows])

    def _of_sessions(self) -> _Positives:
        log = self.log
        assert isinstance(log, SessionLog)
        check_sides(log, self.features)
        self._positives = PositiveItems(log, self.label, self.features['history'])
        places = self._positives.places
        rows = np.repeat(np.arange(len(log)), log.lengths)[places]
        part = make_split(self.split)(log, self._positives.requests)
        start, end = self._positives.before_requests()
        return _Positives(
            log.events['user'][rows], log.of_shown('item')[places], rows, start[rows], end[rows], part[rows]
        )

    def _assemble(self, pick: np.ndarray, epoch: int) -> Batch:
        log, found, chosen = self.log, self._found, self._picked[self._first[pick]]
        users, rows = found.users[chosen], found.rows[chosen]
        start, end = found.start[chosen], found.end[chosen]
        items, valid = self._targets(pick)
        sessions = isinstance(log, SessionLog)
        batch: Batch = {}
        for name in self.features['user']:
            of_user = name != 'user' and not sessions
            column = log.side(name)[name]
            batch[f'user/{name}'] = take(column, users if of_user else rows, log.schema[name].width)
        if sessions:
            batch |= self._positives.windows(start, end, self.history_length)
        else:
            batch['history/length'] = np.minimum(end - start, self.history_length).astype(np.int32)
            batch |= self._histories.cut(Requests(start, end, users, items, None))
        for name in self.features['candidate']:
            column = log.side(name)[name]
            batch[f'target/{name}'] = items if name == 'item' else take(column, items, log.schema[name].width)
        batch['valid'] = valid.astype(np.float32)
        batch['host/group'] = users.astype(np.int64)
        batch['host/event'] = rows.astype(np.int64)
        return batch

    def _targets(self, pick: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Items int32 [B, 1], or of several a request [B, T, 1], 0 in slots left over, and which are none."""
        first, slot = self._first[pick][:, None], np.arange(self.targets)
        valid = slot < self._first[pick + 1][:, None] - first  # [B, T]
        items = self._found.items[self._picked[np.where(valid, first + slot, first)]] * valid
        return (items, valid) if self.targets == 1 else (items[..., None], valid[..., None])


def require_one_target(data: Mapping[str, Any]) -> None:
    """Refuses several next items of a history in a config's data section, for a model that reads one."""
    if data.get('targets', 1) > 1:
        raise ValueError(
            f'data.targets = {data["targets"]}: this model reads one next item of a history, leave it out; '
            'those of jaxrec.models.onerec:make_task read several'
        )


def _to_last(users: np.ndarray) -> np.ndarray:
    """int64 [P]: how many more of the same user follow each, of users in a row."""
    last = np.flatnonzero(np.append(users[1:] != users[:-1], True)[: len(users)])
    return np.repeat(last, np.diff(last, prepend=-1)) - np.arange(len(users))


def _open_log(folder: str | Path) -> BehaviourLog | SessionLog:
    """Opens a log of either kind; one that is neither is refused as no behaviour log."""
    try:
        found = json.loads((Path(folder) / 'manifest.json').read_text()).get('format')
    except (OSError, ValueError, AttributeError):
        found = None  # the opening below says what is wrong
    return SessionLog(folder) if found == SessionLog.FORMAT else BehaviourLog(folder)
