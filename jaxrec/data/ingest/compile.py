"""From your files to a log folder, in memory that depends on distinct values and not on rows.

    log = ingest(['clicks.csv'], make_mapping({'user': 'uid', 'item': 'sku', 'time': {...}}), 'logs/mine')

A first pass turns files into chunks (`chunks`), their dictionaries become vocabularies (`merge`), and a second pass
writes the sorted table (`events`) and the attributes (`sides`). The same call resumes a killed ingest from
`.<folder>.ingest`, which is beside the folder until the log is complete. The log is the one that `compile_log` makes of
the same rows.

K distinct values of a column.
"""

import dataclasses
import fcntl
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.ingest import blocks
from jaxrec.data.ingest.chunks import Part, Taken, describe_rejected, take_in
from jaxrec.data.ingest.events import EventPlan, write_by_user, write_in_order
from jaxrec.data.ingest.extend import check_extends, present_ids
from jaxrec.data.ingest.fields import LogMapping
from jaxrec.data.ingest.files import find_files
from jaxrec.data.ingest.merge import Coded, Merged, add_values, make_vocabularies, merge_column
from jaxrec.data.ingest.sides import Latest, SideTable, inherit, latest_attributes, side_table, weigh
from jaxrec.data.ingest.types import resolve_types
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.click_log import ClickLog
from jaxrec.data.logs.columns import write_columns
from jaxrec.data.logs.log import VERSION, Log
from jaxrec.data.logs.raw_columns import describe_source
from jaxrec.data.logs.schema import Column
from jaxrec.data.logs.vocabulary import FIRST, Vocabulary
from jaxrec.files import needs_room

log = logging.getLogger(__name__)


def ingest(
    inputs: Sequence[str | Path],
    mapping: LogMapping,
    folder: str | Path,
    *,
    extend: str | Path | None = None,
    seed: int = 0,
    strict: bool = False,
) -> Log:
    """Compiles files to a log folder, which appears complete or not at all.

    Args:
      inputs: CSV and Parquet files with events, or patterns of such.
      mapping: what their columns are.
      folder: of the log. If it already holds the log of the same content and settings, that one is returned.
      extend: an earlier log: its events come first, its ids stay what they are, and new values are appended.
      seed: of the hash that assigns ids; that of the earlier log where there is one.
      strict: refuse the first row that would be skipped, instead of counting it.

    Returns:
      The opened log: a `BehaviourLog`, or a `ClickLog` for a mapping without users.

    Raises:
      ValueError: naming file and line, for what cannot be read or does not fit the mapping or the earlier log, and for
        a folder that holds anything else.
    """
    folder = Path(folder)
    kind: type[Log] = BehaviourLog if mapping.has_users else ClickLog
    base = None if extend is None else kind(extend)
    parts = parts_of(inputs, mapping)
    parts, types = resolve_types(parts, base)
    mapping = _with_types(mapping, types)
    settings = _settings(mapping, parts, types, base, seed)
    if existing := kind.existing(folder, settings['fingerprint']):
        log.info('%s holds this log already', folder)
        return existing
    # Chunks are counted in blocks: those of another block size are of no use.
    job = f'{settings["fingerprint"]} {blocks.BLOCK_BYTES} {blocks.PARQUET_ROWS}'
    with needs_room(folder), _hold_work(folder, job) as work:
        taken = take_in(parts, work, strict)
        _count(settings, taken)
        made = kind.publish(folder, settings, _Writer(mapping, taken, work, base, settings).write)
        shutil.rmtree(work)
    return made


def _count(settings: dict[str, Any], taken: Taken) -> None:
    """Enters what was left out into the settings; a log without events is refused."""
    if not sum(chunk.rows for chunk in taken.chunks if chunk.side == 'events'):
        why = describe_rejected(taken.rejected) or 'the files have no rows'
        raise ValueError(f'the log would be empty ({why}): check inputs and mapping')
    settings['dropped'] = _sum(settings['dropped'], {r: found['rows'] for r, found in taken.rejected.items()})
    settings['ingest'] |= {'rows_read': taken.read, 'left_out': taken.rejected, 'extra_lines': taken.extra_lines}


