"""Files as a stream of blocks: some MiB of rows at a time, whatever the size of the file.

A CSV file is parsed in a thread of its own while the block before is being worked on; its texts stay bytes until they
are converted, so that bad text costs a row and not the file.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from jaxrec.data.ingest.fields import Format
from jaxrec.data.ingest.files import (
    DELIMITERS,
    TextSource,
    check_columns,
    kind_of,
    line_numbers,
    read_header,
    refuse_unclosed,
)

BLOCK_BYTES = 16 << 20  # the longest row a CSV file may have, too
PARQUET_ROWS = 1 << 18
WRONG_COUNT = 'wrong number of columns'
SEVERAL_LINES = 'wrong number of columns over several lines (an unclosed quote?)'


class Block(NamedTuple):
    """Some rows of a file."""

    columns: dict[str, pa.Array]  # {column of the file: array [n]}; of CSV files binary, not yet checked for encoding
    first: int  # number of the first record read for this block; the header of a CSV file is record 1
    invalid: dict[int, str]  # {record in or before this block that has a wrong number of columns: message}
    lines: int  # lines read from the file so far; 0 for Parquet

    @property
    def rows(self) -> int:
        """The number of rows n."""
        return len(next(iter(self.columns.values())))

    @property
    def end(self) -> int:
        """The number of the record after this block."""
        return self.first + self.rows + len(self.invalid)

    def records(self) -> np.ndarray:
        """int64 [n], the record that each row is."""
        return np.setdiff1d(np.arange(self.first, self.end), np.fromiter(self.invalid, np.int64))


def read_blocks(
    path: Path, columns: Sequence[str], format_: Format, progress: Callable[[int], None] = lambda size: None
) -> Iterator[Block]:
    """Yields the blocks of a CSV or Parquet file, in its order; at least one, though it may be empty.

    `progress` receives the number of bytes that were read.

    Raises:
      ValueError: naming file and line: cannot be read, lacks a column, mixes delimiters, or has a row longer than a
        block.
    """
    wanted = list(dict.fromkeys(columns))
    if kind_of(path) == 'parquet':
        yield from _parquet_blocks(path, wanted, progress)
        return
    delimiter, names = read_header(path, format_, wanted)
    yield from _ahead(_csv_blocks(path, wanted, format_, delimiter, names, progress))


def _csv_blocks(
    path: Path,
    columns: list[str],
    format_: Format,
    delimiter: str,
    names: Sequence[str],
    progress: Callable[[int], None],
) -> Iterator[Block]:
    invalid: list[Any] = []  # rows that the parser set aside since the last block
    first = 2 if format_.header is None else 1

    def set_aside(row: Any) -> str:
        invalid.append(row)
        return 'skip'

    with TextSource(path, format_, progress) as source:
        reader = None
        while True:
            try:
                reader = reader or _open_csv(source, columns, format_, delimiter, names, set_aside)
                batch = reader.read_next_batch()
            except StopIteration:
                break
            except pa.ArrowInvalid as error:
                raise ValueError(_explain(path, error, first + len(invalid))) from None
            _refuse_mixed(path, invalid, format_, delimiter, len(names))
            within = _within(first, batch.num_rows, invalid)
            block = Block(dict(zip(columns, batch.columns, strict=True)), first, within, source.lines)
            del invalid[: len(within)]
            first = block.end
            yield block
        _refuse_mixed(path, invalid, format_, delimiter, len(names))
        empty = {name: pa.array([], pa.binary()) for name in columns}
        yield Block(empty, first, _within(first, len(invalid), invalid), source.lines)
        if source.quotes % 2 and first + len(invalid) - 1 < source.lines:
            refuse_unclosed(path, format_, delimiter)


def _within(first: int, rows: int, invalid: list[Any]) -> dict[int, str]:
    """Selects those of the `invalid` rows, ascending, that come before the last of `rows` good ones.

    The parser works a block ahead of what it returns, so it may have skipped rows of the next block.
    """
    within: dict[int, str] = {}
    for row in invalid:
        if row.number >= first + rows + len(within):
            break
        within[row.number] = SEVERAL_LINES if '\n' in (row.text or '') else WRONG_COUNT
    return within


def _open_csv(
    source: TextSource,
    columns: list[str],
    format_: Format,
    delimiter: str,
    names: Sequence[str],
    set_aside: Callable[[Any], str],
) -> pyarrow.csv.CSVStreamingReader:
    return pyarrow.csv.open_csv(
        pa.PythonFile(source, mode='r'),
        # Only a single thread tells the numbers of the rows it sets aside.
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False, block_size=BLOCK_BYTES, column_names=list(names) if format_.header else None
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=delimiter,
            quote_char=format_.quote or False,
            newlines_in_values=bool(format_.quote),
            invalid_row_handler=set_aside,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.binary()), include_columns=columns, null_values=[], check_utf8=False
        ),
    )


def _explain(path: Path, error: pa.ArrowInvalid, record: int) -> str:
    if 'straddling' in str(error):
        return (
            f'{path}: a row after record {record} does not end within {BLOCK_BYTES >> 20} MiB: close its '
            'quote, or give format.quote "" if quotes mean nothing in this file'
        )
    return f'{path} cannot be read as CSV near record {record} ({error}): check delimiter and quotes'


def _refuse_mixed(path: Path, invalid: list[Any], format_: Format, delimiter: str, expected: int) -> None:
    """A row that another delimiter would cut into the right number of columns is no accident."""
    for row in invalid:
        for other in DELIMITERS:
            if other != delimiter and (row.text or '').count(other) == expected - 1 > 0:
                line = line_numbers(path, format_, delimiter, [row.number])[row.number]
                raise ValueError(
                    f'{path}:{line} is delimited by {other!r} where line 1 is delimited by {delimiter!r}: '
                    'give the delimiter (format.delimiter or --delimiter), or write the file with one'
                )


def open_parquet(path: Path) -> pyarrow.parquet.ParquetFile:
    """Opens a Parquet file; a damaged one is a ValueError."""
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f'{path} cannot be read as Parquet ({str(error).splitlines()[0]}): it is damaged or incomplete, '
            'write it again'
        ) from None


def _parquet_blocks(path: Path, columns: list[str], progress: Callable[[int], None]) -> Iterator[Block]:
    with open_parquet(path) as file:
        check_columns(str(path), file.schema_arrow.names, columns)
        first, total = 1, max(1, file.metadata.num_rows)
        batches = file.iter_batches(batch_size=PARQUET_ROWS, columns=columns, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowInvalid, OSError) as error:
                raise ValueError(
                    f'{path} is damaged after row {first - 1} ({str(error).splitlines()[0]}): write it again'
                ) from None
            if batch is None:
                break
            progress(path.stat().st_size * batch.num_rows // total)
            yield Block({name: batch.column(name) for name in columns}, first, {}, 0)
            first += batch.num_rows
        empty = {name: pa.array([], file.schema_arrow.field(name).type) for name in columns}
        yield Block(empty, first, {}, 0)


def _ahead(blocks: Iterator[Block]) -> Iterator[Block]:
    """Iterates in a thread, one block ahead; parsing and working on blocks then share two cores."""
    waiting: queue.Queue = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def put(value: Any) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(value, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for block in blocks:
                if not put(block):
                    return
            put(None)
        except BaseException as error:  # handed to the reader of the blocks, who raises it
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (found := waiting.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        stopped.set()
        thread.join()
