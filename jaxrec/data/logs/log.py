"""Compiled logs of any kind: a folder of memory-mapped columns of ids, written once.

A log folder holds `manifest.json`, `vocab/`, and folders of columns, `events/` among them. The kinds of log say which
others there are and what an event is: `behaviour_log`, `click_log`, ...
"""

import dataclasses
import functools
import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypedDict, Unpack

import numpy as np

from jaxrec.data.logs.columns import ColumnStore, Ragged
from jaxrec.data.logs.raw_columns import RawLog, describe_source
from jaxrec.data.logs.schema import Column, ColumnSpec
from jaxrec.data.logs.vocabulary import OUT_OF_VOCABULARY, Vocabulary
from jaxrec.files import needs_room

VERSION = 1
REMEDY = 'delete the folder and compile the log again'


class Origin(TypedDict, total=False):
    """Where a log comes from: keywords of every compiler, all kept in the manifest."""

    sources: Iterable[str | Path]  # files that the columns were read from
    dropped: Mapping[str, int] | None  # {reason: rows} that the reader skipped
    notes: Mapping[str, int] | None  # {irregularity: rows} that the reader met and kept
    request: Mapping[str, Any] | None  # the reader and its arguments, of JSON types; finds the log in `Log.of_request`
    seed: int  # of the hash that assigns ids
    provenance: str  # 'real' or 'simulated'