def parts_of(inputs: Sequence[str | Path], mapping: LogMapping) -> list[Part]:
    """Lists the files that a mapping reads, event files first, each with what its columns are.

    `inputs` are event files and patterns of such; the mapping names the files of attributes. A missing file is a
    ValueError.
    """
    paths = find_files([str(path) for path in inputs])
    parts = [Part('events', n, path, mapping.in_events, mapping.format) for n, path in enumerate(paths)]
    for side, (_, described) in mapping.sides.items():
        if described.file is not None and described.key is not None:
            (path,) = find_files([described.file])
            # A list of column names describes the event files alone.
            format_ = dataclasses.replace(mapping.format, header=None)
            parts.append(Part(side, 0, path, (described.key, *described.fields), format_))
    return parts


def _with_types(mapping: LogMapping, types: Mapping[str, str]) -> LogMapping:
    typed = lambda fields: tuple(dataclasses.replace(f, type=types.get(f.name)) for f in fields)
    return dataclasses.replace(
        mapping,
        events=typed(mapping.events),
        items=dataclasses.replace(mapping.items, fields=typed(mapping.items.fields)),
        users=dataclasses.replace(mapping.users, fields=typed(mapping.users.fields)),
    )


def _settings(
    mapping: LogMapping, parts: Sequence[Part], types: Mapping[str, str], base: Log | None, seed: int
) -> dict[str, Any]:
    """What the manifest says of how the log is made; the fingerprint is over all of it."""
    settings: dict[str, Any] = {
        'version': VERSION,
        'seed': seed,
        'provenance': 'real',
        'columns': {name: dataclasses.asdict(spec) for name, spec in sorted(mapping.specs.items())},
        'sources': [describe_source(part.path) for part in parts],
        'dropped': {},
        'notes': {},
        'ingest': {'mapping': mapping.given, 'types': dict(types)},
    }
    if base is not None:
        check_extends(mapping, settings['columns'], base)
        held = base.manifest
        settings |= {
            'seed': held['seed'],
            'provenance': held['provenance'],
            'sources': held['sources'] + settings['sources'],
            'dropped': dict(held['dropped']),
            'notes': dict(held['notes']),
            'extends': {
                'fingerprint': held['fingerprint'],
                'events': len(base),
                'rows': {name: described['rows'] for name, described in held['vocabularies'].items()},
            },
        }
    content = json.dumps(settings, sort_keys=True)
    settings['fingerprint'] = hashlib.sha256(content.encode()).hexdigest()
    return settings


@contextmanager
def _hold_work(folder: Path, job: str) -> Iterator[Path]:
    """The folder of the chunks, for this process alone; what another job left there is removed."""
    work = folder.parent / f'.{folder.name}.ingest'
    work.mkdir(parents=True, exist_ok=True)
    with (work / 'lock').open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f'another process is ingesting into {folder}: wait until it ends, or give another --output'
            ) from None
        mark = work / 'job'
        left = [path for path in work.iterdir() if path.name not in ('lock', 'job')]
        if mark.is_file() and mark.read_text() == job:
            log.info('going on with an unfinished ingest, %s', work)
        elif left:
            log.info('removing an unfinished ingest of other files or settings from %s', work)
            for path in left:
                path.unlink()
        mark.write_text(job)
        yield work


def _sum(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in {**first, **second}}


