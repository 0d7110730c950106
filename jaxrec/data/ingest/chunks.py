"""The first pass: every block of every file becomes a chunk on disk, committed completely or not at all.

A chunk is an Arrow file of the accepted rows: texts and ids as codes into a dictionary of the chunk's own, times in
microseconds, numbers as float32; its metadata count the skipped rows. A killed pass resumes after the last chunk of the
file it was in.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tqdm

from jaxrec.data.ingest.blocks import Block, open_parquet, read_blocks
from jaxrec.data.ingest.convert import convert
from jaxrec.data.ingest.fields import Field, Format
from jaxrec.data.ingest.files import check_columns, kind_of, line_numbers, read_header

LOG_SECONDS = 5.0  # between log lines where there is no terminal
SHOWN = 5  # line numbers shown of each reason
log = logging.getLogger(__name__)
Rejected = dict[str, dict[str, Any]]  # {reason: {'rows': count, 'first': [record, ...]}}


class Part(NamedTuple):
    """A file and what to read from it."""

    side: str  # 'events', 'items' or 'users', the table its rows belong to
    number: int  # of the file among those of its side
    path: Path  # of the file
    fields: tuple[Field, ...]  # what its columns are
    format: Format  # of CSV files

    def check_columns(self, columns: Sequence[str]) -> None:
        """Refuses a file that lacks one of some columns; a ValueError names file and column."""
        if kind_of(self.path) == 'csv':
            read_header(self.path, self.format, columns)
        else:
            with open_parquet(self.path) as file:
                check_columns(str(self.path), file.schema_arrow.names, columns)

    def chunk(self, folder: Path, number: int) -> Path:
        """Where the chunk of the file's block of that number lies."""
        return folder / f'{self.side}-{self.number:05d}-{number:06d}.arrow'

    def summary(self, folder: Path) -> Path:
        """Where the summary of the whole file lies once all its blocks are chunks."""
        return folder / f'{self.side}-{self.number:05d}.json'


class Chunk(NamedTuple):
    """A committed chunk: its file, the table its rows belong to, and their number."""

    path: Path
    side: str
    rows: int

    def columns(self) -> pa.RecordBatch:
        """Maps the chunk; its arrays read the file as they are used."""
        return pa.ipc.open_file(pa.memory_map(str(self.path))).get_batch(0)


class Taken(NamedTuple):
    """What the first pass leaves behind."""

    chunks: list[Chunk]  # in the order of sides, files and rows; without empty ones
    rejected: Rejected  # {reason: {'rows': count, 'first': ['file:line', ...]}}
    read: int  # rows of event files, skipped ones included
    extra_lines: int  # of CSV files beyond one a row: line breaks in quotes, and empty lines


