"""The manifest and the base of a behaviour index: three folders of memory-mapped columns, written by blocks of users.

`behaviours/` has a row a behaviour, by user and time: `item`, the event columns, `time`, and `order`, the tree's
positions within the user. `branches/` has the id of each user's categories and where they start in `order`; `users/`
the offsets.

Letters: N events of the log, P behaviours (positive events), G branches, U user rows of the log.
"""

import fcntl
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.column_writer import ColumnWriter
from jaxrec.data.logs.columns import ColumnStore, offsets_of, write_columns
from jaxrec.serving.journal import sync, write_whole
from jaxrec.serving.user_view import UserView

FORMAT, VERSION = 'jaxrec.behaviour_index', 1
MANIFEST, LOCK = 'manifest.json', '.lock'
KEYS = {'log', 'label', 'category', 'columns', 'generation', 'counts'}
REMEDY = 'delete the folder and build the index again'


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads the manifest of an index; ValueError where it is missing, damaged, or of another format or version."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        found = manifest['format'], manifest['version']
        missing = KEYS - manifest.keys()
    except FileNotFoundError:
        raise ValueError(f'{path} is missing, {folder} is no index: build one with `build_index`') from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is damaged ({error!r}): {REMEDY}') from None
    if found != (FORMAT, VERSION):
        raise ValueError(
            f'{path} is {found[0]} version {found[1]}, this library reads {FORMAT} version {VERSION}: {REMEDY}'
        )
    if missing:
        raise ValueError(f'{path} lacks {", ".join(sorted(missing))}: {REMEDY}')
    return manifest


def write_manifest(folder: Path, described: Mapping[str, Any]) -> None:
    """Writes the manifest, whole or not at all; what it names must be on the disk by then."""
    manifest = {'format': FORMAT, 'version': VERSION, **described}
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1).encode())


def base_folder(generation: int) -> str:
    """The name of the folder that holds a generation's base."""
    return f'base-{generation:06d}'


def hold(folder: Path) -> Any:
    """Keeps other processes from writing until the returned file is closed; ValueError where one does already."""
    file = (folder / LOCK).open('a+')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ValueError(
            f'{folder} is being written to by another process: stop it, or open the index for reading'
        ) from None
    return file


FOLDERS = ('behaviours', 'branches', 'users')

Block = tuple[np.ndarray, dict[str, np.ndarray]]  # behaviours of each of some users, their columns

BLOCK = 1 << 22  # events of the log that are in memory at a time, or those of one user if they are more


def check_columns(log: BehaviourLog, columns: Sequence[str], category: str) -> tuple[str, ...]:
    """The columns that a base must store: item attributes follow from the item, event columns do not.

    Args:
      columns: history features of the model.
      category: what the tree branches by: 'item' or a categorical item attribute.

    Raises:
      ValueError: a column that the log does not have, or one that an index cannot hold.
    """
    known = {n: log.schema[n].kind for n in ('item', *log.items.names, *log.events.names) if n in log.schema}
    known.pop('user', None)
    for name in columns:
        if name not in known:
            raise ValueError(f'{log.folder} has no behaviour column {name!r}; its columns are {", ".join(known)}')
        if known[name] == 'multi' and name not in log.items:
            raise ValueError(
                f'column {name!r} of {log.folder} is multi-valued: new events bring columns of one value, '
                'leave it out of features.history or make it an item attribute'
            )
    usable = ['item', *(name for name in log.items.names if known.get(name) == 'categorical')]
    if category not in usable:
        raise ValueError(
            f'{log.folder} has no categorical item attribute {category!r} to branch by: use any of {", ".join(usable)}'
        )
    return ('item', *dict.fromkeys(n for n in columns if n in log.events and n != 'item'))


def event_dtypes(log: BehaviourLog, columns: Sequence[str]) -> dict[str, np.dtype]:
    """{column: dtype} of the stored columns, with `time` if the log has it."""
    kinds = {name: np.dtype('<f4' if log.schema[name].kind == 'numeric' else '<i4') for name in columns}
    if log.has_time:
        kinds['time'] = np.dtype('<i8' if log.events['time'].dtype.kind in 'iub' else '<f8')
    return kinds


def categories_of(log: BehaviourLog, category: str, items: np.ndarray) -> np.ndarray:
    """int32 [n], what items have in the column that the tree branches by."""
    return np.asarray(items if category == 'item' else log.items[category][items])


