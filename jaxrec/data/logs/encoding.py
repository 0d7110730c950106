"""Encoding raw tables: vocabularies, ids, the order of events, and attributes spread over table rows.

Columns are encoded and written one by one, so that memory holds the raw tables and a single encoded column.

Letters: N events, V rows of a vocabulary.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.logs.columns import ColumnStore, Ragged, concatenate, offsets_of, write_columns
from jaxrec.data.logs.raw_columns import Coded, RawLog, RawTable, distinct, values_of
from jaxrec.data.logs.schema import Column, ColumnSpec
from jaxrec.data.logs.vocabulary import FIRST, OUT_OF_VOCABULARY, Vocabulary, merge_counts

Encoded = np.ndarray | Ragged


def write_events(folder: Path, raw: RawLog, seed: int) -> tuple[dict[str, Any], dict[str, int]]:
    """Encodes the events of a checked raw log in their given order, and writes `events/` and `vocab/`.

    Returns:
      The schema, vocabularies and counts of the manifest, and {reason: skipped rows}, which is empty.

    Raises:
      ValueError: columns that share a vocabulary disagree.
    """
    encoder = Encoder(raw.specs, _vocabularies(raw.tables, raw.specs, seed))
    write_columns(folder / 'events', encoder.columns(raw.events))
    return encoder.describe(folder, {'events': len(ColumnStore(folder / 'events'))}), {}


def write_tables(folder: Path, raw: RawLog, seed: int) -> tuple[dict[str, Any], dict[str, int]]:
    """Encodes checked raw tables and writes `events/`, `items/`, `users/` and `vocab/`; as `write_events` otherwise."""
    tables, left_out = dict(raw.tables), {}
    for side, key in (('items', 'item'), ('users', 'user')):
        if tables[side]:
            met, _ = distinct(raw.events[key])
            occurs = _isin(tables[side][key], met)
            tables[side] = {name: select(column, np.flatnonzero(occurs)) for name, column in tables[side].items()}
            left_out[f'{side} that occur in no event'] = int((~occurs).sum())
    encoder = Encoder(raw.specs, _vocabularies(tables, raw.specs, seed))
    counts = {'events': write_by_user(folder / 'events', encoder, tables['events'])}
    events = ColumnStore(folder / 'events')
    for side, key in (('items', 'item'), ('users', 'user')):
        attributes: dict[str, Any] = dict(encoder.columns(tables[side]))
        ids = attributes.pop(key, np.zeros(0, np.int32))
        present = np.unique(events[key])
        present = present[present >= FIRST]
        counts[side] = len(present)
        if tables[side]:
            counts[f'{side}_without_attributes'] = int((~np.isin(present, ids)).sum())
        rows, schema = encoder.schema[key].rows, encoder.schema
        by_id = {name: spread(column, ids, rows, schema.get(name)) for name, column in attributes.items()}
        write_columns(folder / side, by_id)
    return encoder.describe(folder, counts), {reason: rows for reason, rows in left_out.items() if rows}


def write_by_user(folder: Path, encoder: 'Encoder', events: RawTable) -> int:
    """Writes the raw columns of events by user and time, and where each user begins; returns N.

    Without times the given order stays. The file `user.offsets.npy` is int64 [rows of users + 1].
    """
    users = encoder.column('user', events['user'])
    keys = (encoder.column('time', events['time']), users) if 'time' in events else (users,)
    order = np.lexsort(keys)  # stable
    write_columns(folder, ((name, select(column, order)) for name, column in encoder.columns(events)))
    rows = encoder.schema['user'].rows
    np.save(folder / 'user.offsets.npy', np.searchsorted(users[order], np.arange(rows + 1)).astype(np.int64))
    return len(order)


class Encoder:
    """Turns raw columns into ids and numbers, and keeps the schema of what it has encoded."""

    def __init__(self, specs: Mapping[str, ColumnSpec], vocabularies: Mapping[str, Vocabulary]):
        """Starts with an empty schema, from the columns' specs and the vocabularies of all that are not numeric."""
        self.specs, self.vocabularies = specs, vocabularies
        self.schema: dict[str, Column] = {}

    def columns(self, table: RawTable) -> Iterator[tuple[str, Encoded]]:
        """Encodes a table column by column."""
        return ((name, self.column(name, raw)) for name, raw in table.items())

    def column(self, name: str, raw: Any) -> Encoded:
        """Encodes one column, or a block of it, and enters it into the schema if it is a feature."""
        spec = self.specs.get(name)
        if name == 'time':
            return raw.astype(np.float64 if raw.dtype.kind == 'f' else np.int64, copy=False)
        if spec is None:
            return raw
        if spec.kind == 'numeric':
            self.schema[name] = Column('numeric', None, 0, 1)
            return raw.astype(np.float32)
        vocabulary = self.vocabularies[spec.vocabulary or name]
        encoded: Encoded
        width = 1
        if isinstance(raw, Ragged):
            raw = cut(raw, spec.width)
            encoded = raw._replace(values=vocabulary.encode(raw.values))
            before = self.schema[name].width if name in self.schema else 1
            width = max(before, int(raw.lengths.max(initial=0)))
        elif isinstance(raw, Coded):
            encoded = vocabulary.encode(raw.values)[raw.codes]
        else:
            encoded = vocabulary.encode(raw)
        self.schema[name] = Column(spec.kind, spec.vocabulary or name, vocabulary.size, width)
        return encoded

    def describe(self, folder: Path, counts: dict[str, int]) -> dict[str, Any]:
        """Writes the vocabularies; returns the schema, vocabularies and counts of the manifest."""
        for name, vocabulary in self.vocabularies.items():
            vocabulary.save(folder, name)
        return {
            'schema': {name: dataclasses.asdict(column) for name, column in self.schema.items()},
            'vocabularies': {name: v.describe() for name, v in self.vocabularies.items()},
            'counts': counts,
        }


