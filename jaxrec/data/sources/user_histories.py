"""Histories of users as of any time, and their training interactions: for requests that no log holds.

Letters: B users, L history, P positive events, N training interactions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxrec.data.features.gather import first_not_before
from jaxrec.data.features.histories import Histories, Requests
from jaxrec.data.features.labels import positive_events
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.columns import offsets_of
from jaxrec.data.logs.log import Log
from jaxrec.data.sessions.histories import PositiveItems
from jaxrec.data.sessions.log import SessionLog
from jaxrec.data.sources.batch_source import Batch, check_count
from jaxrec.data.sources.session_source import among_users
from jaxrec.data.sources.splits import TRAIN, make_split
from jaxrec.options import plain


class UserHistories:
    """Cuts the histories that a `SessionSource` or `NextItemSource` would cut, of any user at any time, from `log`."""

    def __init__(self, log: Log, label: Mapping[str, Any], names: Sequence[str], length: int):
        """Orders the positive events by user and time.

        Args:
          log: a `SessionLog` or a `BehaviourLog`; a ValueError for another kind, or what the sources refuse.
          label: what is positive, as for `NextItemSource`.
          names: history columns.
          length: L.
        """
        check_count('history_length', length)
        self.log, self._length = log, length
        if isinstance(log, SessionLog):
            self._positives = PositiveItems(log, label, names)
            rows = np.searchsorted(log.offsets, self._positives.places, side='right') - 1
            has_time = True
        else:
            rows = np.flatnonzero(_positive_events(log, label))
            assert isinstance(log, BehaviourLog)
            self._histories = Histories(log, names, rows, length)
            has_time = log.has_time
        users = log.events['user'][rows]
        self._start = offsets_of(np.bincount(users, minlength=log.schema['user'].rows))
        self._times = log.events['time'][rows] if has_time else None

    def cut(self, users: np.ndarray, times: np.ndarray | None = None) -> tuple[Batch, np.ndarray]:
        """Cuts the histories of users.

        Args:
          users: int [B], ids of the log.
          times: [B], in the log's unit: positive events STRICTLY earlier count; None takes all of them.

        Returns:
          {`history/<col>` [B, L, ...], `history/length` int32 [B]}, oldest first, aligned left; and int64 [B], the
            number of earlier positive events, of which the latest L are cut.

        Raises:
          ValueError: times for a log that has none.
        """
        start, end = self._start[users], self._start[users + 1]
        if times is not None:
            if self._times is None:
                raise ValueError(f'{self.log.folder} has no times: leave those of the requests out')
            end = first_not_before(self._times, start, end, times)
        if isinstance(self.log, SessionLog):
            return self._positives.windows(start, end, self._length), end - start
        batch: Batch = {'history/length': np.minimum(end - start, self._length).astype(np.int32)}
        no_items = np.zeros((len(users), 1), np.int32)
        return batch | self._histories.cut(Requests(start, end, users, no_items, None)), end - start


def training_interactions(
    log: Log, label: Mapping[str, Any], split: Mapping[str, Any], users: Sequence[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns users and items, ids int32 [N] each, of the positive items of the training part, by user and time.

    Args:
      log: a `SessionLog` or a `BehaviourLog`; a ValueError for another kind, or what the sources refuse.
      label, split: descriptions, as for `NextItemSource`.
      users: of which share of them, as `NextItemSource` takes it; None for all.
    """
    if isinstance(log, SessionLog):
        positives = PositiveItems(log, label, ())
        rows = np.searchsorted(log.offsets, positives.places, side='right') - 1
        items, known = log.of_shown('item')[positives.places], positives.requests
    else:
        known = _positive_events(log, label)
        rows = np.flatnonzero(known)
        items = log.events['item'][rows]
    trained = make_split(plain(split))(log, known)[rows] == TRAIN
    user = log.events['user'][rows]
    if users is not None:
        trained &= among_users(log, users)[user]
    return user[trained], items[trained]


def _positive_events(log: Log, label: Mapping[str, Any]) -> np.ndarray:
    """bool [events of a behaviour log]."""
    if not isinstance(log, BehaviourLog):
        raise ValueError(
            f'{log.folder} is a {log.KIND}, which has no histories of items: give a session log or a behaviour log'
        )
    return positive_events(log, label)
