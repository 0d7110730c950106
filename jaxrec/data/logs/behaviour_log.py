"""Behaviour logs: who met what and when, compiled once to memory-mapped columns of ids.

A log folder holds `manifest.json`, `events/` (sorted by user, then time, stable), `items/` and `users/` (row = id), and
`vocab/`. The columns `user`, `item` and `time` have these names whatever the source calls them. A log without times
keeps the given order of each user's events.

Letters: N events, V rows of a vocabulary.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Unpack

import numpy as np

from jaxrec.data.logs.encoding import write_tables
from jaxrec.data.logs.log import REMEDY, Log, Origin
from jaxrec.data.logs.raw_columns import RawTable, check_raw
from jaxrec.data.logs.schema import Column, ColumnSpec

__all__ = ['BehaviourLog', 'Column', 'ColumnSpec', 'UserLog', 'compile_log']


class UserLog(Log):
    """A compiled log whose events are sorted by user and time."""

    @functools.cached_property
    def user_offsets(self) -> np.ndarray:
        """int64 [user rows + 1]: the events of user u are rows `user_offsets[u]:user_offsets[u + 1]`."""
        path = self.folder / 'events' / 'user.offsets.npy'
        try:
            offsets = np.load(path)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f'{path} cannot be read ({error}): {REMEDY}') from None
        if offsets.shape != (self.schema['user'].rows + 1,) or offsets[-1] != len(self):
            raise ValueError(f'{path} does not fit {self.schema["user"].rows} users and {len(self)} events: {REMEDY}')
        return offsets


class BehaviourLog(UserLog):
    """A compiled log of users' behaviours.

    Attributes:
      events: ColumnStore of N rows: `user` and `item` int32, `time` if the log has it, the other event columns.
      items: ColumnStore of item attributes, row = item id; rows 0 (padding) and 1 (out-of-vocabulary) included.
      users: the same for users.
    """

    KIND: ClassVar[str] = 'behaviour log'
    FORMAT: ClassVar[str] = 'jaxrec.behaviour_log'
    COMPILER: ClassVar[str] = 'compile_log'
    STORES: ClassVar[tuple[str, ...]] = ('events', 'items', 'users')

    def __init__(self, folder: str | Path, check_ids: bool = True):
        """Opens a log folder; arguments and errors as in `Log`."""
        super().__init__(folder, check_ids)
        self.items, self.users = self.stores['items'], self.stores['users']


def compile_log(
    folder: str | Path,
    events: RawTable,
    items: RawTable | None = None,
    users: RawTable | None = None,
    *,
    columns: Mapping[str, ColumnSpec] | None = None,
    user: str = 'user',
    item: str = 'item',
    time: str = 'time',
    **origin: Unpack[Origin],
) -> BehaviourLog:
    """Compiles raw columns to a log folder, which appears complete or not at all.

    Args:
      folder: of the log. If it already holds the log of the same content and settings, that one is returned.
      events: raw columns [N], among them `user` and `item` and, if the log has times, `time`. Those not in `columns`
        are stored as they are and must be numeric (rating, click, true click probability, ...).
      items: raw attributes by item, with the key column `item`. Items that occur in no event are skipped.
      users: the same by user.
      columns: how columns become features; `user` and `item` are categorical features in any case.
      user, item, time: what these columns are called in the tables.
      **origin: see `jaxrec.data.logs.log.Origin`.

    Raises:
      ValueError: raw columns that cannot be compiled, or a folder that holds anything else.
    """
    raw = check_raw(events, items, users, columns or {}, (user, item, time))
    return BehaviourLog.write(folder, raw, write_tables, **origin)