class Log:
    """A compiled log of any kind.

    Attributes:
      folder: of the log.
      manifest: the content of `manifest.json`.
      events: ColumnStore of N rows.
      schema: {column name: Column} of the feature columns of all stores.
    """

    KIND: ClassVar[str]  # what messages call it
    FORMAT: ClassVar[str]  # what the manifest calls it
    COMPILER: ClassVar[str]  # the function that writes it
    STORES: ClassVar[tuple[str, ...]] = ('events',)

    def __init__(self, folder: str | Path, check_ids: bool = True):
        """Opens a folder that the compiler of this kind of log wrote.

        `check_ids` verifies that every stored id is in its vocabulary, which reads the id columns once.

        Raises:
          ValueError: a missing manifest, another format or version, a damaged column or an id out of range.
        """
        self.folder = Path(folder)
        self.manifest = type(self).read_manifest(self.folder)
        self.stores = {name: ColumnStore(self.folder / name) for name in self.STORES}
        self.events = self.stores['events']
        self.schema = {name: Column(**column) for name, column in self.manifest['schema'].items()}
        if len(self.events) != self.manifest['counts']['events']:
            raise ValueError(
                f'{self.events.folder} has {len(self.events)} rows but the manifest counts '
                f'{self.manifest["counts"]["events"]} events: {REMEDY}'
            )
        if check_ids:
            self._check_ids()

    def _check_ids(self) -> None:
        for name, column in self.schema.items():
            if column.kind == 'numeric':
                continue
            ids = self.side(name)[name]
            ids = ids.values if isinstance(ids, Ragged) else ids
            if ids.size and not (0 <= ids.min() and ids.max() < column.rows):
                raise ValueError(
                    f'{self.side(name).folder / name} holds ids {ids.min()}..{ids.max()} but vocabulary '
                    f'{column.vocabulary!r} has rows 0..{column.rows - 1}: {REMEDY}'
                )

    def side(self, name: str) -> ColumnStore:
        """The store that holds a column; a ValueError when none does."""
        for store in self.stores.values():
            if name in store:
                return store
        known = ', '.join(column for store in self.stores.values() for column in store.names)
        raise ValueError(f'{self.folder} has no column {name!r}; it has {known}')

    def task_schema(self) -> dict[str, Any]:
        """{column name: Column}, or what this kind of log has for it: what a task may know of the log."""
        return dict(self.schema)

    @property
    def has_time(self) -> bool:
        """Whether events carry a time; otherwise their order is all there is."""
        return 'time' in self.events

    @functools.cache  # noqa: B019 - a handful of vocabularies, as long-lived as the log itself
    def vocabulary(self, name: str) -> Vocabulary:
        """Loads a vocabulary by its name (a column's name unless columns share one)."""
        if name not in self.manifest['vocabularies']:
            known = ', '.join(self.manifest['vocabularies'])
            raise ValueError(f'{self.folder} has no vocabulary {name!r}; it has {known}')
        return Vocabulary.load(self.folder, name)

    def is_one_of(self, column: str, values: Sequence[Any]) -> np.ndarray:
        """Marks the events, bool [N], whose raw value in an event column is one of `values`.

        A categorical column is compared by its raw values, any other by its numbers.

        Raises:
          ValueError: an absent, multi-valued or hashed column, or a value that it never takes.
        """
        if column not in self.events:
            raise ValueError(
                f'{self.folder} has no event column {column!r}, it has {", ".join(self.events.names)}: name '
                'one of these'
            )
        described, wanted = self.schema.get(column), np.asarray(values)
        vocabularies = self.manifest['vocabularies']
        hashed = described and described.vocabulary and vocabularies[described.vocabulary]['buckets']
        if hashed or isinstance(self.events[column], Ragged):
            raise ValueError(
                f'column {column!r} of {self.folder} is multi-valued or hashed, so that a value does not '
                'tell rows apart: name a column of one value'
            )
        if described is None or described.kind == 'numeric':
            if wanted.dtype.kind not in 'biuf':
                raise ValueError(f'{self.folder} has numbers in {column!r}: name numbers instead of {values}')
        else:
            raw, wanted = wanted, self.vocabulary(str(described.vocabulary)).encode(wanted)
            if (wanted == OUT_OF_VOCABULARY).any():
                missing = raw[wanted == OUT_OF_VOCABULARY][0].item()
                raise ValueError(f'{self.folder} has no {column} {missing!r}: check its spelling')
        return np.isin(self.events[column], wanted)

    def __len__(self) -> int:
        return len(self.events)

    def __reduce__(self):
        return type(self), (str(self.folder), False)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({str(self.folder)!r})'

    @classmethod
    def read_manifest(cls, folder: str | Path) -> dict[str, Any]:
        """Reads the manifest of a folder; a ValueError when it is missing, damaged, or of another format or version."""
        path = Path(folder) / 'manifest.json'
        try:
            manifest: Mapping[str, Any] = json.loads(path.read_text())
            found = manifest['format'], manifest['version']
        except FileNotFoundError:
            raise ValueError(f'{path} is missing, {folder} is no {cls.KIND}: use `{cls.COMPILER}`') from None
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ValueError(f'{path} is damaged ({error!r}): {REMEDY}') from None
        if found != (cls.FORMAT, VERSION):
            raise ValueError(
                f'{path} is {found[0]} version {found[1]}, this library reads {cls.FORMAT} '
                f'version {VERSION} there: {REMEDY}'
            )
        missing = {'schema', 'counts', 'vocabularies', 'fingerprint'} - manifest.keys()
        if missing:
            raise ValueError(f'{path} lacks {", ".join(sorted(missing))}: {REMEDY}')
        return dict(manifest)

    @classmethod
    def of_request(cls, folder: str | Path, sources: Iterable[str | Path], request: Mapping[str, Any]) -> Self | None:
        """Opens the log that a reader compiled from the same files for the same request; they are not read again.

        Args:
          folder: of the log.
          sources: the files it is read from.
          request: the reader and its arguments, of JSON types.

        Returns:
          The log; None where the folder holds none, or another, which the compiler will refuse to overwrite.
        """
        if not (Path(folder) / 'manifest.json').is_file():
            return None
        manifest = cls.read_manifest(folder)
        if manifest.get('request') != request or manifest.get('sources') != [describe_source(path) for path in sources]:
            return None
        return cls(folder)

    @classmethod
    def write(
        cls,
        folder: str | Path,
        raw: RawLog,
        tables: Callable[[Path, RawLog, int], tuple[dict[str, Any], dict[str, int]]],
        **origin: Unpack[Origin],
    ) -> Self:
        """Writes checked raw columns to a log folder, which appears complete or not at all.

        Args:
          folder: of the log. If it already holds the log of the same content and settings, that one is returned.
          raw: checked raw tables.
          tables: (folder, raw, seed) -> the manifest's entries on what it wrote, and {reason: skipped rows}.
          **origin: see `Origin`.

        Raises:
          ValueError: a folder that holds anything else.
        """
        folder, settings = Path(folder), describe_settings(raw.specs, raw.digest(), **origin)
        if existing := cls.existing(folder, settings['fingerprint']):
            return existing
        return cls.publish(folder, settings, lambda partial: tables(partial, raw, settings['seed']))

    @classmethod
    def publish(
        cls, folder: Path, settings: dict[str, Any], tables: Callable[[Path], tuple[dict[str, Any], dict[str, int]]]
    ) -> Self:
        """Writes a log to a temporary folder beside `folder` and moves it there.

        Args:
          folder: of the log.
          settings: the manifest's entries on the log's origin, `fingerprint` and `dropped` among them.
          tables: writes the columns into a folder; returns the manifest's entries on them, and {reason: skipped rows}.

        Raises:
          ValueError: a folder that holds anything else, or a full disk.
        """
        partial = folder.parent / f'.{folder.name}.{uuid.uuid4().hex[:8]}.partial'
        try:
            with needs_room(folder):
                described, left_out = tables(partial)
                manifest = {'format': cls.FORMAT} | settings | described
                manifest['dropped'] = settings['dropped'] | left_out
                (partial / 'manifest.json').write_text(json.dumps(manifest, indent=1))
            try:
                partial.rename(folder)
            except OSError:  # another process may have compiled the same log meanwhile; all else is an error
                if not cls.existing(folder, settings['fingerprint']):
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return cls(folder)

    @classmethod
    def existing(cls, folder: Path, fingerprint: str) -> Self | None:
        """Opens the log of that fingerprint; None where its place is free, ValueError for a folder of anything else."""
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return None
        if not (folder / 'manifest.json').is_file():
            raise ValueError(f'{folder} exists and is no {cls.KIND}, it will not be overwritten: give another folder')
        if cls.read_manifest(folder)['fingerprint'] != fingerprint:
            raise ValueError(
                f'{folder} holds a log of other content or settings, it will not be overwritten: '
                'delete it or give another folder'
            )
        return cls(folder)


