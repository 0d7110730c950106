"""From your files to a session log: a row is a shown item, and a column tells which session it is of.

    mapping = make_mapping({
        'user': 'uid', 'item': 'video', 'time': {'column': 'ts', 'unit': 'ms'},
        'events': {'session': {'kind': 'categorical', 'column': 'request_id'},
                   'watch_time': {'kind': 'numeric', 'column': 'played'},
                   'like': {'kind': 'numeric', 'fill': 0}},
        'items': {'file': 'videos.csv', 'key': 'video', 'columns': {'category': {'kind': 'categorical'}}}})
    log = ingest_sessions(['shown.csv'], mapping, 'logs/mine')

The mapping is that of any log (`jaxrec.data.ingest.mapping`). The rows of one user and `session` are one session, in
the order of their `position`, where there is such a column, else of their times, and then of the files; its time is
that of its earliest row. All rows are held in memory.

n rows of a block, N rows of all, V rows of the items' file.
"""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jaxrec.data.ingest.blocks import read_blocks
from jaxrec.data.ingest.chunks import SHOWN, Part, Rejected, describe_rejected, locate, merge_rejected, take_rows
from jaxrec.data.ingest.compile import parts_of
from jaxrec.data.ingest.convert import split_lists
from jaxrec.data.ingest.events import SECOND
from jaxrec.data.ingest.fields import LogMapping
from jaxrec.data.ingest.merge import numpy_values
from jaxrec.data.ingest.types import resolve_types
from jaxrec.data.logs.columns import Ragged, concatenate
from jaxrec.data.logs.schema import ColumnSpec
from jaxrec.data.sessions.log import LABELS, WATCH_TIME, SessionLog, compile_sessions

SESSION, POSITION = 'session', 'position'
RECORD = '\0record'  # no column of a file has this name
log = logging.getLogger(__name__)


def ingest_sessions(
    inputs: Sequence[str | Path], mapping: LogMapping, folder: str | Path, *, seed: int = 0, strict: bool = False
) -> SessionLog:
    """Compiles files of shown items to a session log, whose manifest counts the skipped rows by reason.

    Args:
      inputs: CSV and Parquet files, or patterns of such.
      mapping: `user`, `item` and `time`; under `events` the categorical column `session` and numeric columns with a
        number for each shown item, see `compile_sessions`; attributes of items in a file of their own.
      folder: of the log. If it already holds the log of the same files and mapping, that one is returned.
      seed: of the hash that assigns ids.
      strict: refuse the first row that would be skipped, instead of counting it.

    Raises:
      ValueError: naming file and line, for what cannot be read or does not fit the mapping, and for a folder that holds
        anything else.
    """
    _check_mapping(mapping)
    parts, _ = resolve_types(parts_of(inputs, mapping))
    files = [part.path for part in parts]
    request = {'reader': 'sessions:1.0.0', 'mapping': mapping.given, 'seed': seed}
    if made := SessionLog.of_request(folder, files, request):
        return made
    rejected: Rejected = {}
    tables = {
        side: _joined([_read(part, strict, rejected) for part in parts if part.side == side])
        for side in ('events', 'items')
    }
    events, items = tables['events'], tables['items']
    if rejected:
        log.warning('left out: %s', describe_rejected(rejected))
    if not events or not len(events['user']):
        why = describe_rejected(rejected) or 'the files have no rows'
        raise ValueError(f'the log would be empty ({why}): check inputs and mapping')
    dropped = {reason: found['rows'] for reason, found in rejected.items()}
    if items:
        events, items = _known(events, items, dropped, strict)
    return compile_sessions(
        folder,
        _sessions(events),
        items,
        columns={name: spec for name, spec in mapping.specs.items() if name in items and name != 'item'},
        sources=files,
        dropped=dropped,
        request=request,
        seed=seed,
    )


def _check_mapping(mapping: LogMapping) -> None:
    fields = {field.name: field for field in mapping.events}
    for name in ('user', 'item', 'time', SESSION):
        if name not in fields:
            raise ValueError(
                f'the mapping has no {name!r}: a row of a session file has a user, an item, a time and, '
                "under events, a session, as in 'session': {'kind': 'categorical', 'column': ...}"
            )
    for name, field in fields.items():
        plain = field.spec in (None, ColumnSpec('categorical'))
        if name in ('user', 'item', SESSION) and not plain:
            raise ValueError(f'{name!r} of the mapping has min_count, buckets or the like: leave these out')
        if name not in ('user', 'item', 'time', SESSION) and field.coded:
            raise ValueError(
                f'events.{name} of the mapping is {field.spec.kind if field.spec else "coded"}: what is told '
                'of a shown item is a number; give what is known of the item under items'
            )
    if mapping.users.fields or (mapping.items.fields and mapping.items.file is None):
        raise ValueError(
            'a session log takes attributes of items from a file of their own, and none of users: give '
            'items.file and items.key, and leave users out'
        )


