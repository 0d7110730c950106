"""Folders of memory-mapped columns: one `.npy` file a column, described by `columns.json`.

A column is a plain array of N rows, or ragged: all values end to end, and the offset where each row starts. Opening a
folder reads headers and file sizes only, so a damaged folder is refused at once.

Letters: N rows, W width of a padded row.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrec.files import needs_room

DESCRIPTION = 'columns.json'
_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]*')
_REMEDY = 'delete the folder and compile it again'


def is_name(text: str) -> bool:
    """Whether a text can name a column, and so a file: letters, digits and underscores, no digit first."""
    return _NAME.fullmatch(text) is not None


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """int64 [N + 1]: where rows of these lengths, integer or boolean [N], begin end to end, and last their total."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def begins(*columns: np.ndarray) -> np.ndarray:
    """bool [N]: the first row, and those that differ from the row before in any of the columns [N]."""
    first = np.zeros(len(columns[0]), bool)
    first[:1] = True
    for column in columns:
        first[1:] |= column[1:] != column[:-1]
    return first


def place_in_run(first: np.ndarray) -> np.ndarray:
    """int64 [N]: how many rows stand between a row and the last one before it that is `first`, bool [N]."""
    place = np.arange(len(first))
    return place - np.maximum.accumulate(np.where(first, place, 0))


class Ragged(NamedTuple):
    """Rows of unequal length: row n is `values[offsets[n]:offsets[n + 1]]`."""

    values: np.ndarray  # [total], of all rows end to end
    offsets: np.ndarray  # int64 [N + 1]

    @classmethod
    def from_rows(cls, rows: list, dtype: Any = None) -> 'Ragged':
        """Packs a list of sequences into one ragged column."""
        lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
        values = np.concatenate(
            [np.asarray(row, dtype) for row in rows if len(row)] or [np.zeros(0, dtype or np.int64)]
        )
        return cls(values, offsets_of(lengths))

    @property
    def lengths(self) -> np.ndarray:
        """int64 [N], the number of values in each row."""
        return np.diff(self.offsets)

    def rows(self, index: np.ndarray, width: int) -> np.ndarray:
        """Gathers the rows `index`, integer [M], cut to their first `width` values, padded with zeros: [M, width]."""
        slot, (start, length) = np.arange(width), self._spans(index)
        present = slot < length[:, None]  # [M, W]
        padded = np.zeros(present.shape, self.values.dtype)
        padded[present] = self.values[(start[:, None] + slot)[present]]
        return padded

    def take(self, index: np.ndarray) -> 'Ragged':
        """Selects whole rows in the order of `index`, as a ragged column again."""
        start, length = self._spans(index)
        offsets = offsets_of(length)
        return Ragged(self.values[np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], length)], offsets)

    def _spans(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where rows begin, and their lengths."""
        start = np.asarray(self.offsets)[index]
        return start, np.asarray(self.offsets)[np.asarray(index) + 1] - start


def concatenate(first: np.ndarray | Ragged, second: np.ndarray | Ragged) -> Any:
    """Puts the rows of one column behind those of another of its kind."""
    if isinstance(first, Ragged) and isinstance(second, Ragged):
        offsets = np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]])
        return Ragged(np.concatenate([first.values, second.values]), offsets)
    return np.concatenate([first, second])


def write_columns(
    folder: str | Path, columns: Mapping[str, np.ndarray | Ragged] | Iterable[tuple[str, np.ndarray | Ragged]]
) -> None:
    """Writes columns of one length into a folder, which is created if absent, the description last.

    Args:
      folder: files of the same name in it are replaced.
      columns: {name: array [N, ...] or `Ragged`}, or such pairs one by one: only one column is then in memory at a
        time.

    Raises:
      ValueError: an unsafe name, an object dtype, broken offsets or unequal lengths.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files, kinds, lengths = {}, {}, {}
    for name, column in columns.items() if isinstance(columns, Mapping) else columns:
        lengths[name] = check_column(name, column)
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f'columns of {folder} have unequal lengths {lengths}: a folder holds columns of one length'
            )
        kinds[name] = 'ragged' if isinstance(column, Ragged) else 'array'
        if isinstance(column, Ragged):
            parts = {f'{name}.values.npy': column.values, f'{name}.offsets.npy': column.offsets}
        else:
            parts = {f'{name}.npy': column}
        for file, array in parts.items():
            np.save(folder / file, array)
            files[file] = {'dtype': np.lib.format.dtype_to_descr(array.dtype), 'shape': list(array.shape)}
    description = {'length': next(iter(lengths.values()), 0), 'columns': kinds, 'files': files}
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1))


