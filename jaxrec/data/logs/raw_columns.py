"""Raw columns as a reader or a simulator hands them over, and every check they pass before they are compiled.

A table (events, items, users) is a mapping of columns of one length: numpy arrays of integers, floats or strings,
`Ragged` for several values a row, or `Coded` for values that repeat. All tables of a log share names, so that a feature
is found by its name alone.

Letters: N rows, K distinct values.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrec.data.logs.columns import Ragged, check_column
from jaxrec.data.logs.schema import ColumnSpec
from jaxrec.data.logs.vocabulary import count_values

RawTable = Mapping[str, Any]  # {name: array [N], or Ragged or Coded of N rows}


class Coded(NamedTuple):
    """A column of few distinct values: row n is `values[codes[n]]`. Strings of millions of rows fit in memory so."""

    codes: np.ndarray  # integer [N], each in [0, K)
    values: np.ndarray  # integers or strings [K], all different


@dataclasses.dataclass(frozen=True)
class RawLog:
    """Checked raw tables, their key columns renamed, and the descriptions of their feature columns."""

    tables: dict[str, dict[str, Any]]
    specs: dict[str, ColumnSpec]

    @property
    def events(self) -> dict[str, Any]:
        """The table that every log has."""
        return self.tables['events']

    @property
    def items(self) -> dict[str, Any]:
        """Attributes of items, empty where there are none."""
        return self.tables.get('items', {})

    def digest(self) -> str:
        """SHA-256 over names, dtypes and content of all columns."""
        digest = hashlib.sha256()
        for side, table in self.tables.items():
            for name, column in sorted(table.items()):
                for array in column if isinstance(column, tuple) else (column,):
                    digest.update(f'{side}/{name} {array.dtype} {array.shape}'.encode())
                    digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()


def values_of(column: Any) -> np.ndarray:
    """The values that rows of a raw column are made of."""
    return column.values if isinstance(column, Ragged | Coded) else column


def distinct(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct values [K] of a raw column [N], sorted unless coded, and their counts int64 [K]."""
    if isinstance(column, Coded):
        counts = np.bincount(column.codes, minlength=len(column.values))
        return column.values[counts > 0], counts[counts > 0]
    return count_values(values_of(column))


def check_raw(
    events: RawTable,
    items: RawTable | None,
    users: RawTable | None,
    columns: Mapping[str, ColumnSpec],
    names: tuple[str, str, str],
) -> RawLog:
    """Checks the raw tables of a behaviour log and renames their key columns.

    `columns` describe the feature columns by raw name; `names` is what the tables call `user`, `item` and `time`.

    Raises:
      ValueError: naming the table, the column and, where there is one, the row; so do the other checks below.
    """
    called = dict(zip(('user', 'item', 'time'), names, strict=True))
    tables = {'events': events or {}, 'items': items or {}, 'users': users or {}}
    keys = {'events': ['user', 'item'], 'items': ['item'], 'users': ['user']}
    raw = _check(tables, columns, called, keys, user=ColumnSpec('categorical'), item=ColumnSpec('categorical'))
    _check_user_and_item(raw)
    return raw


def check_raw_clicks(events: RawTable, columns: Mapping[str, ColumnSpec], names: tuple[str, str]) -> RawLog:
    """Checks the raw table of a click log and renames its columns that `names` calls `click` and `time`."""
    called = dict(zip(('click', 'time'), names, strict=True))
    raw = _check({'events': events}, columns, called, {'events': ['click']})
    _check_clicks(raw, called['click'])
    return raw


def check_raw_visits(visits: RawTable, items: RawTable, columns: Mapping[str, ColumnSpec]) -> RawLog:
    """Checks the raw tables of a pool log, all but the pools: `visits` with `time`, `item` and `click`, and `items`."""
    called = {key: key for key in ('item', 'click', 'time')}
    keys = {'events': ['time', 'item', 'click'], 'items': ['item']}
    raw = _check({'events': visits, 'items': items}, columns, called, keys)
    _check_clicks(raw, 'click')
    return raw


