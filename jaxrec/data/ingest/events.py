"""The second pass: chunks become the event table, sorted by user and time, one range of users at a time.

Rows are first dealt into files by ranges of user ids, then each range is sorted in memory and appended to the table; of
several events of one user and time the order of the input stays. Events of an earlier log come first.

n rows of a piece.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.ingest.chunks import Chunk
from jaxrec.data.ingest.fields import Field
from jaxrec.data.ingest.merge import Coded, Merged
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.column_writer import ColumnWriter
from jaxrec.data.logs.columns import Ragged, concatenate
from jaxrec.data.logs.log import Log

RANGE_ROWS = 2_000_000  # rows sorted at once
SECOND = 1_000_000  # microseconds


@dataclasses.dataclass
class EventPlan:
    """What the event table is made from."""

    fields: Sequence[Field]  # of the table
    merged: Mapping[str, Merged]  # {coded column: its values}
    coded: Mapping[str, Coded]  # {coded column: what they became}
    base: Log | None = None  # an earlier log whose events come first

    @property
    def generation(self) -> int:
        """Which ingest the new events come from, the first log being 0."""
        if self.base is None:
            return 0
        return int(self.base.events['generation'].max()) + 1 if 'generation' in self.base.events else 1

    def types(self, chunks: Sequence[Chunk]) -> dict[str, np.dtype]:
        """{column: dtype} of the table, in its order; times are whole seconds where all of them are."""
        types: dict[str, np.dtype] = {}
        for field in self.fields:
            types[field.name] = np.dtype(np.int32 if field.coded else np.float32)
            if field.role == 'time':
                times = (np.asarray(chunk.columns().column('time')) for chunk in chunks)
                whole = not any((micros % SECOND).any() for micros in times)
                types['time'] = np.dtype(np.int64 if whole else np.float64)
            if self.base is not None and not field.coded:
                held = self.base.events[field.name].dtype
                types[field.name] = np.promote_types(held, types[field.name]) if field.role == 'time' else held
        if self.base is not None:
            types['generation'] = np.dtype(np.int8)
        return types

    @property
    def ragged(self) -> dict[str, Any]:
        """{multi-valued column: dtype}."""
        return {f.name: np.int32 for f in self.fields if f.coded and isinstance(self.coded[f.name].ids, Ragged)}


def write_by_user(folder: Path, chunks: Sequence[Chunk], plan: EventPlan, work: Path) -> int:
    """Writes `events/` of a behaviour log from the chunks of event files, in order, and returns the number of events.

    `work` is a folder for the ranges while they wait.
    """
    types, offsets = plan.types(chunks), np.append(0, np.cumsum(_events_of_users(plan)))
    bounds = _ranges(offsets)
    spill = _Spill(work, len(bounds) - 1)
    for chunk in chunks:
        columns = _decode(chunk, plan)
        spill.deal(columns, np.searchsorted(bounds, columns['user'], 'right') - 1)
    with ColumnWriter(folder / 'events', types, plan.ragged) as writer:
        for number, (first, last) in enumerate(itertools.pairwise(bounds)):
            rows = _finish(spill.take(number, plan), plan, types)
            if isinstance(plan.base, BehaviourLog):
                held = plan.base.user_offsets
                old, end = (int(held[min(bound, len(held) - 1)]) for bound in (first, last))
                rows = {name: concatenate(_old(plan.base, name, old, end, types), rows[name]) for name in types}
            keys = (rows['time'], rows['user']) if 'time' in types else (rows['user'],)
            order = np.lexsort(keys)  # stable
            writer.append({name: _take(rows[name], order) for name in types})
    np.save(folder / 'events' / 'user.offsets.npy', offsets)
    return int(offsets[-1])


def write_in_order(folder: Path, chunks: Sequence[Chunk], plan: EventPlan) -> int:
    """Writes `events/` of a click log, rows in the order of the input, and returns the number of events."""
    types, total = plan.types(chunks), sum(chunk.rows for chunk in chunks)
    with ColumnWriter(folder / 'events', types, plan.ragged) as writer:
        if plan.base is not None:
            total += len(plan.base)
            for first in range(0, len(plan.base), RANGE_ROWS):
                last = min(first + RANGE_ROWS, len(plan.base))
                writer.append({name: _old(plan.base, name, first, last, types) for name in types})
        for chunk in chunks:
            rows = _finish(_decode(chunk, plan), plan, types)
            writer.append({name: rows[name] for name in types})
    return total


def _events_of_users(plan: EventPlan) -> np.ndarray:
    """int64 [rows of users], the number of events of each."""
    ids, column = plan.coded['user']
    assert isinstance(ids, np.ndarray)
    counts = np.zeros(column.rows, np.int64)
    np.add.at(counts, ids, plan.merged['user'].counts)
    if isinstance(plan.base, BehaviourLog):
        counts[: len(plan.base.user_offsets) - 1] += np.diff(plan.base.user_offsets)
    return counts


def _ranges(offsets: np.ndarray) -> np.ndarray:
    """Bounds of user ranges with about RANGE_ROWS events each; a user is never cut."""
    total, users = int(offsets[-1]), len(offsets) - 1
    marks = np.arange(RANGE_ROWS, total, RANGE_ROWS)
    return np.unique(np.concatenate([[0], np.searchsorted(offsets, marks), [users]]))


def _decode(chunk: Chunk, plan: EventPlan) -> dict[str, np.ndarray]:
    """Ids, microseconds and numbers of a chunk; of multi-valued columns still the codes."""
    rows, columns = chunk.columns(), {}
    for field in plan.fields:
        column = rows.column(field.name)
        if not field.coded:
            columns[field.name] = np.asarray(column)
            continue
        codes, ids = plan.merged[field.name].codes(chunk, field.name, column), plan.coded[field.name].ids
        columns[field.name] = codes if isinstance(ids, Ragged) else ids[codes]
    return columns


class _Spill:
    """Rows waiting in files, one a range and column."""

    def __init__(self, folder: Path, ranges: int):
        self._folder, self._ranges, self._types = folder, ranges, dict[str, np.dtype]()
        for file in folder.glob('range-*.bin'):
            file.unlink()

    def deal(self, columns: Mapping[str, np.ndarray], where: np.ndarray) -> None:
        """Appends each row [n] to the files of its range `where` [n], in order."""
        order = np.argsort(where, kind='stable')
        ends = np.searchsorted(where[order], np.arange(self._ranges + 1))
        for name, column in columns.items():
            self._types[name] = column.dtype
            dealt = column[order]
            for number in range(self._ranges):
                with self._file(number, name).open('ab') as file:
                    dealt[ends[number] : ends[number + 1]].tofile(file)

    def take(self, number: int, plan: EventPlan) -> dict[str, np.ndarray]:
        """Reads a range and removes its files."""
        rows = {}
        for field in plan.fields:
            file = self._file(number, field.name)
            rows[field.name] = np.fromfile(file, self._types[field.name])
            file.unlink()
        return rows

    def _file(self, number: int, name: str) -> Path:
        return self._folder / f'range-{number:05d}.{name}.bin'


def _finish(rows: Mapping[str, np.ndarray], plan: EventPlan, types: Mapping[str, np.dtype]) -> dict[str, Any]:
    """Seconds for microseconds, lists for the codes of multi-valued columns, and the types of the table."""
    finished: dict[str, Any] = {'generation': np.full(len(next(iter(rows.values()))), plan.generation, np.int8)}
    for field in plan.fields:
        column, wanted = rows[field.name], types[field.name]
        ids = plan.coded[field.name].ids if field.coded else None
        if isinstance(ids, Ragged):
            finished[field.name] = ids.take(column)
        elif field.role == 'time':
            finished['time'] = column // SECOND if wanted.kind == 'i' else column / SECOND
        else:
            finished[field.name] = column.astype(wanted, copy=False)
            if wanted.kind in 'biu' and not field.coded and (finished[field.name] != column).any():
                raise ValueError(
                    f'column {field.name!r} holds fractions, and the log that is extended has {wanted}: '
                    'ingest both from the start'
                )
    return finished


def _old(base: Log, name: str, first: int, last: int, types: Mapping[str, np.dtype]) -> np.ndarray | Ragged:
    """Rows of an earlier log."""
    if name not in base.events:  # the generation: the first log has none
        return np.zeros(last - first, types[name])
    column = base.events[name]
    if isinstance(column, Ragged):
        return column.take(np.arange(first, last))
    return column[first:last].astype(types[name], copy=False)


def _take(column: np.ndarray | Ragged, rows: np.ndarray) -> np.ndarray | Ragged:
    return column.take(rows) if isinstance(column, Ragged) else column[rows]
