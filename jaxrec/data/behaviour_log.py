"""Behaviour logs: who met what and when, compiled once to memory-mapped columns of ids.

A log folder holds `manifest.json`, `events/` (sorted by user, then time, stable), `items/` and `users/` (row
= id), and `vocab/`. The columns named `user`, `item` and `time` are always called so, whatever they were
called in the source. A log without times keeps, within each user, the order in which its events were given.

Letters: N events, V rows of a vocabulary.
"""

import dataclasses
import functools
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.columns import ColumnStore
from jaxrec.data.encoding import write_tables
from jaxrec.data.raw_columns import RawLog, RawTable, check_raw, describe_source
from jaxrec.data.schema import Column, ColumnSpec
from jaxrec.data.vocabulary import Vocabulary

__all__ = ['BehaviourLog', 'Column', 'ColumnSpec', 'compile_log', 'read_manifest']

FORMAT, VERSION = 'jaxrec.behaviour_log', 1
_REMEDY = 'delete the folder and compile the log again'


class BehaviourLog:
    """A compiled log.

    Attributes:
      folder: where it lies.
      manifest: the content of `manifest.json`.
      events: ColumnStore of N rows: `user` and `item` int32, `time` if the log has it, the other event
        columns.
      items: ColumnStore of item attributes, row = item id; rows 0 (padding) and 1 (out-of-vocabulary)
        included.
      users: the same for users.
      schema: {column name: Column} of the feature columns of all three.
    """

    def __init__(self, folder: str | Path, check_ids: bool = True):
        """Opens a log folder.

        Args:
          folder: written by `compile_log`.
          check_ids: verify that every stored id lies in its vocabulary (reads the id columns once).

        Raises:
          ValueError: for a missing manifest, another format or version, a damaged column or an id out of
            range.
        """
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.events, self.items, self.users = (
            ColumnStore(self.folder / s) for s in ('events', 'items', 'users')
        )
        self.schema = {name: Column(**column) for name, column in self.manifest['schema'].items()}
        if len(self.events) != self.manifest['counts']['events']:
            raise ValueError(
                f'{self.events.folder} has {len(self.events)} rows but the manifest counts '
                f'{self.manifest["counts"]["events"]} events: {_REMEDY}'
            )
        if check_ids:
            self._check_ids()

    def _check_ids(self) -> None:
        for name, column in self.schema.items():
            if column.kind == 'numeric':
                continue
            ids = self.side(name)[name]
            ids = ids.values if column.kind == 'multi' else ids
            if ids.size and not (0 <= ids.min() and ids.max() < column.rows):
                raise ValueError(
                    f'{self.side(name).folder / name} holds ids {ids.min()}..{ids.max()} but vocabulary '
                    f'{column.vocabulary!r} has rows 0..{column.rows - 1}: {_REMEDY}'
                )

    def side(self, name: str) -> ColumnStore:
        """The store (events, items or users) that holds a column.

        Raises:
          ValueError: when none does.
        """
        for store in (self.events, self.items, self.users):
            if name in store:
                return store
        known = ', '.join([*self.events.names, *self.items.names, *self.users.names])
        raise ValueError(f'{self.folder} has no column {name!r}; it has {known}')

    @functools.cached_property
    def user_offsets(self) -> np.ndarray:
        """int64 [user rows + 1]: the events of user u are rows `user_offsets[u]:user_offsets[u + 1]`."""
        path = self.folder / 'events' / 'user.offsets.npy'
        try:
            offsets = np.load(path)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f'{path} cannot be read ({error}): {_REMEDY}') from None
        if offsets.shape != (self.schema['user'].rows + 1,) or offsets[-1] != len(self):
            raise ValueError(
                f'{path} does not fit {self.schema["user"].rows} users and {len(self)} events: {_REMEDY}'
            )
        return offsets

    @property
    def has_time(self) -> bool:
        """Whether events carry a time; otherwise their order within a user is all there is."""
        return 'time' in self.events

    @functools.cache  # noqa: B019 - a handful of vocabularies, as long-lived as the log itself
    def vocabulary(self, name: str) -> Vocabulary:
        """Loads a vocabulary by its name (a column's name unless columns share one)."""
        if name not in self.manifest['vocabularies']:
            known = ', '.join(self.manifest['vocabularies'])
            raise ValueError(f'{self.folder} has no vocabulary {name!r}; it has {known}')
        return Vocabulary.load(self.folder, name)

    def __len__(self) -> int:
        return len(self.events)

    def __reduce__(self):
        return BehaviourLog, (str(self.folder), False)

    def __repr__(self) -> str:
        return f'BehaviourLog({str(self.folder)!r})'


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Reads and checks the manifest of a log folder.

    Raises:
      ValueError: when it is missing, damaged, or of another format or version.
    """
    path = Path(folder) / 'manifest.json'
    try:
        manifest: Mapping[str, Any] = json.loads(path.read_text())
        found = manifest['format'], manifest['version']
    except FileNotFoundError:
        raise ValueError(f'{path} is missing, {folder} is no behaviour log: use `compile_log`') from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is damaged ({error!r}): {_REMEDY}') from None
    if found != (FORMAT, VERSION):
        raise ValueError(
            f'{path} is {found[0]} version {found[1]}, this library reads {FORMAT} '
            f'version {VERSION}: {_REMEDY}'
        )
    missing = {'schema', 'counts', 'vocabularies', 'fingerprint'} - manifest.keys()
    if missing:
        raise ValueError(f'{path} lacks {", ".join(sorted(missing))}: {_REMEDY}')
    return dict(manifest)


def compile_log(
    folder: str | Path,
    events: RawTable,
    items: RawTable | None = None,
    users: RawTable | None = None,
    *,
    columns: Mapping[str, ColumnSpec] | None = None,
    sources: Iterable[str | Path] = (),
    dropped: Mapping[str, int] | None = None,
    notes: Mapping[str, int] | None = None,
    seed: int = 0,
    user: str = 'user',
    item: str = 'item',
    time: str = 'time',
    provenance: str = 'real',
) -> BehaviourLog:
    """Compiles raw columns to a log folder, which appears complete or not at all.

    Args:
      folder: where the log will lie. If it already holds the log of the same content and settings, that one
        is returned.
      events: raw columns [N], among them `user` and `item` and, if the log has times, `time`. Those not in
        `columns` are stored as they are and must be numeric (rating, click, true click probability, ...).
      items: raw attributes by item, among them the key column `item`. Items that occur in no event are left
        out.
      users: raw attributes by user, among them the key column `user`. Users without events are left out.
      columns: how columns become features; `user` and `item` are categorical features in any case.
      sources: files the columns were read from, for the manifest.
      dropped: {reason: rows} that the reader left out, for the manifest.
      notes: {irregularity: rows} that the reader met and kept, for the manifest.
      seed: of the hash that assigns ids.
      user, item, time: what these columns are called in `events`, `items` and `users`.
      provenance: 'real' or 'simulated'.

    Returns:
      The opened log.

    Raises:
      ValueError: for raw columns that cannot be compiled, and for a folder that holds anything else.
    """
    folder = Path(folder)
    if provenance not in ('real', 'simulated'):
        raise ValueError(f"provenance is {provenance!r}: say 'real' or 'simulated'")
    raw = check_raw(events, items, users, columns or {}, (user, item, time))
    settings: dict[str, Any] = {
        'version': VERSION,
        'seed': seed,
        'provenance': provenance,
        'columns': {name: dataclasses.asdict(spec) for name, spec in sorted(raw.specs.items())},
        'sources': [describe_source(source) for source in sources],
        'dropped': dict(dropped or {}),
        'notes': dict(notes or {}),
    }
    content = json.dumps([settings, raw.digest()], sort_keys=True)
    settings['fingerprint'] = hashlib.sha256(content.encode()).hexdigest()
    if existing := _existing(folder, settings['fingerprint']):
        return existing
    return _write(folder, raw, settings)


def _write(folder: Path, raw: RawLog, settings: dict[str, Any]) -> BehaviourLog:
    """Writes a log beside `folder` and moves it there."""
    partial = folder.parent / f'.{folder.name}.{uuid.uuid4().hex[:8]}.partial'
    try:
        described, left_out = write_tables(partial, raw, settings['seed'])
        manifest = {'format': FORMAT} | settings | described | {'dropped': settings['dropped'] | left_out}
        (partial / 'manifest.json').write_text(json.dumps(manifest, indent=1))
        try:
            partial.rename(folder)
        except OSError:  # another process may have compiled the same log meanwhile; anything else is an error
            if not _existing(folder, settings['fingerprint']):
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return BehaviourLog(folder)


def _existing(folder: Path, fingerprint: str) -> BehaviourLog | None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not (folder / 'manifest.json').is_file():
        raise ValueError(
            f'{folder} exists and is no behaviour log, it will not be overwritten: give another folder'
        )
    if read_manifest(folder)['fingerprint'] != fingerprint:
        raise ValueError(
            f'{folder} holds a log of other content or settings, it will not be overwritten: '
            'delete it or give another folder'
        )
    return BehaviourLog(folder)
