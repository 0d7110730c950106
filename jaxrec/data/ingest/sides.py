"""Attributes of items and users: the last value given for each, wherever it stood.

Letters: K distinct keys (items or users) of the log, V rows of a table.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from jaxrec.data.ingest.chunks import Chunk
from jaxrec.data.ingest.fields import Field
from jaxrec.data.ingest.merge import Coded, Merged
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.columns import Ragged
from jaxrec.data.logs.encoding import spread
from jaxrec.data.logs.schema import Column
from jaxrec.data.logs.vocabulary import FIRST


@dataclasses.dataclass
class Latest:
    """The attributes of one table, by key."""

    values: dict[str, np.ndarray]  # {attribute: codes int32 [K], or numbers float32 [K]}
    present: np.ndarray  # bool [K], keys that have a row
    changed: dict[str, int]  # {attribute: keys for which it took more than one value}
    repeated: int  # rows whose key had a row before, in a file of their own
    strangers: int  # rows whose key occurs in no event


def latest_attributes(
    chunks: Iterable[Chunk], fields: Sequence[Field], key: str, keys: Merged, merged: Mapping[str, Merged]
) -> Latest:
    """Reads the last value of each attribute and key of items or users.

    Args:
      chunks: of the event files, or of the table's own file.
      fields: the attributes.
      key, keys: 'item' or 'user', and its merged values.
      merged: the merged values of the coded attributes.
    """
    size = len(keys.distinct)
    values = {f.name: np.full(size, -1, np.int32) if f.coded else np.zeros(size, np.float32) for f in fields}
    moved = {f.name: np.zeros(size, bool) for f in fields}
    latest = Latest(values, np.zeros(size, bool), {}, 0, 0)
    for chunk in chunks:
        rows = chunk.columns()
        if chunk.side == 'events':
            where = keys.codes(chunk, key, rows.column(key))
        else:
            own = pc.fill_null(pc.index_in(rows.column(key).dictionary, keys.distinct), -1)
            where = np.asarray(own)[np.asarray(rows.column(key).indices)]
        known = where >= 0
        latest.strangers += int((~known).sum())
        where = where[known]
        before = latest.present.copy()
        latest.present[where] = True
        latest.repeated += len(where) - int((latest.present & ~before).sum())
        for field in fields:
            column = rows.column(field.name)
            new = merged[field.name].codes(chunk, field.name, column) if field.coded else np.asarray(column)
            new, held = new[known], values[field.name]
            moved[field.name][where[before[where] & (held[where] != new)]] = True
            held[where] = new  # of several rows the last one stays
            moved[field.name][where[held[where] != new]] = True
    latest.changed = {name: int(mask.sum()) for name, mask in moved.items()}
    return latest


def weigh(latest: Latest, merged: Mapping[str, Merged]) -> dict[str, Merged]:
    """Counts the values of coded attributes by the rows of the finished table instead of the rows of the files."""
    weighed = {}
    for name, column in merged.items():
        codes = latest.values[name][latest.present]
        counts = np.bincount(codes, minlength=len(column.distinct)).astype(np.int64)
        weighed[name] = dataclasses.replace(column, counts=counts)
    return weighed


class SideTable(NamedTuple):
    """A finished attribute table."""

    columns: dict[str, np.ndarray | Ragged]  # {attribute: [V] or `Ragged` of V rows}
    schema: dict[str, Column]  # by attribute
    without: int  # ids with events and without a row


def side_table(
    latest: Latest, fields: Sequence[Field], ids: np.ndarray, coded: Mapping[str, Coded], rows: int
) -> SideTable:
    """Spreads attributes over the V = `rows` rows of a table; `ids`, int32 [K], are those of the keys."""
    columns: dict[str, np.ndarray | Ragged] = {}
    schema: dict[str, Column] = {}
    where = np.flatnonzero(latest.present)
    for field in fields:
        values: np.ndarray | Ragged = latest.values[field.name][where]
        schema[field.name] = Column('numeric', None, 0, 1)
        if field.coded:
            of_codes, schema[field.name] = coded[field.name]
            if isinstance(of_codes, Ragged):
                values = of_codes.take(np.asarray(values))
                width = max(1, int(values.lengths.max(initial=0)))
                schema[field.name] = dataclasses.replace(schema[field.name], width=width)
            else:
                values = of_codes[np.asarray(values)]
        columns[field.name] = spread(values, ids[where], rows, schema[field.name])
    occurs, named = np.zeros(rows, bool), np.zeros(rows, bool)
    occurs[ids], named[ids[where]] = True, True
    return SideTable(columns, schema, int((occurs & ~named)[FIRST:].sum()))


def inherit(table: SideTable, base: BehaviourLog, side: str, ids: np.ndarray, present: np.ndarray) -> SideTable:
    """Fills the rows that a table of new rows does not name from an earlier log, whose ids are the first ones.

    `side` is 'items' or 'users', `ids`, int32 [K], the id of each key, and `present`, bool [K], the keys that the new
    files name.
    """
    store = base.items if side == 'items' else base.users
    is_named = np.zeros(ids.max(initial=0) + 1, bool)
    is_named[ids[present]] = True
    named = FIRST + np.flatnonzero(is_named[FIRST:])
    columns, schema = {}, {}
    for name, column in table.columns.items():
        held = base.schema[name]
        schema[name] = dataclasses.replace(table.schema[name], width=max(held.width, table.schema[name].width))
        rows = len(column.offsets) - 1 if isinstance(column, Ragged) else len(column)
        new = column.take(named) if isinstance(column, Ragged) else column[named]
        columns[name] = spread(new, named, rows, schema[name], base=store[name])
    old = base.schema['item' if side == 'items' else 'user'].rows
    without = base.manifest['counts'].get(f'{side}_without_attributes', 0)
    return SideTable(columns, schema, without + int((~is_named[old:]).sum()))
