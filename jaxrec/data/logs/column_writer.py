"""Writing columns piece by piece, for tables larger than memory; the files are those of `write_columns`.

Letters: N rows of the table, n of a piece.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxrec.data.logs.columns import DESCRIPTION, Ragged, check_column, is_name


class ColumnWriter:
    """Appends rows to the columns of a folder; the description comes last, so a part is no store.

    Example:
      with ColumnWriter('log/events', {'user': np.int32}, ragged={'tags': np.int32}) as writer:
        writer.append({'user': users, 'tags': tags})
    """

    def __init__(self, folder: str | Path, columns: Mapping[str, Any], ragged: Mapping[str, Any] | None = None):
        """Creates one file for each column {name: dtype}, two for a `ragged` one; a ValueError for an unsafe name."""
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._columns, self._ragged = dict(columns), dict(ragged or {})
        for name in self._columns:
            if not is_name(name):
                check_column(name, np.zeros(0))
        self._length = 0
        self._files: dict[str, tuple[BinaryIO, np.dtype]] = {}
        self._rows: dict[str, int] = {}
        for name, dtype in self._columns.items():
            if name in self._ragged:
                self._open(f'{name}.values.npy', self._ragged[name])
                self._open(f'{name}.offsets.npy', np.int64)
                self._put(f'{name}.offsets.npy', np.zeros(1, np.int64))
            else:
                self._open(f'{name}.npy', dtype)

    def _open(self, file: str, dtype: Any) -> None:
        self._files[file], self._rows[file] = ((self._folder / file).open('wb'), np.dtype(dtype)), 0
        _write_header(*self._files[file], 0)

    def _put(self, file: str, array: np.ndarray) -> None:
        opened, dtype = self._files[file]
        np.ascontiguousarray(array, dtype).tofile(opened)
        self._rows[file] += len(array)

    def append(self, columns: Mapping[str, np.ndarray | Ragged]) -> None:
        """Writes rows of all columns, {name: array [n] or `Ragged`}; a ValueError if one lacks or lengths differ."""
        lengths = {name: check_column(name, column) for name, column in columns.items()}
        if lengths.keys() != self._columns.keys() or len(set(lengths.values())) != 1:
            raise ValueError(
                f'{self._folder} has the columns {", ".join(self._columns)}, a piece came with {lengths}: '
                'give all of one length'
            )
        for name, column in columns.items():
            if isinstance(column, Ragged):
                before = self._rows[f'{name}.values.npy']
                self._put(f'{name}.values.npy', column.values)
                self._put(f'{name}.offsets.npy', np.asarray(column.offsets[1:]) + before)
            else:
                self._put(f'{name}.npy', column)
        self._length += next(iter(lengths.values()))

    def __enter__(self) -> 'ColumnWriter':
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        files = {}
        for file, (opened, dtype) in self._files.items():
            opened.seek(0)
            _write_header(opened, dtype, self._rows[file])
            opened.close()
            files[file] = {'dtype': np.lib.format.dtype_to_descr(dtype), 'shape': [self._rows[file]]}
        if kind is not None:
            return
        kinds = {name: 'ragged' if name in self._ragged else 'array' for name in self._columns}
        description = {'length': self._length, 'columns': kinds, 'files': files}
        (self._folder / DESCRIPTION).write_text(json.dumps(description, indent=1))


def _write_header(file: BinaryIO, dtype: np.dtype, rows: int) -> None:
    # numpy pads the header so that any number of rows fits: it is as long at the start as at the end.
    header = {'descr': np.lib.format.dtype_to_descr(dtype), 'fortran_order': False, 'shape': (rows,)}
    np.lib.format.write_array_header_1_0(file, header)