def check_raw_sessions(
    requests: RawTable, items: RawTable, columns: Mapping[str, ColumnSpec], names: Sequence[str]
) -> RawLog:
    """Checks the raw tables of a session log, except the columns `names`, with a number for each shown item.

    Of the raw columns of `requests`, among them `user`, `time` and `item`, `item` is `Ragged`.
    """
    if columns.get('item', ColumnSpec('multi')) != ColumnSpec('multi'):
        raise ValueError(
            "column 'item' is described with a width, buckets, a floor or another vocabulary: a session "
            'keeps all its items, leave its description out'
        )
    called = {key: key for key in ('user', 'item', 'time')}
    tables = {'events': {name: column for name, column in requests.items() if name not in names}, 'items': items}
    keys = {'events': ['user', 'time', 'item'], 'items': ['item']}
    raw = _check(tables, columns, called, keys, item=ColumnSpec('multi'), user=ColumnSpec('categorical'))
    if raw.specs['user'] != ColumnSpec('categorical'):
        raise ValueError(
            "column 'user' is described with buckets or a floor, which would merge histories, or is not "
            'categorical: leave its description out'
        )
    return raw


def _check(
    tables: Mapping[str, RawTable],
    columns: Mapping[str, ColumnSpec],
    called: Mapping[str, str],
    keys: Mapping[str, list[str]],
    **features: ColumnSpec,
) -> RawLog:
    """Renames `called` to the keys and makes the checks of all kinds of log; `features` are described in any case."""
    raw = _renamed(tables, columns, called)
    for name, spec in features.items():
        raw.specs.setdefault(name, spec)
    _check_keys(raw.tables, keys, called)
    _check_times(raw.events.get('time'), called['time'])
    _check_specs(raw)
    return raw


