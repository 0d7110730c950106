"""Raw columns as a reader or a simulator hands them over, and every check they pass before they are compiled.

A table (events, items, users) is a mapping of columns of one length: numpy arrays of integers, floats or
strings, or `Ragged` for several values a row. Names are shared by all three tables, so that a feature is
found by its name alone.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.columns import Ragged, check_column
from jaxrec.data.schema import ColumnSpec

RawTable = Mapping[str, Any]  # {name: array [N] or Ragged of N rows}


@dataclasses.dataclass(frozen=True)
class RawLog:
    """Checked raw tables, key columns renamed to `user`, `item`, `time`; `specs` describes the first two."""

    events: dict[str, Any]
    items: dict[str, Any]
    users: dict[str, Any]
    specs: dict[str, ColumnSpec]

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """The three tables by name."""
        return {'events': self.events, 'items': self.items, 'users': self.users}

    def digest(self) -> str:
        """SHA-256 over names, dtypes and content of all columns."""
        digest = hashlib.sha256()
        for side, table in self.tables.items():
            for name, column in sorted(table.items()):
                for array in column if isinstance(column, Ragged) else (column,):
                    digest.update(f'{side}/{name} {array.dtype} {array.shape}'.encode())
                    digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()


def check_raw(
    events: RawTable,
    items: RawTable | None,
    users: RawTable | None,
    columns: Mapping[str, ColumnSpec],
    names: tuple[str, str, str],
) -> RawLog:
    """Checks raw tables and renames their key columns.

    Args:
      events, items, users: raw tables.
      columns: descriptions of the feature columns, by raw name.
      names: what the tables call `user`, `item` and `time`.

    Raises:
      ValueError: naming the table, the column and, where there is one, the row.
    """
    renamed = dict(zip(names, ('user', 'item', 'time'), strict=True))
    if len(renamed) < 3:
        raise ValueError(f'user, item and time are called {names}: give three different names')
    given = {'events': events or {}, 'items': items or {}, 'users': users or {}}
    for side, table in given.items():
        for name, key in renamed.items():
            # Renaming would drop one of two columns, or take one for the key that was never meant.
            if name != key and key in table and (name in table or side == 'events'):
                raise ValueError(
                    f'{side} have a column {key!r}, but {key} is said to be called {name!r}: rename it'
                )
    tables = {
        side: {renamed.get(name, name): _checked(side, name, column) for name, column in table.items()}
        for side, table in given.items()
    }
    specs = {renamed.get(name, name): spec for name, spec in columns.items()}
    for key in ('user', 'item'):
        specs.setdefault(key, ColumnSpec('categorical'))
    _check_keys(tables, names)
    _check_times(tables['events'].get('time'), names[2])
    _check_specs(tables, specs)
    return RawLog(**tables, specs=specs)


def _checked(side: str, name: str, column: Any) -> Any:
    try:
        check_column(name, column if isinstance(column, Ragged) else np.asarray(column))
    except ValueError as error:
        raise ValueError(f'{side}: {error}') from None
    if isinstance(column, Ragged):
        return column
    column = np.asarray(column)
    if column.ndim != 1:
        raise ValueError(
            f'{side} column {name!r} has shape {column.shape}: give one value a row, or a `Ragged`'
        )
    if column.dtype.kind == 'f' and not np.isfinite(column).all():
        row = int(np.flatnonzero(~np.isfinite(column))[0])
        raise ValueError(
            f'{side} column {name!r} is {column[row]} in row {row}: drop or fill such rows before compiling'
        )
    return column


def _check_keys(tables: Mapping[str, RawTable], names: tuple[str, str, str]) -> None:
    called = dict(zip(('user', 'item', 'time'), names, strict=True))
    keys = {'events': ['user', 'item'], 'items': ['item'], 'users': ['user']}
    if called['time'] != 'time':  # a name given on purpose must exist; the default may be absent
        keys['events'].append('time')
    for side, table in tables.items():
        missing = [called[key] for key in keys[side] if key not in table]
        if missing and (table or side == 'events'):
            raise ValueError(
                f'{side} lack the key column {missing[0]!r}; they have {", ".join(table) or "none"}'
            )
        lengths = {name: check_column(name, column) for name, column in table.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f'{side} columns have unequal lengths {lengths}: give one value a row in each')
        if side != 'events' and table:
            distinct, counts = np.unique(table[keys[side][0]], return_counts=True)
            if (counts > 1).any():
                raise ValueError(
                    f'{side} key {distinct[counts > 1][0].item()!r} occurs more than once: keep one row a key'
                )
    if not len(tables['events']['user']):
        raise ValueError('the log is empty, events have 0 rows: check the reader and its filters')


def _check_times(times: np.ndarray | None, name: str) -> None:
    if times is None:
        return
    if isinstance(times, Ragged) or times.dtype.kind not in 'iuf':
        raise ValueError(
            f'events column {name!r} is no column of numbers: times are seconds since 1970, or any count'
        )
    if times.min() < 0:
        row = int(np.argmin(times))
        raise ValueError(f'events column {name!r} is {times[row]} in row {row}: times must not be negative')


def _check_specs(tables: Mapping[str, RawTable], specs: Mapping[str, ColumnSpec]) -> None:
    places: dict[str, str] = {}
    for side, table in tables.items():
        for name, column in table.items():
            if (side, name) in (('items', 'item'), ('users', 'user')):
                continue
            if name in places:
                raise ValueError(
                    f'column {name!r} occurs in {places[name]} and in {side}: tables share names, rename one'
                )
            places[name] = side
            _check_spec(side, name, column, specs.get(name))
    for name in specs:
        if name not in places:
            raise ValueError(
                f'`columns` describes {name!r}, which no table has; they have {", ".join(places)}'
            )
    if specs['user'].buckets or specs['user'].min_count > 1:
        raise ValueError(
            "column 'user' has buckets or min_count, which would merge histories: filter users beforehand"
        )
    if specs['item'].buckets and tables['items']:
        raise ValueError(
            "column 'item' has buckets while items have attributes: items in one bucket would share them"
        )
    for name in ('user', 'item'):
        if specs[name].kind != 'categorical':
            raise ValueError(f'column {name!r} is described as {specs[name].kind}: it is always categorical')


def _check_spec(side: str, name: str, column: Any, spec: ColumnSpec | None) -> None:
    ragged = isinstance(column, Ragged)
    kind = (column.values if ragged else column).dtype.kind
    if spec is None:
        if ragged or kind == 'U':
            raise ValueError(f'{side} column {name!r} is not numeric and not described: add it to `columns`')
    elif (spec.kind == 'multi') != ragged:
        raise ValueError(
            f'{side} column {name!r} is described as {spec.kind}: multi means `Ragged`, the others do not'
        )
    elif (kind == 'U') if spec.kind == 'numeric' else (kind == 'f'):
        dtype = column.values.dtype if ragged else column.dtype
        raise ValueError(
            f'{side} column {name!r} of dtype {dtype} cannot be {spec.kind}: convert or describe it otherwise'
        )


def describe_source(path: str | Path) -> dict[str, Any]:
    """Base name, SHA-256 and size of a file that columns were read from.

    Raises:
      ValueError: when it is not a file.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f'source {path} is not a file: list the files that the columns were read from')
    with path.open('rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    return {'name': path.name, 'sha256': digest, 'bytes': path.stat().st_size}