def describe_settings(
    specs: Mapping[str, ColumnSpec],
    digest: str,
    more: Mapping[str, Any] | None = None,
    *,
    sources: Iterable[str | Path] = (),
    dropped: Mapping[str, int] | None = None,
    notes: Mapping[str, int] | None = None,
    request: Mapping[str, Any] | None = None,
    seed: int = 0,
    provenance: str = 'real',
) -> dict[str, Any]:
    """Returns the manifest's entries on a log's origin, with the `fingerprint` of these and the content.

    Args:
      specs: how columns become features.
      digest: of the raw content.
      more: settings of one kind of log, of JSON types.
      sources, dropped, notes, request, seed, provenance: see `Origin`; another provenance is a ValueError.
    """
    if provenance not in ('real', 'simulated'):
        raise ValueError(f"provenance is {provenance!r}: say 'real' or 'simulated'")
    settings: dict[str, Any] = {
        'version': VERSION,
        'seed': seed,
        'provenance': provenance,
        'columns': {name: dataclasses.asdict(spec) for name, spec in sorted(specs.items())},
        'sources': [describe_source(source) for source in sources],
        'dropped': dict(dropped or {}),
        'notes': dict(notes or {}),
        **({} if request is None else {'request': dict(request)}),
        **(more or {}),
    }
    content = json.dumps([settings, digest], sort_keys=True)
    return settings | {'fingerprint': hashlib.sha256(content.encode()).hexdigest()}
