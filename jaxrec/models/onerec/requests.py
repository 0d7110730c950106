"""Requests of users for sessions: read from a file, answered in batches of one shape.

B batch, S sessions a user, m items.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from jaxrec.data.ingest.convert import check_type, convert
from jaxrec.data.ingest.events import SECOND
from jaxrec.data.ingest.fields import Field
from jaxrec.data.logs.log import Log
from jaxrec.data.logs.vocabulary import FIRST
from jaxrec.data.sources.user_histories import UserHistories
from jaxrec.models.onerec.recommend import Recommended, Recommender
from jaxrec.models.onerec.tokenizing.vectors import as_keys


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
    """The users of N requests, and their times."""

    names: np.ndarray  # object [N], as in the file
    users: np.ndarray  # int32 [N], ids of the log; 1 for one that the log does not know
    times: np.ndarray | None  # int64 or float64 [N], in the unit of the log; None for its end

    def __len__(self) -> int:
        return len(self.names)


@dataclasses.dataclass
class Tally:
    """Counts of what came of requests."""

    users: int = 0
    unknown: int = 0  # users skipped, since the log does not know them
    short: int = 0  # users skipped, with fewer positive items before than the model was trained on
    sessions: int = 0  # generated
    missing: int = 0  # sessions that were asked for and do not exist
    items: int = 0  # of live beams
    illegal: int = 0  # those among `items` that are no items


def read_users(path: str, log: Log, user: str = 'user', time: str | None = None) -> Asked:
    """Reads a CSV or Parquet file of users, in its order.

    Args:
      path: of the file.
      log: whose users they are.
      user: the column of users.
      time: the column of times, in the unit of the files that the log was made of, or timestamps; of a log without a
        mapping numbers in its own unit; None where there is none.

    Raises:
      ValueError: a file or a column that cannot be read.
    """
    text = log.vocabulary('user').keys.dtype.kind == 'U'
    # What is text in the log stays it: read as a number, 007 would be 7, and NA nobody.
    types = pyarrow.csv.ConvertOptions(column_types={user: pa.string()} if text else {})
    of_csv = functools.partial(pyarrow.csv.read_csv, convert_options=types)
    reader = {'.csv': of_csv, '.parquet': pyarrow.parquet.read_table}.get(Path(path).suffix)
    if reader is None:
        raise ValueError(f'--input={path}: give a file that ends in .csv or .parquet')
    try:
        table = reader(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f'--input={path} cannot be read: {error}') from None
    for name in (user, *([time] if time else [])):
        if name not in table.column_names:
            raise ValueError(f'{path} has no column {name!r}, it has {", ".join(table.column_names)}')
        empty = table[name].null_count
        if pa.types.is_string(table[name].type):
            empty += pa.compute.sum(pa.compute.equal(table[name], '')).as_py() or 0
        if empty:
            raise ValueError(f'{path} has {empty} empty values in {name!r}: fill them in')
    names = np.asarray(table[user].to_pylist(), object)
    users = log.vocabulary('user').encode(as_keys(log, [str(name) for name in names], path, 'user'))
    return Asked(names, users, _times(log, path, time, table[time].combine_chunks()) if time else None)


def ask(users: Sequence[Any], log: Log) -> Asked:
    """Requests of `users`, as the log names them, as of the end of the log."""
    keys = as_keys(log, [str(user) for user in users], 'users', 'user')
    return Asked(np.asarray(list(users), object), log.vocabulary('user').encode(keys), None)


def _times(log: Log, path: str, name: str, column: pa.Array) -> np.ndarray:
    """[N], in the unit of the log: seconds, if a mapping gives the unit of its files."""
    mapping = log.manifest.get('request', {}).get('mapping')
    if mapping is None:
        times = column.to_numpy(zero_copy_only=False)
        if times.dtype.kind not in 'iuf':
            raise ValueError(f'{path}: {name!r} holds {times.dtype}; give numbers in the unit of the log')
        return np.asarray(times)
    given = mapping['time']
    field = Field('time', name, 'time', unit=None if isinstance(given, str) else given.get('unit'))
    stamped = pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)
    if not stamped and field.unit is None:
        raise ValueError(f'{path}: {name!r} holds {column.type}, and {log.folder} was made of timestamps')
    check_type(dataclasses.replace(field, unit=None) if stamped else field, column.type, f'{path}: {name!r}')
    micros, bad = convert(field, column)
    if bad:
        reason, rows = bad[0]
        raise ValueError(f'{path}: {int(rows.sum())} rows have {reason} in {name!r}: mend them')
    return np.asarray(micros) / SECOND


def answer(
    asked: Asked, histories: UserHistories, recommend: Recommender, batch_size: int, least: int = 0,
    tally: Tally | None = None,
) -> Iterator[tuple[np.ndarray, Recommended]]:  # fmt: skip
    """Answers requests in batches of `batch_size`, and adds to the tally.

    `recommend` is from `make_recommender`; users with fewer than `least` history entries, which the model was not
    trained on, are skipped.

    Yields:
      For every batch the answered requests, int64 [n], and their sessions.
    """
    tally = Tally() if tally is None else tally
    for first in range(0, len(asked), batch_size):
        rows = np.arange(first, min(first + batch_size, len(asked)))
        known = asked.users[rows] >= FIRST
        users = np.where(known, asked.users[rows], FIRST)
        batch, before = histories.cut(users, None if asked.times is None else asked.times[rows])
        kept = known & (before >= least)
        tally.unknown += int((~known).sum())
        tally.short += int((known & (before < least)).sum())
        if not kept.any():
            continue
        at = np.flatnonzero(kept)
        padded = np.concatenate([at, np.repeat(at[:1], batch_size - len(at))])  # one shape, one program
        found = recommend({name: column[padded] for name, column in batch.items()})
        found = Recommended(*(array[: len(at)] for array in found))
        real = np.isfinite(found.scores)
        tally.users += len(at)
        tally.sessions += int(real.sum())
        tally.missing += int((~real).sum())
        tally.items += int(found.written.sum())
        tally.illegal += int(found.illegal.sum())
        yield rows[at], found


def to_rows(names: np.ndarray, found: Recommended, of_items: np.ndarray, nested: bool) -> pa.RecordBatch:
    """Lays sessions [n, S, m] out as rows `user`, `rank` (from 1), `items` or `item_1` ... `item_m`, and `score`.

    `names` object [n] are of the users, `of_items` by the rows of the catalogue; `nested` has items in one column of
    lists.
    """
    who, place = np.nonzero(np.isfinite(found.scores))
    items = of_items[found.items[who, place]]  # [rows, m]
    # Of no rows Arrow would not know the types, and a file has those of its first rows.
    of_users, one = pa.array(names.tolist()).type, pa.array(of_items[FIRST : FIRST + 1].tolist()).type
    columns: dict[str, pa.Array] = {
        'user': pa.array(names[who].tolist(), of_users),
        'rank': pa.array(place + 1, pa.int64()),
    }
    if nested:
        columns['items'] = pa.array(items.tolist(), pa.list_(one))
    else:
        columns |= {f'item_{slot + 1}': pa.array(items[:, slot].tolist(), one) for slot in range(items.shape[1])}
    columns['score'] = pa.array(found.scores[who, place], pa.float32())
    return pa.RecordBatch.from_pydict(columns)
