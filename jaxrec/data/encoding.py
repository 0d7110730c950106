"""Encoding raw tables: vocabularies, ids, the order of events, and attributes spread over table rows.

Letters: N events, V rows of a vocabulary.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.columns import Ragged, offsets_of, write_columns
from jaxrec.data.raw_columns import RawLog, RawTable
from jaxrec.data.schema import Column, ColumnSpec
from jaxrec.data.vocabulary import FIRST, OUT_OF_VOCABULARY, Vocabulary


def write_tables(folder: Path, raw: RawLog, seed: int) -> tuple[dict[str, Any], dict[str, int]]:
    """Encodes checked raw tables and writes `events/`, `items/`, `users/` and `vocab/`.

    Args:
      folder: of the log.
      raw: from `check_raw`.
      seed: of the vocabularies.

    Returns:
      What the manifest says of the schema, the vocabularies and the counts; and the rows left out, by reason.

    Raises:
      ValueError: when columns that share a vocabulary disagree.
    """
    tables, left_out = dict(raw.tables), {}
    for side, key in (('items', 'item'), ('users', 'user')):
        if tables[side]:
            occurs = np.isin(tables[side][key], raw.events[key])
            tables[side] = {
                name: _select(column, np.flatnonzero(occurs)) for name, column in tables[side].items()
            }
            left_out[f'{side} that occur in no event'] = int((~occurs).sum())
    vocabularies = _vocabularies(tables, raw.specs, seed)
    schema: dict[str, Column] = {}
    events = _encode(tables['events'], raw.specs, vocabularies, schema)
    counts = {'events': len(events['user'])}
    _write_events(folder / 'events', events, schema['user'].rows)
    for side, key in (('items', 'item'), ('users', 'user')):
        attributes = _encode(tables[side], raw.specs, vocabularies, schema)
        ids = attributes.pop(key, np.zeros(0, np.int32))
        present = np.unique(events[key])
        present = present[present >= FIRST]
        counts[side] = len(present)
        if tables[side]:
            counts[f'{side}_without_attributes'] = int((~np.isin(present, ids)).sum())
        rows = schema[key].rows
        by_id = {name: _by_id(column, ids, rows, schema.get(name)) for name, column in attributes.items()}
        write_columns(folder / side, by_id)
    for name, vocabulary in vocabularies.items():
        vocabulary.save(folder, name)
    described = {
        'schema': {name: dataclasses.asdict(column) for name, column in schema.items()},
        'vocabularies': {name: vocabulary.describe() for name, vocabulary in vocabularies.items()},
        'counts': counts,
    }
    return described, {reason: rows for reason, rows in left_out.items() if rows}


def _write_events(folder: Path, events: Mapping[str, Any], users: int) -> None:
    """Writes events by user and time, and where each user's begin; without times the given order stays."""
    keys = (events['time'], events['user']) if 'time' in events else (events['user'],)
    order = np.lexsort(keys)  # stable
    write_columns(folder, {name: _select(column, order) for name, column in events.items()})
    offsets = np.searchsorted(events['user'][order], np.arange(users + 1)).astype(np.int64)
    np.save(folder / 'user.offsets.npy', offsets)


def _vocabularies(
    tables: Mapping[str, RawTable], specs: Mapping[str, ColumnSpec], seed: int
) -> dict[str, Vocabulary]:
    members: dict[str, list[str]] = {}
    for name, spec in specs.items():
        if spec.kind != 'numeric':
            members.setdefault(spec.vocabulary or name, []).append(name)
    vocabularies = {}
    for vocabulary, names in members.items():
        settings = {(specs[name].min_count, specs[name].buckets) for name in names}
        # The keys of items and users are the events' own: counting them again would move the floor.
        columns = [next(table[name] for table in tables.values() if name in table) for name in names]
        values = [column.values if isinstance(column, Ragged) else column for column in columns]
        if len(settings) > 1 or len({array.dtype.kind == 'U' for array in values}) > 1:
            raise ValueError(
                f'columns {", ".join(names)} share vocabulary {vocabulary!r} but differ in min_count, '
                'buckets or kind of value (integers or strings): give them the same'
            )
        ((min_count, buckets),) = settings
        if buckets is not None:
            vocabularies[vocabulary] = Vocabulary.hashed(buckets, seed)
        else:
            vocabularies[vocabulary] = Vocabulary.build(
                np.concatenate(values), min_count=min_count, seed=seed
            )
    return vocabularies


def _encode(
    table: RawTable,
    specs: Mapping[str, ColumnSpec],
    vocabularies: Mapping[str, Vocabulary],
    schema: dict[str, Column],
) -> dict[str, Any]:
    """Encodes the columns of one table and enters the features among them into `schema`."""
    encoded: dict[str, Any] = {}
    for name, column in table.items():
        spec = specs.get(name)
        if spec is None:
            encoded[name] = column
        elif spec.kind == 'numeric':
            encoded[name] = column.astype(np.float32)
            schema[name] = Column('numeric', None, 0, 1)
        else:
            vocabulary = spec.vocabulary or name
            width = 1
            if isinstance(column, Ragged):
                column = _cut(column, spec.width)
                encoded[name] = column._replace(values=vocabularies[vocabulary].encode(column.values))
                width = max(1, int(column.lengths.max(initial=0)))
            else:
                encoded[name] = vocabularies[vocabulary].encode(column)
            schema[name] = Column(spec.kind, vocabulary, vocabularies[vocabulary].size, width)
    if 'time' in encoded:
        fractional = encoded['time'].dtype.kind == 'f'
        encoded['time'] = encoded['time'].astype(np.float64 if fractional else np.int64)
    return encoded


def _cut(column: Ragged, width: int | None) -> Ragged:
    if width is None:
        return column
    slot = np.arange(len(column.values)) - np.repeat(column.offsets[:-1], column.lengths)
    lengths = np.minimum(column.lengths, width)
    return Ragged(column.values[slot < width], offsets_of(lengths))


def _select(column: np.ndarray | Ragged, rows: np.ndarray) -> np.ndarray | Ragged:
    return column.take(rows) if isinstance(column, Ragged) else column[rows]


def _by_id(
    column: np.ndarray | Ragged, ids: np.ndarray, rows: int, described: Column | None
) -> np.ndarray | Ragged:
    """Spreads an attribute over table rows; a row without a value reads out-of-vocabulary, 0 or nothing."""
    source = np.full(rows, len(ids), np.int64)
    real = ids >= FIRST
    source[ids[real]] = np.flatnonzero(real)
    if isinstance(column, Ragged):
        return Ragged(column.values, np.append(column.offsets, column.offsets[-1])).take(source)
    absent = OUT_OF_VOCABULARY if described is not None and described.kind == 'categorical' else 0
    spread = np.append(column, np.asarray(absent, column.dtype))[source]
    spread[0] = 0
    return spread
