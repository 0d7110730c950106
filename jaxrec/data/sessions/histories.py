"""The positive items of a session log, by user and time.

Letters: N requests, M shown items of all requests, P positive ones, B examples, L history.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxrec.data.features.gather import take
from jaxrec.data.features.labels import first_of_instant
from jaxrec.data.logs.columns import offsets_of
from jaxrec.data.sessions.log import LABELS, SessionLog
from jaxrec.options import plain, read_options


class PositiveItems:
    """The positive items of all requests, cut to histories; `mask` bool [M] marks them."""

    def __init__(self, log: SessionLog, label: Mapping[str, Any], names: Sequence[str]):
        """Marks the positive items of a log by `read_positives`.

        `names` are history columns: `item`, item attributes and numbers of shown items.

        Raises:
          ValueError: for a label that the log does not have.
        """
        self._log, self._names = log, tuple(names)
        self.mask = read_positives(log, label)
        self._positives = np.flatnonzero(self.mask)
        self._before = offsets_of(self.mask)  # positives in places < m
        self._user_start = self._before[log.offsets[log.user_offsets]]  # positives of users < u

    @property
    def places(self) -> np.ndarray:
        """int64 [P], places of the positive items among the M."""
        return self._positives

    @property
    def requests(self) -> np.ndarray:
        """bool [N], requests with a positive item.

        A split that counts a user's examples counts these, for every source: so generators, reward models, models of
        single items and behaviour vectors agree on what is test.
        """
        return np.diff(self._before[self._log.offsets]) > 0

    def before_requests(self) -> tuple[np.ndarray, np.ndarray]:
        """Finds the histories of requests: positive items of the same user, strictly earlier in time.

        Returns:
          start, end: int64 [N], positions among the P.
        """
        log = self._log
        users = log.events['user']
        first = first_of_instant(users, log.events['time'])
        return self._user_start[users], self._before[log.offsets[first]]

    def windows(self, start: np.ndarray, end: np.ndarray, length: int) -> dict[str, np.ndarray]:
        """Cuts the most recent `length` entries of ranges of the P, int64 [B] each.

        Returns:
          `history/<col>` [B, L, ...], oldest first, aligned left, 0 in empty slots, and `history/length` int32 [B].
        """
        log = self._log
        first = np.maximum(start, end - length)
        slot = np.arange(length)
        present = slot < (end - first)[:, None]  # [B, L]
        batch: dict[str, np.ndarray] = {}
        if self._names and len(self._positives):
            places = self._positives[np.where(present, first[:, None] + slot, 0)]
            items = log.of_shown('item')[places] * present
            for name in self._names:
                batch[f'history/{name}'] = self._column(name, items, places, present)
        else:
            nothing = np.zeros(present.shape, np.int32)
            batch |= {f'history/{name}': self._column(name, nothing, nothing, present) for name in self._names}
        batch['history/length'] = (end - first).astype(np.int32)
        return batch

    def _column(self, name: str, items: np.ndarray, places: np.ndarray, present: np.ndarray) -> np.ndarray:
        if name == 'item':
            return items
        if name in self._log.items:
            return take(self._log.items[name], items, self._log.schema[name].width)
        return self._log.of_shown(name)[places].astype(np.float32) * present


def read_positives(log: SessionLog, label: Mapping[str, Any]) -> np.ndarray:
    """Marks the shown items that make up histories: bool [M].

    Args:
      log: M shown items.
      label: `any_of`, labels of which a positive item has at least one; without it all of view, like, follow and share
        that the log has.

    Raises:
      ValueError: an unknown key, or a label that the log does not have.
    """
    names = read_options(plain(label), 'label', any_of=())['any_of']
    names = names or [name for name in LABELS if name in log.shown]
    if not names:
        raise ValueError(
            f'{log.folder} has none of {", ".join(LABELS)}, so no shown item is known to be positive: '
            'compile the log with one of them'
        )
    for name in names:
        if name not in LABELS:
            raise ValueError(f'label.any_of names {name!r}: use any of {", ".join(LABELS)}')
    return np.any([log.of_shown(name) != 0 for name in names], 0)
