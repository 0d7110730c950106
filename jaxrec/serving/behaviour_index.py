"""The User Behaviour Tree, user -> category -> behaviours, as a memory-mapped index that ingests new events.

The tree is that of SIM (https://arxiv.org/abs/2006.05639, section 3). An index folder holds `manifest.json`, a base
(see `index_build`) and a journal of later events; lookups merge both. The manifest names the base and journal that
belong together, so a compaction is complete when it is replaced.

    index = build_index('index', log, label, columns=('item', 'category'))
    index.append(users, {'item': items, 'time': times})
    newest = index.view(user).matching(category, 200)

Letters: n events, P behaviours, U user rows of the log.
"""

import functools
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.features.labels import make_label
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.options import plain
from jaxrec.serving.index_build import (
    FOLDERS,
    LOCK,
    MANIFEST,
    Base,
    Block,
    base_folder,
    categories_of,
    check_columns,
    event_dtypes,
    hold,
    log_blocks,
    read_manifest,
    user_blocks,
    write_base,
    write_manifest,
)
from jaxrec.serving.journal import Journal, partial_name
from jaxrec.serving.new_events import NewEvents
from jaxrec.serving.user_view import UserView

VIEW_BYTES = 1 << 30  # 1,200 views of 54,000 behaviours of two columns


