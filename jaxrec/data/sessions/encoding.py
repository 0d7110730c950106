"""Checks raw sessions, encodes and writes them.

Letters: N requests, M shown items of all requests.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.logs.columns import Ragged, write_columns
from jaxrec.data.logs.encoding import Encoder, make_vocabularies, spread, write_by_user
from jaxrec.data.logs.raw_columns import RawLog, RawTable, check_raw_sessions, distinct, values_of
from jaxrec.data.logs.schema import Column, ColumnSpec
from jaxrec.data.logs.vocabulary import FIRST, merge_counts

WATCH_TIME = 'watch_time'
LABELS = ('view', 'like', 'follow', 'share')  # of a shown item, 0 or 1


def check_sessions(requests: RawTable, items: RawTable, columns: Mapping[str, ColumnSpec]) -> RawLog:
    """Checks raw requests and items, as `compile_sessions` describes them; labels become int8, other numbers float32.

    Raises:
      ValueError: naming the table, the column and the session.
    """
    ragged = [name for name, column in requests.items() if isinstance(column, Ragged)]
    shown = [name for name in ragged if name != 'item' and name not in columns]
    for name in (WATCH_TIME, *LABELS):
        if name in requests and name not in shown:
            raise ValueError(
                f'column {name!r} has not one number for each shown item: give it as `Ragged` of numbers, '
                'undescribed, or rename it'
            )
    raw = check_raw_sessions(requests, items, columns, shown)
    item = raw.events['item']
    if not isinstance(item, Ragged):
        raise ValueError("column 'item' is not `Ragged`: give the items of each session, in their order")
    if (item.lengths < 1).any():
        n = int(np.argmin(item.lengths))
        raise ValueError(f'{_session(raw, n)} is empty: leave out requests that were shown nothing')
    _check_items(raw)
    for name in shown:
        raw.events[name] = _numbers(raw, name, requests[name])
    return raw


def _session(raw: RawLog, n: int) -> str:
    """Names a session by its place and its request."""
    user = raw.events['user']
    user = user[n] if isinstance(user, np.ndarray) else user.values[user.codes[n]]
    return f'session {n} (user {user.item()!r}, time {raw.events["time"][n]})'


def of_place(item: Ragged, place: int) -> tuple[int, int]:
    """The session that holds a place, and which of its items it is."""
    n = int(np.searchsorted(item.offsets, place, side='right')) - 1
    return n, place - int(item.offsets[n])


def _check_items(raw: RawLog) -> None:
    if not raw.items:
        return
    shown, known = raw.events['item'], values_of(raw.items['item'])
    if (shown.values.dtype.kind == 'U') != (known.dtype.kind == 'U'):
        raise ValueError(
            f'sessions hold items of dtype {shown.values.dtype}, the items table holds {known.dtype}: convert one'
        )
    missing = ~np.isin(shown.values, known)
    if missing.any():
        place = int(np.argmax(missing))
        n, _ = of_place(shown, place)
        raise ValueError(
            f'{_session(raw, n)} shows item {shown.values[place].item()!r}, which is unknown: give it a row in the '
            f'table of items ({missing.sum()} of {len(missing)} shown items have none), or leave the session out'
        )


def _numbers(raw: RawLog, name: str, column: Ragged) -> Ragged:
    """Checks a column with a number for each shown item, and stores it in as few bytes as it takes."""
    item, values = raw.events['item'], column.values
    if not np.array_equal(column.offsets, item.offsets):
        raise ValueError(f'column {name!r} must have one number for each shown item of every session')
    if values.dtype.kind not in 'biuf':
        raise ValueError(f'column {name!r} holds {values.dtype}: give numbers')
    wrong, allowed = wrong_numbers(name, values)
    if wrong.any():
        n, slot = of_place(item, int(np.argmax(wrong)))
        raise ValueError(
            f'{_session(raw, n)} has {name} {values[wrong][0]} at its item {slot}: it must be {allowed}; '
            'mend it, or leave the session out'
        )
    return Ragged(values.astype(np.int8 if name in LABELS else np.float32), item.offsets)


def wrong_numbers(name: str, values: np.ndarray) -> tuple[np.ndarray, str]:
    """Marks the values that a column of shown items must not have, bool, and names those that it may."""
    if name in LABELS:
        return ~np.isin(values, (0, 1)), '0 or 1'
    if name == WATCH_TIME:
        return ~(np.isfinite(values) & (values >= 0)), 'seconds, 0 or more'
    return ~np.isfinite(values), 'a finite number'


def write_sessions(folder: Path, raw: RawLog, seed: int) -> tuple[dict[str, Any], dict[str, int]]:
    """Encodes checked sessions by user and time and writes `events/`, `items/` and `vocab/` to a log's folder.

    Args:
      folder: of the log.
      raw: from `check_sessions`.
      seed: of the vocabularies.

    Returns:
      The manifest's schema, vocabularies, counts and columns of shown items; and {}, no rows skipped.

    Raises:
      ValueError: when columns that share a vocabulary disagree.
    """
    find = lambda name: next(table[name] for table in raw.tables.values() if name in table)
    is_text = lambda name: values_of(find(name)).dtype.kind == 'U'

    def count(name: str) -> tuple[np.ndarray, np.ndarray]:
        counted = distinct(find(name))
        # An item counts for its row too: one that was never shown has an id all the same.
        return merge_counts([counted, distinct(raw.items['item'])]) if name == 'item' and raw.items else counted

    encoder = Encoder(raw.specs, make_vocabularies(raw.specs, is_text, count, seed))
    requests = write_by_user(folder / 'events', encoder, raw.events)
    shown = [name for name, column in raw.events.items() if isinstance(column, Ragged)]
    shown = [name for name in shown if name not in raw.specs]
    encoder.schema |= {name: Column('numeric', None, 0, 1) for name in shown}
    # A session is many rows of one item each: what a model reads of it is no multi-valued column.
    longest, rows = encoder.schema['item'].width, encoder.schema['item'].rows
    encoder.schema['item'] = Column('categorical', 'item', rows, 1)
    ids = np.zeros(0, np.int32)
    if raw.items:
        ids = encoder.vocabularies['item'].encode(values_of(raw.items['item']))
    attributes = encoder.columns({name: column for name, column in raw.items.items() if name != 'item'})
    # Encoded first, since that is what enters a column into the schema.
    by_id = {name: spread(column, ids, rows, encoder.schema.get(name)) for name, column in list(attributes)}
    write_columns(folder / 'items', by_id)
    counts = {
        'events': requests,
        'users': encoder.schema['user'].rows - FIRST,
        'items': rows - FIRST,
        'items_never_shown': rows - FIRST - len(np.unique(raw.events['item'].values)),
        'shown': len(raw.events['item'].values),
        'longest_session': longest,
    }
    return encoder.describe(folder, counts) | {'shown': shown}, {}