def take_in(parts: Sequence[Part], folder: Path, strict: bool = False) -> Taken:
    """Turns files, event files first, into chunks in a folder; chunks that are there already are not written again.

    Raises:
      ValueError: a file that cannot be read or whose first block holds not one good row; under `strict` any bad row.
    """
    total = sum(part.path.stat().st_size for part in parts)
    with tqdm.tqdm(total=total, unit='B', unit_scale=True, disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:
        summaries = [_take_file(part, folder, strict, bar.update) for part in parts]
    chunks: list[Chunk] = []
    rejected: Rejected = {}
    for part, summary in zip(parts, summaries, strict=True):
        for number, rows in enumerate(summary['rows']):
            if rows:
                chunks.append(Chunk(part.chunk(folder, number), part.side, rows))
        merge_rejected(rejected, summary['rejected'])
    read = sum(s['records'] for s, part in zip(summaries, parts, strict=True) if part.side == 'events')
    return Taken(chunks, rejected, read, sum(summary['extra'] for summary in summaries))


def _take_file(part: Part, folder: Path, strict: bool, progress: Callable[[int], Any]) -> dict[str, Any]:
    """Makes the missing chunks of one file and its summary."""
    done = part.summary(folder)
    if done.exists():
        progress(part.path.stat().st_size)
        return json.loads(done.read_text())
    rows: list[int] = []
    rejected: Rejected = {}
    records, lines, said = 0, 0, time.monotonic()
    columns = [field.column for field in part.fields]
    for number, block in enumerate(read_blocks(part.path, columns, part.format, progress)):
        path = part.chunk(folder, number)
        if not path.exists():
            _write_chunk(path, *take_rows(block, part.fields))
        count, found = _read_note(path)
        rows.append(count)
        if found and strict:
            raise ValueError(_refusal(part, found, 'strict: mend or remove such rows, or leave --strict out'))
        merge_rejected(rejected, found)
        records, lines = block.end - 1, block.lines
        if number == 0 and not count and found:
            raise ValueError(_refusal(part, rejected, 'not one of the first rows can be used: check the mapping'))
        if not sys.stderr.isatty() and time.monotonic() > said + LOG_SECONDS:
            said = time.monotonic()
            log.info('%s: read %d rows, skipped %d', part.path.name, records, _count(rejected))
    locate(part, rejected, exact=lines == records)
    header = int(kind_of(part.path) == 'csv' and part.format.header is None)
    extra = lines - records if kind_of(part.path) == 'csv' else 0
    summary = {'rows': rows, 'rejected': rejected, 'records': records - header, 'extra': extra}
    _commit(done, json.dumps(summary).encode())
    return summary


def take_rows(block: Block, fields: Sequence[Field], keep: Sequence[str] = ()) -> tuple[pa.RecordBatch, Rejected]:
    """Converts a block and skips the rows that cannot be used; `keep` names further columns, returned as they are.

    Returns:
      The good rows, a column a field (ids and categories dictionary-encoded) and then those kept; and what is wrong
        with the others, by record number, of several reasons the first.
    """
    taken, bad = [], np.zeros(block.rows, bool)
    reasons: list[tuple[str, np.ndarray]] = []
    for field in fields:
        values, found = convert(field, block.columns[field.column])
        taken.append(values)
        for reason, mask in found:
            reasons.append((reason, mask & ~bad))
            bad |= mask
    rejected: Rejected = {}
    for record, reason in block.invalid.items():
        merge_rejected(rejected, {reason: {'rows': 1, 'first': [record]}})
    records = block.records() if bad.any() else np.zeros(0, np.int64)
    for reason, mask in reasons:
        if mask.any():
            first = records[np.flatnonzero(mask)[:SHOWN]].tolist()
            merge_rejected(rejected, {reason: {'rows': int(mask.sum()), 'first': first}})
    taken += [block.columns[name] for name in keep]
    if bad.any():
        good = pa.array(~bad)
        taken = [column.filter(good) for column in taken]
    for number, field in enumerate(fields):
        if field.coded:
            taken[number] = pc.dictionary_encode(taken[number])
    names = [field.name for field in fields] + list(keep)
    return pa.RecordBatch.from_arrays(taken, names=names), rejected


def _write_chunk(path: Path, batch: pa.RecordBatch, rejected: Rejected) -> None:
    note = json.dumps({'rows': batch.num_rows, 'rejected': rejected})
    batch = batch.replace_schema_metadata({'note': note})
    partial = path.with_suffix('.partial')
    with pa.OSFile(str(partial), 'wb') as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    os.replace(partial, path)


def _read_note(path: Path) -> tuple[int, Rejected]:
    with pa.memory_map(str(path)) as file:
        note = json.loads(pa.ipc.open_file(file).schema.metadata[b'note'])
    return note['rows'], note['rejected']


def _commit(path: Path, content: bytes) -> None:
    partial = path.with_suffix('.partial')
    partial.write_bytes(content)
    os.replace(partial, path)


def merge_rejected(into: Rejected, found: Mapping[str, Any]) -> None:
    """Adds counts and first places by reason."""
    for reason, more in found.items():
        held = into.setdefault(reason, {'rows': 0, 'first': []})
        held['rows'] += more['rows']
        held['first'] = (held['first'] + more['first'])[:SHOWN]


def _count(rejected: Rejected) -> int:
    return sum(found['rows'] for found in rejected.values())


def locate(part: Part, rejected: Rejected, exact: bool) -> None:
    """Turns record numbers in `rejected` into 'file:line', in place; `exact`: every record is one line."""
    if kind_of(part.path) == 'parquet':
        name = lambda record: f'{part.path.name}: row {record}'
    else:
        lines: dict[int, int] = {}
        if not exact:
            records = [record for found in rejected.values() for record in found['first']]
            delimiter, _ = read_header(part.path, part.format, [field.column for field in part.fields])
            lines = line_numbers(part.path, part.format, delimiter, records)
        name = lambda record: f'{part.path.name}:{lines.get(record, record)}'
    for found in rejected.values():
        found['first'] = [name(record) for record in found['first']]


def _refusal(part: Part, rejected: Rejected, why: str) -> str:
    locate(part, rejected, exact=False)
    return f'{part.path}: {describe_rejected(rejected)}; {why}'


def describe_rejected(rejected: Rejected) -> str:
    """Says in a line what was left out and where it first occurred."""
    return '; '.join(f'{found["rows"]} x {reason} ({", ".join(found["first"])})' for reason, found in rejected.items())


def chunks_of(taken: Taken, side: str) -> Iterator[Chunk]:
    """The chunks of one table."""
    return (chunk for chunk in taken.chunks if chunk.side == side)
