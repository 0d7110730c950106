"""Tables of many million rows as TFDS builders: an example is a block of rows, a feature a column of it.

Decoding examples one by one is slow, so a row is no example. A column is an array of numbers, or `Coded`: strings that
repeat, each stored once a block.

Letters: n rows of a block, N rows of all.
"""

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jaxrec.data.logs.raw_columns import Coded
from jaxrec.data.readers.files import find_file, prepared_folder

Block = dict[str, Any]  # {column: array [n] or Coded of n rows}
BLOCK_ROWS = 1 << 16


class BlockBuilder(tfds.core.GeneratorBasedBuilder):
    """A table in blocks; a subclass names its columns and reads its files."""

    VERSION = tfds.core.Version('1.0.0')
    COLUMNS: ClassVar[Mapping[str, type]]  # dtype of each column, str for a coded one
    PATTERN: ClassVar[str] = ''  # of the name of its one file; or
    FILE: ClassVar[str] = ''  # the name of its one file, unpacked, also in a folder of
    FOLDERS: ClassVar[Sequence[str]] = ()
    # TFDS 4.9 finds this by a package that it does not declare as a dependency (importlib_resources).
    code_path = Path(__file__)

    files: Sequence[Path] = ()  # found by the caller; else looked for in the manual folder

    @classmethod
    def tag(cls) -> str:
        """Name and version, by which a log that was made from this table is known."""
        return f'{cls.name}:{cls.VERSION}'

    def find(self, folder: Path) -> Sequence[Path]:
        """The files of this table in a folder where a person placed them: the one of `FILE` or `PATTERN`."""
        if self.FILE:
            return [find_file(folder, self.FILE, self.FOLDERS, self.MANUAL_DOWNLOAD_INSTRUCTIONS)]
        found = sorted(folder.glob(self.PATTERN))
        if len(found) != 1:
            remedy = self.MANUAL_DOWNLOAD_INSTRUCTIONS
            raise ValueError(f'{folder} has {len(found)} files {self.PATTERN}: place exactly one. {remedy}')
        return found

    @abc.abstractmethod
    def read(self, files: Sequence[Path]) -> Iterator[Block]:
        """Yields the blocks of the table in the order of its files."""

    def _info(self) -> tfds.core.DatasetInfo:
        features = {name: _feature(dtype) for name, dtype in self.COLUMNS.items()}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {'train': self._generate_examples(self.files or self.find(Path(dl_manager.manual_dir)))}

    def _generate_examples(self, files: Sequence[Path]) -> Iterator[tuple[int, dict[str, Any]]]:
        key = -1
        for key, block in enumerate(self.read(files)):
            yield key, {name: _stored(block[name]) for name in self.COLUMNS}
        if key < 0:
            raise ValueError(f'{files[0]} has no lines that belong here: was it cut? Fetch it again')


def _feature(dtype: type) -> Any:
    vector = lambda kind: tfds.features.Tensor(shape=(None,), dtype=kind, encoding='bytes')
    # One text of all values, a line each: TFDS takes microseconds for every string it stores.
    return {'codes': vector(np.int32), 'values': tfds.features.Text()} if dtype is str else vector(dtype)


def _stored(column: Any) -> Any:
    if not isinstance(column, Coded):
        return column
    values = column.values.tolist()
    if broken := next((value for value in values if '\n' in value), None):
        raise ValueError(f'value {broken!r} holds a line break: values of a block are stored a line each')
    return {'codes': column.codes.astype(np.int32), 'values': '\n'.join(values)}


def read_blocks(
    builder: type[BlockBuilder], files: Sequence[Path], folder: str | Path, **settings: Any
) -> Iterator[Block]:
    """Iterates over the blocks of a table in order; they are prepared on the first call.

    Args:
      builder: of the table.
      files: its source files, and those on which its settings depend.
      folder: of the log; prepared data are in `tfds/` of the same parent.
      **settings: attributes of the builder.

    Raises:
      ValueError: as the builder does, for malformed files.
    """
    made = builder(data_dir=str(prepared_folder(folder, files)), file_format='array_record')
    made.files = files
    for name, value in settings.items():
        setattr(made, name, value)
    made.download_and_prepare()
    source = made.as_data_source('train')
    for index in range(len(source)):
        yield {name: _restored(column) for name, column in source[index].items()}


def read_table(builder: type[BlockBuilder], files: Sequence[Path], folder: str | Path, **settings: Any) -> Block:
    """All columns of a table, {column: array [N] or Coded of N rows}, by `read_blocks`."""
    return join_blocks(read_blocks(builder, files, folder, **settings), tuple(builder.COLUMNS))


def _restored(column: Any) -> Any:
    if not isinstance(column, Mapping):
        return column
    return Coded(column['codes'], np.asarray(column['values'].decode().split('\n')))


class Coding:
    """Joins the coded columns of blocks to one: a value keeps the code of its first appearance."""

    def __init__(self) -> None:
        self._code: dict[str, int] = {}
        self._parts: list[np.ndarray] = []

    def add(self, column: Coded) -> np.ndarray:
        """Appends a block's column; returns its codes in the joined column, integer [n], in few bytes."""
        code = self._code
        known = [code.setdefault(value, len(code)) for value in column.values.tolist()]
        self._parts.append(np.asarray(known, np.min_scalar_type(len(code)))[column.codes])
        return self._parts[-1]

    def joined(self) -> Coded:
        """The column of all rows."""
        codes = np.concatenate([np.zeros(0, np.uint8), *self._parts])
        self._parts = [codes]
        return Coded(codes, np.asarray(list(self._code), str))


def join_blocks(blocks: Iterator[Block], columns: Sequence[str]) -> dict[str, Any]:
    """Puts the blocks of a table end to end: {column: array [N] or Coded of N rows} of the columns to keep."""
    arrays: dict[str, list[np.ndarray]] = {name: [] for name in columns}
    codings: dict[str, Coding] = {}
    for block in blocks:
        for name in columns:
            if isinstance(block[name], Coded):
                codings.setdefault(name, Coding()).add(block[name])
            else:
                arrays[name].append(block[name])
    joined: dict[str, Any] = {}
    for name in columns:  # one by one, so that only one column is there twice
        joined[name] = codings.pop(name).joined() if name in codings else np.concatenate(arrays.pop(name))
    return joined


def occurred(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts above 0."""
    return {what: count for what, count in counts.items() if count}


def in_blocks(rows: Iterator[Sequence[Any]], columns: Mapping[str, type]) -> Iterator[Block]:
    """Collects rows, one value a column, into blocks of at most `BLOCK_ROWS` rows.

    `columns` are {name: dtype, str for a coded one}, in the order of the values.
    """
    make: dict[str, Callable] = {
        name: _code if dtype is str else lambda values, dtype=dtype: np.asarray(values, dtype)
        for name, dtype in columns.items()
    }
    held: list[Sequence[Any]] = []

    def block() -> Block:
        return {name: make[name](values) for name, values in zip(columns, zip(*held, strict=True), strict=True)}

    for row in rows:
        held.append(row)
        if len(held) == BLOCK_ROWS:
            yield block()
            held.clear()
    if held:
        yield block()


def _code(values: Sequence[str]) -> Coded:
    code: dict[str, int] = {}
    codes = np.asarray([code.setdefault(value, len(code)) for value in values], np.int32)
    return Coded(codes, np.asarray(list(code), str))
