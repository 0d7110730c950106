"""Session logs: requests, each answered by a session of items, and the user's response to each item.

Session-wise recommenders learn from them (OneRec, arXiv 2502.18965). A log folder holds `manifest.json`, `events/` (one
row a request, sorted by user, then time, stable), `items/` (row = item id) and `vocab/`. The key columns are always
called `user`, `time` and `item` (the session, in the order of display). Other columns have one number for each shown
item: of `watch_time` (seconds), `view` (watched effectively), `like`, `follow` and `share` a log has what its source
knows, and it may have others.

Letters: N requests, M shown items of all requests, S items of the longest session, V item rows.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxrec.data.logs.behaviour_log import UserLog
from jaxrec.data.logs.columns import Ragged
from jaxrec.data.logs.log import REMEDY
from jaxrec.data.logs.raw_columns import RawTable
from jaxrec.data.logs.schema import Column, ColumnSpec
from jaxrec.data.logs.vocabulary import FIRST
from jaxrec.data.sessions.encoding import LABELS, WATCH_TIME, check_sessions, of_place, write_sessions, wrong_numbers

__all__ = ['LABELS', 'WATCH_TIME', 'Column', 'ColumnSpec', 'SessionLog', 'compile_sessions']


class SessionLog(UserLog):
    """A compiled log of requests and the sessions they were shown.

    Attributes:
      folder, manifest, schema: see `Log`.
      events: ColumnStore of N rows: `user` int32, `time`, `item` (ragged int32), the columns of `shown` (ragged:
        `watch_time` and others float32, `view`, `like`, `follow`, `share` int8), and other columns of requests.
      items: ColumnStore of item attributes, row = item id; rows 0 and 1 and items that were never shown included.
    """

    KIND: ClassVar[str] = 'session log'
    FORMAT: ClassVar[str] = 'jaxrec.session_log'
    COMPILER: ClassVar[str] = 'compile_sessions'
    STORES: ClassVar[tuple[str, ...]] = ('events', 'items')

    def __init__(self, folder: str | Path, check_ids: bool = True):
        """Opens a log folder; with `check_ids` every session is checked, as `compile_sessions` does raw ones.

        Raises:
          ValueError: as `Log`; for an empty session, an unknown item, a label other than 0 and 1, a negative
            or endless watch time, a column that does not fit the sessions, and for requests out of order.
        """
        super().__init__(folder, check_ids)
        self.items = self.stores['items']
        if check_ids:
            self._check_sessions()

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns, without `item`, that hold one number for each shown item."""
        return tuple(self.manifest['shown'])

    @property
    def offsets(self) -> np.ndarray:
        """int64 [N + 1]: request n was shown places `offsets[n]:offsets[n + 1]` of the M."""
        return self.events['item'].offsets

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """int64 [N], the items that each request was shown."""
        return np.diff(self.offsets)

    def of_shown(self, name: str) -> np.ndarray:
        """A column of shown items end to end, [M]: `item` int32, or one of `shown`, else a ValueError."""
        if name != 'item' and name not in self.shown:
            raise ValueError(
                f'{self.folder} has no {name!r} for each shown item, it has '
                f'{", ".join(self.shown) or "none"}: name one of these, or compile the log with that column'
            )
        return self.events[name].values

    def totals(self, name: str, most: int | None = None) -> np.ndarray:
        """Sums a column of `shown` within each session, of the first `most` items, None for all: float64 [N]."""
        values = self.of_shown(name).astype(np.float64)
        if most is not None:
            slot = np.arange(len(values)) - np.repeat(self.offsets[:-1], self.lengths)
            values[slot >= most] = 0
        return np.add.reduceat(values, self.offsets[:-1])  # no session is empty

    def _check_sessions(self) -> None:
        events, item = self.events, self.events['item']
        where = self.events.folder
        if (self.lengths < 1).any():
            row = int(np.argmin(self.lengths))
            raise ValueError(f'{where / "item"} row {row} is an empty session: {REMEDY}')
        if (item.values < FIRST).any():
            place = int(np.argmin(item.values))
            row, _ = of_place(item, place)
            raise ValueError(f'{where / "item"} holds the unknown item {item.values[place]} in row {row}: {REMEDY}')
        for name in self.shown:
            column = events[name]
            if not isinstance(column, Ragged) or not np.array_equal(column.offsets, item.offsets):
                raise ValueError(f'{where / name} has not one number for each shown item: {REMEDY}')
            wrong, _ = wrong_numbers(name, column.values)
            if wrong.any():
                place = int(np.argmax(wrong))
                told = f'{column.values[place]} in row {of_place(item, place)[0]}'
                raise ValueError(f'{where / name} holds {told}, which no {name} can be: {REMEDY}')
        user, time = events['user'], events['time']
        late = (user[1:] < user[:-1]) | ((user[1:] == user[:-1]) & (time[1:] < time[:-1]))
        if late.any():
            row = int(np.argmax(late)) + 1
            raise ValueError(f'{where / "time"}.npy is {time[row]} in row {row}, earlier than before: {REMEDY}')


def compile_sessions(
    folder: str | Path, requests: RawTable, items: RawTable | None = None, *,
    columns: Mapping[str, ColumnSpec] | None = None, sources: Sequence[str | Path] = (),
    dropped: Mapping[str, int] | None = None, notes: Mapping[str, int] | None = None,
    request: Mapping[str, Any] | None = None, seed: int = 0, provenance: str = 'real',
) -> SessionLog:  # fmt: skip
    """Compiles raw requests to a log folder, which appears complete or not at all.

    Args:
      folder: of the log. If it holds the log of the same content and settings, that one is returned.
      requests: raw columns [N] in any order, those of the same user and time in theirs: `user`, `time` and `item`,
        `Ragged` of the raw items that were shown, in the order of display. Every other `Ragged` that is not described
        as multi-valued has one number for each shown item: `watch_time` in seconds from 0 on, `view`, `like`, `follow`
        and `share` 0 or 1, others any numbers. Other columns belong to the request; those not in `columns` are stored
        as they are, must be numeric and are no features.
      items: raw attributes by item, with the key column `item`. If given, every shown item must have a row; items that
        were never shown stay in the log, so that they can be recommended.
      columns: how columns become features; `user` and `item` are features in any case, and so are the numbers of shown
        items, which only the past may be asked for.
      sources, dropped, notes, request, seed, provenance: see `compile_log`.

    Raises:
      ValueError: for requests that cannot be compiled, naming the session: empty, with an item that has no row, a
        negative watch time, a label other than 0 and 1, or a column of another length; and for a folder that holds
        anything else.
    """
    return SessionLog.write(
        folder, check_sessions(requests, items or {}, columns or {}), write_sessions, sources=sources, dropped=dropped,
        notes=notes, request=request, seed=seed, provenance=provenance,
    )  # fmt: skip