def _check_clicks(raw: RawLog, name: str) -> None:
    clicks = raw.events['click']
    if 'click' in raw.specs or isinstance(clicks, tuple) or clicks.dtype.kind not in 'biuf':
        raise ValueError(
            f'events column {name!r} is the label, 0 or 1: give numbers, and do not describe it in `columns`'
        )
    wrong = ~np.isin(clicks, (0, 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f'events column {name!r} is {clicks[row]} in row {row}: a click is 0 or 1')


def _renamed(tables: Mapping[str, RawTable], columns: Mapping[str, ColumnSpec], called: Mapping[str, str]) -> RawLog:
    """Checks each column alone and gives the key columns the names that every log has."""
    renamed = {name: key for key, name in called.items()}
    if len(renamed) < len(called):
        names = tuple(called.values())
        raise ValueError(f'{", ".join(called)} are called {names}: give each a name of its own')
    for side, table in tables.items():
        for name, key in renamed.items():
            # Renaming would drop one of two columns, or take one for the key that was never meant.
            if name != key and key in table and (name in table or side == 'events'):
                raise ValueError(f'{side} have a column {key!r}, but {key} is said to be called {name!r}: rename it')
    checked = {
        side: {renamed.get(name, name): _checked(side, name, column) for name, column in table.items()}
        for side, table in tables.items()
    }
    return RawLog(checked, {renamed.get(name, name): spec for name, spec in columns.items()})


def _length(name: str, column: Any) -> int:
    return check_column(name, column.codes if isinstance(column, Coded) else column)


def _checked(side: str, name: str, column: Any) -> Any:
    column = column if isinstance(column, Ragged | Coded) else np.asarray(column)
    try:
        _length(name, column)
    except ValueError as error:
        raise ValueError(f'{side}: {error}') from None
    if isinstance(column, Coded):
        _check_coded(side, name, column)
    if isinstance(column, tuple):
        return column
    if column.ndim != 1:
        raise ValueError(f'{side} column {name!r} has shape {column.shape}: give one value a row, or a `Ragged`')
    if column.dtype.kind == 'f' and not np.isfinite(column).all():
        row = int(np.argmin(np.isfinite(column)))
        raise ValueError(
            f'{side} column {name!r} is {column[row]} in row {row}: drop or fill such rows before compiling'
        )
    return column


def _check_coded(side: str, name: str, column: Coded) -> None:
    codes, values = column
    if codes.dtype.kind not in 'iu' or codes.ndim != 1 or values.ndim != 1 or values.dtype.kind not in 'iuU':
        raise ValueError(
            f'{side} column {name!r} has codes {codes.dtype} {codes.shape} and values {values.dtype} '
            f'{values.shape}: give integers [N], and integers or strings [K]'
        )
    if len(codes) and not (0 <= codes.min() and codes.max() < len(values)):
        raise ValueError(
            f'{side} column {name!r} has codes {codes.min()}..{codes.max()} for {len(values)} values: '
            'a code is the position of its value'
        )
    if len(np.unique(values)) < len(values):
        raise ValueError(f'{side} column {name!r} has one value under two codes: give each value once')


def _check_keys(tables: Mapping[str, RawTable], keys: Mapping[str, list[str]], called: Mapping[str, str]) -> None:
    """Checks that key columns are there, columns are of one length, and attributes have one row a key."""
    for side, table in tables.items():
        wanted = list(keys[side])
        if side == 'events' and called['time'] != 'time':
            wanted.append('time')  # a name given on purpose must exist; the default may be absent
        missing = [called[key] for key in wanted if key not in table]
        if missing and (table or side == 'events'):
            raise ValueError(f'{side} lack the key column {missing[0]!r}; they have {", ".join(table) or "none"}')
        lengths = {name: _length(name, column) for name, column in table.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f'{side} columns have unequal lengths {lengths}: give one value a row in each')
        if side != 'events' and table:
            values, counts = distinct(table[keys[side][0]])
            if (counts > 1).any():
                raise ValueError(
                    f'{side} key {values[counts > 1][0].item()!r} occurs more than once: keep one row a key'
                )
        if side == 'events' and not lengths[keys[side][0]]:
            raise ValueError('the log is empty, events have 0 rows: check the reader and its filters')


def _check_times(times: np.ndarray | None, name: str) -> None:
    if times is None:
        return
    if isinstance(times, tuple) or times.dtype.kind not in 'iuf':
        raise ValueError(f'events column {name!r} is no column of numbers: times are seconds since 1970, or any count')
    if times.min() < 0:
        row = int(np.argmin(times))
        raise ValueError(f'events column {name!r} is {times[row]} in row {row}: times must not be negative')


def _check_specs(raw: RawLog) -> None:
    places: dict[str, str] = {}
    for side, table in raw.tables.items():
        for name, column in table.items():
            if (side, name) in (('items', 'item'), ('users', 'user')):
                continue
            if name in places:
                raise ValueError(
                    f'column {name!r} occurs in {places[name]} and in {side}: tables share names, rename one'
                )
            places[name] = side
            _check_spec(side, name, column, raw.specs.get(name))
    for name in raw.specs:
        if name not in places:
            raise ValueError(f'`columns` describes {name!r}, which no table has; they have {", ".join(places)}')
    if 'time' in raw.specs:
        raise ValueError(
            "`columns` describes 'time': it orders events and is no feature, give a copy under another name"
        )


def _check_user_and_item(raw: RawLog) -> None:
    specs = raw.specs
    if specs['user'].buckets or specs['user'].min_count > 1:
        raise ValueError("column 'user' has buckets or min_count, which would merge histories: filter users beforehand")
    if specs['item'].buckets and raw.items:
        raise ValueError("column 'item' has buckets while items have attributes: items in one bucket would share them")
    for name in ('user', 'item'):
        if specs[name].kind != 'categorical':
            raise ValueError(f'column {name!r} is described as {specs[name].kind}: it is always categorical')


def _check_spec(side: str, name: str, column: Any, spec: ColumnSpec | None) -> None:
    ragged = isinstance(column, Ragged)
    dtype = values_of(column).dtype
    if spec is None:
        if isinstance(column, tuple) or dtype.kind == 'U':
            raise ValueError(f'{side} column {name!r} is not numeric and not described: add it to `columns`')
    elif (spec.kind == 'multi') != ragged:
        raise ValueError(f'{side} column {name!r} is described as {spec.kind}: multi means `Ragged`, the others do not')
    elif spec.kind == 'numeric' and isinstance(column, Coded):
        raise ValueError(f'{side} column {name!r} is coded and cannot be numeric: give an array of numbers')
    elif (dtype.kind == 'U') if spec.kind == 'numeric' else (dtype.kind == 'f'):
        raise ValueError(
            f'{side} column {name!r} of dtype {dtype} cannot be {spec.kind}: convert or describe it otherwise'
        )


def describe_source(path: str | Path) -> dict[str, Any]:
    """Base name, SHA-256 and size of a file that columns were read from; a ValueError when it is not a file."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f'source {path} is not a file: list the files that the columns were read from')
    with path.open('rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    return {'name': path.name, 'sha256': digest, 'bytes': path.stat().st_size}