def _vocabularies(tables: Mapping[str, RawTable], specs: Mapping[str, ColumnSpec], seed: int) -> dict[str, Vocabulary]:
    # The keys of items and users are the events' own: counting them again would move the floor.
    find = lambda name: next(table[name] for table in tables.values() if name in table)
    is_text = lambda name: values_of(find(name)).dtype.kind == 'U'
    return make_vocabularies(specs, is_text, lambda name: distinct(find(name)), seed)


def make_vocabularies(
    specs: Mapping[str, ColumnSpec],
    is_text: Callable[[str], bool],
    count: Callable[[str], tuple[np.ndarray, np.ndarray]],
    seed: int,
) -> dict[str, Vocabulary]:
    """Builds the vocabularies {name: vocabulary} of all columns that have one.

    Args:
      specs: how columns become features.
      is_text: whether a column holds strings.
      count: the distinct values of a column and how often each occurs.
      seed: of the hash that orders the ids.

    Raises:
      ValueError: columns that share a vocabulary disagree.
    """
    members: dict[str, list[str]] = {}
    for name, spec in specs.items():
        if spec.kind != 'numeric':
            members.setdefault(spec.vocabulary or name, []).append(name)
    vocabularies = {}
    for vocabulary, names in members.items():
        settings = {(specs[name].min_count, specs[name].buckets) for name in names}
        if len(settings) > 1 or len({is_text(name) for name in names}) > 1:
            raise ValueError(
                f'columns {", ".join(names)} share vocabulary {vocabulary!r} but differ in min_count, '
                'buckets or kind of value (integers or strings): give them the same'
            )
        ((min_count, buckets),) = settings
        if buckets is not None:
            vocabularies[vocabulary] = Vocabulary.hashed(buckets, seed)
        else:
            counts = merge_counts([count(name) for name in names])
            vocabularies[vocabulary] = Vocabulary.from_counts(*counts, min_count=min_count, seed=seed)
    return vocabularies


def cut(column: Ragged, width: int | None) -> Ragged:
    """Keeps the first `width` values of each row; all where it is None."""
    if width is None:
        return column
    slot = np.arange(len(column.values)) - np.repeat(column.offsets[:-1], column.lengths)
    return Ragged(column.values[slot < width], offsets_of(np.minimum(column.lengths, width)))


def select(column: Any, rows: np.ndarray) -> Any:
    """Rows of a raw or encoded column, integer [M], in their order."""
    if isinstance(column, Coded):
        return column._replace(codes=column.codes[rows])
    return column.take(rows) if isinstance(column, Ragged) else column[rows]


def _isin(column: Any, values: np.ndarray) -> np.ndarray:
    if isinstance(column, Coded):
        return np.isin(column.values, values)[column.codes]
    return np.isin(column, values)


def spread(
    column: Encoded, ids: np.ndarray, rows: int, described: Column | None, base: Encoded | None = None
) -> Encoded:
    """Spreads an attribute over V = `rows` table rows.

    Args:
      column: encoded values, [M] or `Ragged` of M rows.
      ids: int32 [M], the table row of each; ids below 2 are skipped.
      described: what the column is; None for one that is no feature.
      base: values [V'], V' <= V, of the first rows where `ids` do not name them.

    Returns:
      [V] or `Ragged` of V rows; a row without a value reads out-of-vocabulary, 0 or nothing.
    """
    old = 0
    if base is not None:
        old = len(base.offsets) - 1 if isinstance(base, Ragged) else len(base)
        column = concatenate(base, column)
    source = np.full(rows, old + len(ids), np.int64)
    source[:old] = np.arange(old)
    real = ids >= FIRST
    source[ids[real]] = old + np.flatnonzero(real)
    if isinstance(column, Ragged):
        return Ragged(column.values, np.append(column.offsets, column.offsets[-1])).take(source)
    absent = OUT_OF_VOCABULARY if described is not None and described.kind == 'categorical' else 0
    values = np.append(column, np.asarray(absent, column.dtype))[source]
    values[0] = 0
    return values