def check_column(name: str, column: np.ndarray | Ragged) -> int:
    """Checks that a column can be stored and returns its number of rows.

    Raises:
      ValueError: an unsafe name, a dtype without a fixed size, or offsets that do not describe the values.
    """
    if not is_name(name):
        raise ValueError(
            f'column name {name!r} cannot name a file: use letters, digits and underscores, no digit first'
        )
    for array in column if isinstance(column, Ragged) else (column,):
        if not isinstance(array, np.ndarray) or array.ndim == 0 or array.dtype.kind not in 'biufU':
            what = f'{array.dtype} {array.shape}' if isinstance(array, np.ndarray) else type(array).__name__
            raise ValueError(
                f'column {name!r} is {what}: give a numpy array of booleans, integers, floats or '
                'fixed-width strings (`array.astype(str)` turns objects and bytes into strings)'
            )
    if not isinstance(column, Ragged):
        return len(column)
    offsets = column.offsets
    sound = offsets.dtype == np.int64 and offsets.ndim == 1 and len(offsets) and offsets[0] == 0
    if not sound or (np.diff(offsets) < 0).any() or offsets[-1] != len(column.values):
        raise ValueError(
            f'offsets of ragged column {name!r} must be int64, start at 0, never fall and end at '
            f'the number of values, {len(column.values)}'
        )
    return len(offsets) - 1


class ColumnStore:
    """The columns of one folder, memory-mapped on first use: `store[name]` is an array [N, ...] or a `Ragged`.

    A store pickles as its folder: worker processes map the files themselves.
    """

    def __init__(self, folder: str | Path):
        """Opens a folder written by `write_columns` and checks header and size of every file.

        Raises:
          ValueError: a description or file that is missing, unreadable, truncated or not as described.
        """
        self.folder = Path(folder)
        path = self.folder / DESCRIPTION
        try:
            description = json.loads(path.read_text())
            self._length, self._kinds = description['length'], description['columns']
            files = description['files']
        except FileNotFoundError:
            raise ValueError(f'{path} is missing, so {self.folder} is not a folder of columns: {_REMEDY}') from None
        except (json.JSONDecodeError, KeyError, UnicodeDecodeError) as error:
            raise ValueError(f'{path} is damaged ({error!r}): {_REMEDY}') from None
        for file, described in files.items():
            _check_file(self.folder / file, described)
        self._open: dict[str, np.ndarray | Ragged] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in the order in which they were written."""
        return tuple(self._kinds)

    def __getitem__(self, name: str) -> Any:
        if name not in self._open:
            if name not in self._kinds:
                raise ValueError(f'{self.folder} has no column {name!r}; it has {", ".join(self.names) or "none"}')
            if self._kinds[name] == 'ragged':
                self._open[name] = Ragged(self._map(f'{name}.values.npy'), self._map(f'{name}.offsets.npy'))
            else:
                self._open[name] = self._map(f'{name}.npy')
        return self._open[name]

    def _map(self, file: str) -> np.ndarray:
        # The plain-array view keeps the mapping alive and spares numpy's subclass machinery, several microseconds on
        # every gather.
        return np.asarray(np.load(self.folder / file, mmap_mode='r')).view(np.ndarray)

    def __contains__(self, name: object) -> bool:
        return name in self._kinds

    def __len__(self) -> int:
        """The number of rows N (not of columns: those are `names`)."""
        return self._length

    def __reduce__(self):
        return ColumnStore, (str(self.folder),)

    def __repr__(self) -> str:
        return f'ColumnStore({str(self.folder)!r})'


def cached_array(path: Path, write: Callable[[Path], object]) -> np.ndarray:
    """Memory-maps an array file read-only; a missing one is first saved by `write`, complete or not at all.

    Raises:
      ValueError: the file is damaged, or the disk is full.
    """
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        partial = path.with_name(f'.{uuid.uuid4().hex}.partial.npy')
        try:
            with needs_room(path):
                write(partial)
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
    try:
        return np.load(path, mmap_mode='r').view(np.ndarray)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f'{path} cannot be read ({error}): delete it, it will be made again') from None


def _check_file(path: Path, described: Mapping[str, Any]) -> None:
    try:
        with path.open('rb') as file:
            first = np.lib.format.read_magic(file) == (1, 0)
            read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            expected = file.tell() + int(np.prod(shape)) * dtype.itemsize
    except FileNotFoundError:
        raise ValueError(f'{path} is missing though {DESCRIPTION} lists it: {_REMEDY}') from None
    except ValueError as error:
        raise ValueError(f'{path} is not a readable .npy file ({error}): {_REMEDY}') from None
    found = (np.lib.format.dtype_to_descr(dtype), list(shape))
    if found != (described['dtype'], list(described['shape'])):
        raise ValueError(
            f'{path} holds {found[0]} {found[1]} but {DESCRIPTION} says {described["dtype"]} '
            f'{described["shape"]}: {_REMEDY}'
        )
    if path.stat().st_size != expected:
        raise ValueError(
            f'{path} has {path.stat().st_size} bytes instead of {expected}, it was cut or appended to: {_REMEDY}'
        )