def _read(part: Part, strict: bool, rejected: Rejected) -> dict[str, Any]:
    """The good rows of one file, times in seconds; what is wrong with the others goes to `rejected`."""
    found_here: Rejected = {}
    blocks, lines, records = [], 0, 0
    for block in read_blocks(part.path, [field.column for field in part.fields], part.format):
        numbered = block._replace(columns=block.columns | {RECORD: pa.array(block.records())})
        taken, found = take_rows(numbered, part.fields, [RECORD])
        columns, wrong = _allowed(_columns(part, taken), np.asarray(taken.column(RECORD)))
        merge_rejected(found, wrong)
        if found and strict:
            locate(part, found, exact=False)
            raise ValueError(f'{describe_rejected(found)}; strict: mend or remove such rows, or count them')
        merge_rejected(found_here, found)
        blocks.append(columns)
        lines, records = block.lines, block.end - 1
    locate(part, found_here, exact=lines == records)
    merge_rejected(rejected, found_here)
    return _joined(blocks)


def _columns(part: Part, taken: pa.RecordBatch) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for number, field in enumerate(part.fields):
        column = taken.column(number)
        if field.role == 'time':
            columns['time'] = np.asarray(column)  # microseconds until all have been seen
        elif field.coded and field.spec is not None and field.spec.kind == 'multi':
            lists = split_lists(column.dictionary)
            values = Ragged(numpy_values(lists.flatten()), np.asarray(lists.offsets, np.int64))
            columns[field.name] = values.take(np.asarray(column.indices))
        elif field.coded:
            columns[field.name] = numpy_values(column.dictionary)[np.asarray(column.indices)]
        else:
            columns[field.name] = np.asarray(column)
    return columns


def _allowed(columns: dict[str, Any], records: np.ndarray) -> tuple[dict[str, Any], Rejected]:
    """Leaves out rows whose numbers are none that a label or a watch time can be."""
    bad, found = np.zeros(len(records), bool), Rejected()
    for name in (WATCH_TIME, *LABELS):
        if name in columns:
            watched = name == WATCH_TIME
            wrong = columns[name] < 0 if watched else ~np.isin(columns[name], (0, 1))
            wrong &= ~bad
            bad |= wrong
            if wrong.any():
                reason = f'{name} is {"negative" if watched else "neither 0 nor 1"}'
                found[reason] = {'rows': int(wrong.sum()), 'first': records[wrong][:SHOWN].tolist()}
    return ({name: _take(c, np.flatnonzero(~bad)) for name, c in columns.items()} if found else columns), found


def _known(
    events: dict[str, Any], items: dict[str, Any], dropped: dict[str, int], strict: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rows whose items have attributes, and the first row of each item; the others are counted."""
    _, first = np.unique(items['item'], return_index=True)
    known = np.isin(events['item'], items['item'])
    counts = {
        'items of the items file given again': len(items['item']) - len(first),
        'rows whose item the items file lacks': int((~known).sum()),
    }
    for reason, rows in counts.items():
        if rows and strict:
            raise ValueError(f'{rows} x {reason}; strict: mend the files, or count such rows')
        if rows:
            log.warning('left out: %d x %s', rows, reason)
            dropped[reason] = rows
    if not known.any():
        raise ValueError('the log would be empty, the items file has no row of any shown item: check its key')
    kept = {name: column[known] for name, column in events.items()}
    return kept, {name: _take(column, np.sort(first)) for name, column in items.items()}


def _sessions(events: dict[str, Any]) -> dict[str, Any]:
    """Rows of shown items, put together to requests as `compile_sessions` takes them."""
    users, user = np.unique(events['user'], return_inverse=True)
    session = np.unique(events[SESSION], return_inverse=True)[1]
    place = (events['time'], *([events[POSITION]] if POSITION in events else []))
    order = np.lexsort((*place, session, user))  # stable, the last key counts most
    key = np.stack([user, session])[:, order]
    opens = np.append(True, (key[:, 1:] != key[:, :-1]).any(0))
    begin = np.flatnonzero(opens)
    offsets = np.append(begin, len(order)).astype(np.int64)
    time = np.minimum.reduceat(events['time'][order], begin)
    last = np.maximum.reduceat(events['time'][order], begin)
    _warn_of_overlaps(user[order[begin]], time, last)
    shown = [name for name in events if name not in ('user', 'time', SESSION, POSITION)]
    return {
        'user': users[user[order[begin]]],
        'time': time // SECOND if not (time % SECOND).any() else time / SECOND,
        **{name: Ragged(events[name][order], offsets) for name in shown},
    }


def _warn_of_overlaps(user: np.ndarray, first: np.ndarray, last: np.ndarray) -> None:
    """Reports sessions that continue while another of their `user`, int [requests], has begun.

    `first` and `last` are the times [requests] of the first and the last row.
    """
    order = np.lexsort((last, first, user))
    user, first, last = user[order], first[order], last[order]
    over = int(((user[1:] == user[:-1]) & (first[1:] < last[:-1])).sum())
    if over:
        log.warning(
            '%d of %d sessions go on after their user\'s next one has begun. Does "session" come back on '
            'another day, where it needs the day too? What a user did in a session counts as of its first '
            "row, so that the next one's history holds what came after it",
            over,
            len(user),
        )


def _joined(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Puts tables end to end."""
    names = blocks[0] if blocks else {}
    return {name: _ends([block[name] for block in blocks]) for name in names}


def _ends(columns: list[Any]) -> Any:
    if isinstance(columns[0], np.ndarray):
        return np.concatenate(columns)
    return functools.reduce(concatenate, columns)


def _take(column: Any, rows: np.ndarray) -> Any:
    return column.take(rows) if isinstance(column, Ragged) else column[rows]