def build_index(
    folder: str | Path,
    log: BehaviourLog,
    label: Mapping[str, Any],
    columns: Sequence[str],
    category: str = 'category',
    view_bytes: int = VIEW_BYTES,
) -> 'BehaviourIndex':
    """Builds an index of a log's behaviours, by blocks of users.

    Args:
      folder: where it will lie; absent, empty, or with what a build left that did not end.
      label: description of the label rule: positive events are behaviours.

    Returns:
      The index, open for writing.

    Raises:
      ValueError: a folder that holds anything else, one that another process builds in, or a column that
        cannot be indexed.
    """
    folder = Path(folder)
    stored = check_columns(log, columns, category)
    _check_unbuilt(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kinds = event_dtypes(log, stored)
    with hold(folder):
        _check_unbuilt(folder)  # another process may have ended its build before it let go
        shutil.rmtree(folder / base_folder(1), ignore_errors=True)
        counts = write_base(
            folder / base_folder(1),
            kinds,
            log_blocks(log, make_label(label).positive(log), kinds),
            functools.partial(categories_of, log, category),
        )
        manifest = {
            'log': log.manifest['fingerprint'],
            'label': plain(label),
            'category': category,
            'columns': list(stored),
            'generation': 1,
            'counts': counts,
        }
        write_manifest(folder, manifest)
    return BehaviourIndex(folder, log, writable=True, view_bytes=view_bytes)


def _check_unbuilt(folder: Path) -> None:
    """Refuses a folder that holds more than a build leaves that was cut short: a base, and no manifest."""
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    base = folder / base_folder(1)
    parts = {path.name for path in base.iterdir()} if base.is_dir() else set()
    if found - {LOCK, base.name, partial_name(MANIFEST)} or parts - set(FOLDERS):
        raise ValueError(f'{folder} is not empty: give another folder, or open the index that it holds')


class BehaviourIndex:
    """An open index. Threads may look up and append at the same time.

    Attributes:
      folder, log, manifest: where it lies, what it was built from, the content of `manifest.json`.
      columns: names of the stored columns, without `time`.
      dtypes: {column: dtype} of these, and `time` if the log has it.
      latest: time of the latest behaviour of any user; 0 without one.
      category: the column that the tree branches by.
      torn: bytes of an unfinished append that a crash had left and that were cut.
    """

    def __init__(
        self,
        folder: str | Path,
        log: BehaviourLog,
        writable: bool = False,
        sync: bool = True,
        view_bytes: int = VIEW_BYTES,
    ):
        """Opens an index.

        Args:
          folder: written by `build_index`.
          log: the log that it was built from.
          writable: ingest new events; one process at a time may.
          sync: flush new events to the disk before they are acknowledged.
          view_bytes: of merged views of users with new events that are kept in memory.

        Raises:
          ValueError: no index, a damaged one, that of another log, or one that another process writes to.
        """
        self.folder, self.log, self._sync, self._view_bytes = Path(folder), log, sync, view_bytes
        self._writing = threading.Lock()  # whoever appends or compacts holds it; lookups never wait for it
        self.manifest = read_manifest(self.folder)
        if self.manifest['log'] != log.manifest['fingerprint']:
            raise ValueError(
                f'{self.folder} is the index of another log (fingerprint {self.manifest["log"][:12]}, '
                f'{log.folder} has {log.manifest["fingerprint"][:12]}): build an index of this one'
            )
        self._held = hold(self.folder) if writable else None
        self.columns, self.category = tuple(self.manifest['columns']), self.manifest['category']
        self.dtypes = event_dtypes(log, self.columns)
        self._dtype = np.dtype([('user', '<i4'), *((name, kind) for name, kind in self.dtypes.items())])
        self._open(writable)
        if writable:
            self._clear_leftovers()

    def _open(self, writable: bool) -> None:
        generation, counts = self.manifest['generation'], self.manifest['counts']
        base = Base(self.folder / base_folder(generation), self.dtypes, counts)
        about = f'{self.manifest["log"]} {generation}'
        path = self.folder / f'journal-{generation:06d}'
        self._journal = Journal(path, self._dtype, about, writable, self._sync)
        self.torn, self.latest = self._journal.torn, counts['latest']
        categories = functools.partial(categories_of, self.log, self.category)
        new = NewEvents(base, self._dtype, categories, self._view_bytes)
        self._take_in(new, self._journal.events)
        self._new = new  # in one piece: a lookup sees the old base with its events, or this one with its own

    def __len__(self) -> int:
        """The number of behaviours, new ones included."""
        new = self._new
        return len(new.base) + new.count

    @property
    def added(self) -> int:
        """How many behaviours the journal holds."""
        return self._new.count

    def view(self, user: int) -> UserView:
        """A user's behaviours as of now, new events included; an empty view for an id beyond the log."""
        return self._new.view(user)

    def append(self, users: np.ndarray, columns: Mapping[str, np.ndarray]) -> int:
        """Ingests behaviours; when it returns they are in the journal and in every later view.

        Args:
          users: integer [n].
          columns: {name: [n]} of the stored columns, and `time` if the log has it.

        Returns:
          How many behaviours the index holds.

        Raises:
          ValueError: missing or unequal columns, an id out of range, or an index that is open for reading only.
        """
        events = self._checked(users, columns)
        with self._writing:
            self._journal.append(events)
            self._take_in(self._new, events)
            return len(self)

    def _checked(self, users: np.ndarray, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        if columns.keys() != self.dtypes.keys():
            raise ValueError(
                f'new events of {self.folder} came with {", ".join(columns) or "no columns"}: give '
                f'{", ".join(self.dtypes)}'
            )
        given = {'user': np.asarray(users), **{name: np.asarray(columns[name]) for name in self.dtypes}}
        if len({array.shape for array in given.values()}) > 1 or given['user'].ndim != 1:
            raise ValueError(
                f'new events of {self.folder} have unequal shapes '
                f'{ {name: array.shape for name, array in given.items()} }: give one value an event'
            )
        for name, array in given.items():
            if name == 'time' or self.log.schema[name].kind == 'numeric':
                if array.dtype.kind not in 'biuf' or not np.isfinite(array).all():
                    raise ValueError(f'new events of {self.folder} have a {name} that is no finite number')
                if self.dtypes[name].kind == 'i' and (array != np.floor(array)).any():
                    raise ValueError(f'new events of {self.folder} have a {name} between whole numbers: round it')
                continue
            rows = self.log.schema[name].rows
            if array.dtype.kind not in 'iu' or (array.size and not (0 < array.min() and array.max() < rows)):
                raise ValueError(
                    f'new events of {self.folder} have {name} ids outside [1, {rows}): encode them with the '
                    "log's vocabulary"
                )
        events = np.zeros(len(given['user']), self._dtype)
        for name, array in given.items():
            events[name] = array
        return events

    def _take_in(self, new: NewEvents, events: np.ndarray) -> None:
        new.add(events)
        if 'time' in self.dtypes and len(events):
            self.latest = max(self.latest, events['time'].max().item())

    def compact(self) -> int:
        """Folds the journal into a new base and returns how many behaviours it held; lookups go on meanwhile.

        Raises:
          ValueError: the index is open for reading only.
        """
        if self._held is None:
            raise ValueError(f'{self.folder} is open for reading only: open it with writable=True')
        with self._writing:
            folded, generation = self.added, self.manifest['generation'] + 1
            shutil.rmtree(self.folder / base_folder(generation), ignore_errors=True)
            grow = functools.partial(categories_of, self.log, self.category)
            counts = write_base(self.folder / base_folder(generation), self.dtypes, self._merged_blocks(), grow)
            manifest = self.manifest | {'generation': generation, 'counts': counts}
            write_manifest(self.folder, manifest)
            self._journal.close()
            self.manifest = manifest
            self._open(True)
            self._clear_leftovers()
        return folded

    def _merged_blocks(self) -> Iterator[Block]:
        base, added = self._new.base, self._new.by_user()
        for first, last in user_blocks(base.rows):
            counts = np.diff(base.rows[first : last + 1])
            rows = slice(int(base.rows[first]), int(base.rows[last]))
            new = added[slice(*np.searchsorted(added['user'], (first, last)))]
            users = np.append(np.repeat(np.arange(first, last), counts), new['user'])
            columns = {name: np.concatenate([column[rows], new[name]]) for name, column in base.columns.items()}
            if len(new):  # stable: behind what has the same time
                keys = (columns['time'], users) if 'time' in columns else (users,)
                order = np.lexsort(keys)
                columns = {name: column[order] for name, column in columns.items()}
                counts = counts + np.bincount(new['user'] - first, minlength=last - first)
            yield counts, columns

    def _clear_leftovers(self) -> None:
        """Removes what an older generation, or a compaction that was cut short, has left."""
        keep = {base_folder(self.manifest['generation']), self._journal.path.name}
        for path in self.folder.iterdir():
            if path.name.startswith('base-') and path.name not in keep:
                shutil.rmtree(path)
            elif path.name.startswith('journal-') and path.name not in keep:
                path.unlink()

    def close(self) -> None:
        """Flushes the journal and lets other processes write."""
        with self._writing:
            self._journal.close()
            if self._held is not None:
                self._held.close()
                self._held = None

    def __enter__(self) -> 'BehaviourIndex':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