@dataclasses.dataclass
class _Writer:
    """The second pass: from chunks to the tables of a log."""

    mapping: LogMapping
    taken: Taken
    work: Path
    base: Log | None
    settings: Mapping[str, Any]

    def write(self, folder: Path) -> tuple[dict[str, Any], dict[str, int]]:
        """Writes all tables; returns what the manifest says of them and the rows left out."""
        log.info('merging vocabularies')
        merged = self._merge()
        sides = {side: self._latest(side, merged) for side, (_, s) in self.mapping.sides.items() if s.fields}
        columns = {f.name: (f, merged[f.name]) for f in self.mapping.events if f.coded}
        for side, latest in sides.items():
            fields = [field for field in self.mapping.sides[side][1].fields if field.coded]
            weighed = weigh(latest, {field.name: merged[field.name] for field in fields})
            columns |= {field.name: (field, weighed[field.name]) for field in fields}
        vocabularies, coded = make_vocabularies(columns, self._bases(), self.settings['seed'])
        for name, vocabulary in vocabularies.items():
            vocabulary.save(folder, name)
        log.info('writing events')
        plan = EventPlan(self.mapping.events, merged, coded, self.base)
        chunks = [chunk for chunk in self.taken.chunks if chunk.side == 'events']
        schema = {f.name: self._column(f.name, coded) for f in self.mapping.events if f.spec is not None}
        if not self.mapping.has_users:
            counts = {'events': write_in_order(folder, chunks, plan)}
        else:
            counts = {'events': write_by_user(folder, chunks, plan, self.work)}
            self._write_sides(folder, sides, merged, coded, schema, counts)
        strangers = {f'{s} that occur in no event': found.strangers for s, found in sides.items()}
        return {
            'schema': {name: dataclasses.asdict(column) for name, column in schema.items()},
            'vocabularies': {name: v.describe() for name, v in vocabularies.items()},
            'counts': counts,
            'notes': _sum(self.settings['notes'], self._notes(sides)),
        }, _sum(self.settings['dropped'], {why: rows for why, rows in strangers.items() if rows})

    def _merge(self) -> dict[str, Merged]:
        merged: dict[str, Merged] = {}
        by_side = {'events': self.mapping.in_events}
        by_side |= {side: s.fields for side, (_, s) in self.mapping.sides.items() if s.file is not None}
        for side, fields in by_side.items():
            chunks = [chunk for chunk in self.taken.chunks if chunk.side == side]
            if not chunks:
                (source,) = [s.file for name, (_, s) in self.mapping.sides.items() if name == side]
                raise ValueError(f'{source} has no usable row: check the file and the mapping, or leave it out')
            merged |= {f.name: merge_column(chunks, f.name, self.work) for f in fields if f.coded}
        if isinstance(self.base, BehaviourLog):  # attributes of old users and items may be given anew
            for key in ('user', 'item'):
                vocabulary = self.base.vocabulary(str(self.base.schema[key].vocabulary))
                if vocabulary.buckets is None:
                    values = vocabulary.decode(present_ids(self.base, key))
                    merged[key] = add_values(merged[key], values)
        return merged

    def _bases(self) -> dict[str, Vocabulary]:
        if self.base is None:
            return {}
        return {name: self.base.vocabulary(name) for name in self.base.manifest['vocabularies']}

    def _latest(self, side: str, merged: Mapping[str, Merged]) -> Latest:
        key, described = self.mapping.sides[side]
        rows_of = side if described.file is not None else 'events'
        chunks = [chunk for chunk in self.taken.chunks if chunk.side == rows_of]
        return latest_attributes(chunks, described.fields, key, merged[key], merged)

    def _column(self, name: str, coded: Mapping[str, Coded]) -> Column:
        column = coded[name].column if name in coded else Column('numeric', None, 0, 1)
        if self.base is not None:
            column = dataclasses.replace(column, width=max(column.width, self.base.schema[name].width))
        return column

    def _write_sides(
        self,
        folder: Path,
        sides: Mapping[str, Latest],
        merged: Mapping[str, Merged],
        coded: Mapping[str, Coded],
        schema: dict[str, Column],
        counts: dict[str, int],
    ) -> None:
        """Writes `items/` and `users/`, and adds to schema and counts."""
        for side, (key, described) in self.mapping.sides.items():
            ids, rows = coded[key].ids, coded[key].column.rows
            assert isinstance(ids, np.ndarray)
            occurs = np.zeros(rows, bool)
            occurs[ids[merged[key].counts > 0]] = True
            if self.base is not None:
                occurs[present_ids(self.base, key)] = True
            counts[side] = int(occurs[FIRST:].sum())
            table = SideTable({}, {}, 0)
            if side in sides:
                latest = sides[side]
                table = side_table(latest, described.fields, ids, coded, rows)
                if isinstance(self.base, BehaviourLog):
                    table = inherit(table, self.base, side, ids, latest.present)
                counts[f'{side}_without_attributes'] = table.without
            schema |= table.schema
            write_columns(folder / side, table.columns)

    def _notes(self, sides: Mapping[str, Latest]) -> dict[str, int]:
        notes = {}
        for side, latest in sides.items():
            for name, number in latest.changed.items():
                notes[f'{side} whose {name} changes, the last one counts'] = number
            if self.mapping.sides[side][1].file is not None:
                notes[f'{side} listed again, the last row counts'] = latest.repeated
        return {text: number for text, number in notes.items() if number}
