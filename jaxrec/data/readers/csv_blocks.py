"""Comma-separated files of many million lines, read in blocks; a malformed line is an error that names it.

Letters: n rows of a block.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from jaxrec.data.logs.raw_columns import Coded
from jaxrec.data.readers.blocks import Block
from jaxrec.data.readers.files import open_file

BLOCK_BYTES = 1 << 24
_ROW = re.compile(r'Row #(\d+): (.*)', re.DOTALL)
_COLUMN = re.compile(r'In CSV column #(\d+)')


def read_csv(
    path: Path, names: Sequence[str], columns: Mapping[str, type], remedy: str, header: bool
) -> Iterator[Block]:
    """Yields the rows of a file without quotes, in order: {name: array [n] or Coded of n rows}.

    Args:
      path: plain, .gz or .zip.
      names: of the fields of a line; a header must consist of them.
      columns: {name: dtype, or str for a coded column} of those that are read.
      remedy: where to get the file again, for messages.
      header: whether the first line is one.

    Raises:
      ValueError: another header or number of fields, a field that is no number of its type, or broken encoding or
        compression; naming file and line.
    """
    # Without threads errors know their line.
    read = pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, column_names=list(names))
    parse = pyarrow.csv.ParseOptions(quote_char=False, ignore_empty_lines=False)
    types = {name: _arrow_type(dtype) for name, dtype in columns.items()}
    convert = pyarrow.csv.ConvertOptions(column_types=types, include_columns=list(columns), null_values=[])
    with open_file(path, remedy) as stream:
        if header:
            _check_header(path, stream.readline(), names)
        try:
            for batch in pyarrow.csv.open_csv(stream, read, parse, convert):
                yield {name: _column(batch.column(name)) for name in columns}
        except pa.ArrowInvalid as error:
            raise ValueError(_explain(path, str(error), names, int(header), remedy)) from None


def refuse(path: Path, line: int, name: str, column: np.ndarray, wrong: np.ndarray, allowed: str) -> None:
    """Refuses values of column `name` of a block, [n], where bool [n] is wrong; a ValueError names the first line.

    `line` is that of the block's first row, from 1; `allowed` describes right values.
    """
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f'{path}:{line + row}: {name} is {column[row]} and not {allowed}: repair the line')


def _check_header(path: Path, line: bytes, names: Sequence[str]) -> None:
    found = line.decode(errors='replace').rstrip('\r\n')
    if found != ','.join(names):
        raise ValueError(f'{path}:1: header {found!r} instead of {",".join(names)!r}: another file?')


def _arrow_type(dtype: type) -> Any:
    return pa.dictionary(pa.int32(), pa.string()) if dtype is str else pa.from_numpy_dtype(dtype)


def _column(array: Any) -> np.ndarray | Coded:
    if not pa.types.is_dictionary(array.type):
        return array.to_numpy(zero_copy_only=False)
    return Coded(array.indices.to_numpy(), np.asarray(array.dictionary.to_pylist(), str))


def _explain(path: Path, error: str, names: Sequence[str], before: int, remedy: str) -> str:
    row, column = _ROW.search(error), _COLUMN.search(error)
    if not row:
        return f'{path} cannot be read ({error}): {remedy}'
    place = f'{path}:{int(row.group(1)) + before}'
    if fields := re.match(r'Expected (\d+) columns, got (\d+)', row.group(2)):
        return f'{place}: {fields.group(2)} fields instead of {fields.group(1)}: repair the line'
    field = names[int(column.group(1))] if column else 'a field'
    return f'{place}: {field} cannot be read ({row.group(2)}): repair the line'