def log_blocks(log: BehaviourLog, positive: np.ndarray, kinds: Mapping[str, np.dtype]) -> Iterator[Block]:
    """Cuts the positive events (bool [N]) of a log into blocks of whole users, of the columns and dtypes in `kinds`.

    Yields:
      int64 [u], the behaviours of each of the next users, and {column: [their sum]}.
    """
    for first_user, last_user in user_blocks(log.user_offsets):
        offsets = log.user_offsets[first_user : last_user + 1]
        rows = offsets[0] + np.flatnonzero(positive[offsets[0] : offsets[-1]])
        columns = {name: log.events[name][rows].astype(kind) for name, kind in kinds.items()}
        yield np.diff(np.searchsorted(rows, offsets)), columns


def user_blocks(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields (first user, first behind) of runs of `BLOCK` rows of offsets, int64 [U + 1], at most, or one user."""
    user, users = 0, len(offsets) - 1
    while user < users:
        last = int(np.searchsorted(offsets, offsets[user] + BLOCK, 'right')) - 1
        last = min(max(last, user + 1), users, user + BLOCK)
        yield user, last
        user = last


class Base:
    """An open base; its files may be deleted while it is in use.

    Attributes:
      columns: {name: [P]} of the stored columns.
      rows: int64 [U + 1], where each user's behaviours begin.
    """

    def __init__(self, folder: Path, names: Iterable[str], counts: Mapping[str, Any]):
        """Maps the files of a folder that `write_base` has written, given what it returned.

        Raises:
          ValueError: a missing or damaged file, or one of another length.
        """
        behaviours, branches, users = (ColumnStore(folder / name) for name in FOLDERS)
        if (counts['behaviours'], counts['branches']) != (len(behaviours), len(branches)):
            raise ValueError(f'{folder} does not hold the {counts} of {folder.parent}/manifest.json: {REMEDY}')
        self.columns = {name: behaviours[name] for name in names}
        self._order, self._category, self._start = (behaviours['order'], branches['category'], branches['start'])
        self.rows, self._forks = users['behaviours'], users['branches']

    def __len__(self) -> int:
        """P, the number of behaviours."""
        return len(self._order)

    def view(self, user: int) -> UserView:
        """A user's behaviours; none for an id beyond the log."""
        if not 0 <= user < len(self.rows) - 1:
            user = 0  # padding: nobody's
        first, end = self.rows[user], self.rows[user + 1]
        fork, last = self._forks[user], self._forks[user + 1]
        columns = {name: column[first:end] for name, column in self.columns.items()}
        starts = np.append(self._start[fork:last] - first, end - first)
        return UserView(columns, self._order[first:end], self._category[fork:last], starts)


def write_base(
    folder: Path, kinds: Mapping[str, np.dtype], blocks: Iterable[Block], categories: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """Writes a base to a new folder, of blocks of all users' behaviours by user and time.

    Returns:
      {'behaviours': P, 'branches': G, 'latest': the latest time or 0}.
    """
    sizes, forks = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    written, latest = 0, 0
    with (
        ColumnWriter(folder / 'behaviours', {**kinds, 'order': np.int32}) as behaviours,
        ColumnWriter(folder / 'branches', {'category': np.int32, 'start': np.int64}) as branches,
    ):
        for counts, columns in blocks:
            order, category, start, fork = grow_trees(counts, categories(columns['item']))
            behaviours.append({**columns, 'order': order})
            branches.append({'category': category, 'start': start + written})
            written += len(order)
            if 'time' in columns and len(order):
                latest = max(latest, columns['time'].max().item())
            sizes.append(counts)
            forks.append(fork)
    offsets = {'behaviours': offsets_of(np.concatenate(sizes)), 'branches': offsets_of(np.concatenate(forks))}
    write_columns(folder / 'users', offsets)
    for file in folder.rglob('*'):
        sync(file)
    return {**{name: int(offset[-1]) for name, offset in offsets.items()}, 'latest': latest}


def grow_trees(counts: np.ndarray, categories: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Builds the trees of a block of users.

    Args:
      counts: int64 [u], behaviours of each user.
      categories: int32 [n], of the behaviours, by user and time.

    Returns:
      order: int32 [n], positions within the user, by user and category, newest first.
      category: int32 [g] and start: int64 [g], of the branches, by user; starts count from the block's first behaviour.
      forks: int64 [u], branches of each user.
    """
    offsets = offsets_of(counts)
    users = np.repeat(np.arange(len(counts)), counts)
    key = users << 32 | categories
    # Reversed, a stable sort puts the newest first within each branch.
    order = len(key) - 1 - np.argsort(key[::-1], kind='stable')
    key = key[order]
    start = np.flatnonzero(np.append(True, key[1:] != key[:-1])) if len(key) else np.zeros(0, np.int64)
    position = (order - offsets[users[order]]).astype(np.int32)
    forks = np.bincount(key[start] >> 32, minlength=len(counts))
    return position, (key[start] & 0xFFFFFFFF).astype(np.int32), start.astype(np.int64), forks
