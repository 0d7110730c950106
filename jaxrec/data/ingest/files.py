"""Opening your files: which they are, their encoding, delimiter and header, and the line of a record.

A CSV file may hold line breaks inside quotes and empty lines, so the number of a record and the number of its line can
differ; `line_numbers` returns the line.
"""

import codecs
import collections
import csv
import difflib
import glob
import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from jaxrec.data.ingest.fields import Format

DELIMITERS = (',', '\t', ';', '|')
KINDS = {'.csv': 'csv', '.tsv': 'csv', '.txt': 'csv', '.parquet': 'parquet', '.pq': 'parquet'}
FIRST_LINE_BYTES = 1 << 20
_MARKS = {b'\xff\xfe': 'utf-16', b'\xfe\xff': 'utf-16', b'PAR1': 'parquet', b'\x1f\x8b': 'gzip'}
_READ_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)


def find_files(patterns: Sequence[str]) -> list[Path]:
    """Lists input files, at least one, each once; those of a glob come in the order of their names.

    Raises:
      ValueError: a pattern that matches nothing, a file named twice, empty or of an unknown kind.
    """
    found: list[Path] = []
    for pattern in patterns:
        paths = [Path(pattern)] if Path(pattern).exists() else sorted(map(Path, glob.glob(pattern)))
        if not paths:
            raise ValueError(f'input {pattern} does not exist and matches no file: check the path')
        found += paths
    if not found:
        raise ValueError('no input: give at least one CSV or Parquet file')
    for path in found:
        if found.count(path) > 1:
            raise ValueError(f'input {path} is given twice: its rows would count double, name it once')
        _check_file(path)
    return found


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f'input {path} is not a file: give files, or a pattern such as {path}/*.csv')
    if not path.stat().st_size:
        raise ValueError(f'input {path} is empty (0 bytes): remove it from the inputs')
    kind = kind_of(path)
    with path.open('rb') as file:
        start = file.read(4)
    mark = next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)
    expected = 'parquet' if kind == 'parquet' else 'gzip' if path.suffix == '.gz' else None
    if mark != expected and 'utf-16' != mark:
        says = {'parquet': 'a Parquet file', 'gzip': 'gzip-compressed', None: 'neither Parquet nor gzip'}
        raise ValueError(
            f'input {path} is {says[mark]} by its content but not by its name: rename it (.csv, .csv.gz, .parquet)'
        )


def kind_of(path: Path) -> str:
    """Returns 'csv' or 'parquet', by the name of a file; another name is a ValueError."""
    suffix = path.suffixes[-2] if path.suffix == '.gz' and len(path.suffixes) > 1 else path.suffix
    kind = KINDS.get(suffix.lower())
    if kind is None or (kind == 'parquet' and path.suffix == '.gz'):
        raise ValueError(
            f'input {path} is of an unknown kind: give .csv, .tsv or .txt (also with .gz), .parquet or .pq'
        )
    return kind


class TextSource(io.RawIOBase):
    """A CSV file as UTF-8 bytes without byte order mark, decompressed, its lines counted as they pass.

    Attributes:
      lines: lines that were read, the last one with or without its line break.
      quotes: quote characters that were read.
    """

    def __init__(self, path: Path, format_: Format, progress: Callable[[int], None] = lambda size: None):
        """Opens a CSV file, `.gz` or not; `progress` receives the number of bytes of the file that were read."""
        super().__init__()
        self._path, self._progress = path, progress
        self._raw = path.open('rb')
        self._file = gzip.GzipFile(fileobj=self._raw) if path.suffix == '.gz' else self._raw
        # UTF-8 is checked column by column, so that a bad byte costs its row and not the file.
        self._decoder = None
        if codecs.lookup(format_.encoding).name not in ('utf-8', 'utf-8-sig'):
            self._decoder = codecs.getincrementaldecoder(format_.encoding)()
        self.quotes, self._quote = 0, format_.quote.encode()
        self._breaks, self._at, self._told, self._last = 0, 0, 0, b'\n'

    @property
    def lines(self) -> int:
        """Lines read so far."""
        return self._breaks + (self._last != b'\n')

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Reads up to `size` bytes of the file, as UTF-8.

        Raises:
          ValueError: damaged compression, or bytes that are no text in the encoding.
        """
        data = b''
        while not data:
            chunk = self._fetch(size)
            data = self._utf8(chunk)
            if not chunk:
                break
        self._breaks += data.count(b'\n')
        self._last = data[-1:] or self._last
        self.quotes += data.count(self._quote) if self._quote else 0
        position = self._raw.tell()
        self._progress(position - self._told)
        self._told = position
        return data

    def _fetch(self, size: int) -> bytes:
        try:
            chunk = self._file.read(size)
        except _READ_ERRORS as error:
            raise ValueError(
                f'{self._path} cannot be decompressed ({error}): it is damaged or incomplete, get it again'
            ) from None
        if self._at == 0:
            if chunk[:2] in (b'\xff\xfe', b'\xfe\xff') and self._decoder is None:
                raise ValueError(f'{self._path} is UTF-16 text: say so (format.encoding or --encoding=utf-16)')
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
        self._at += len(chunk)
        return chunk

    def _utf8(self, chunk: bytes) -> bytes:
        if self._decoder is None:
            return chunk
        try:
            return self._decoder.decode(chunk, final=not chunk).encode()
        except UnicodeDecodeError as error:
            line = self._breaks + 1 + chunk[: error.start].count(b'\n')
            raise ValueError(
                f'{self._path}:{line} holds bytes that are no {error.encoding} ({error.reason}): give the '
                'right encoding (format.encoding or --encoding)'
            ) from None

    def close(self) -> None:
        """Closes the file."""
        if not self.closed:
            self._file.close()
            self._raw.close()
        super().close()


def read_header(path: Path, format_: Format, wanted: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """Finds delimiter and names of all columns of a CSV file; the columns `wanted` of it tell the delimiter.

    Raises:
      ValueError: a column is missing or named twice, or the first line is no header.
    """
    wanted, line = list(wanted), _first_line(path, format_)
    candidates = (format_.delimiter,) if format_.delimiter else DELIMITERS
    split = {delimiter: _split(line, delimiter, format_.quote) for delimiter in candidates}
    if format_.header is not None:
        fits = [d for d, fields in split.items() if len(fields) == len(format_.header)]
        if not fits:
            counts = ', '.join(f'{len(fields)} by {d!r}' for d, fields in split.items())
            raise ValueError(
                f'{path}:1 has another number of columns ({counts}) than format.header, '
                f'{len(format_.header)}: list all columns, or give the delimiter'
            )
        delimiter, names = fits[0], format_.header
    else:
        delimiter = max(split, key=lambda d: (len(set(wanted) & set(split[d])), len(split[d])))
        names = tuple(split[delimiter])
    check_columns(f'{path}:1', names, wanted)
    return delimiter, names


def _first_line(path: Path, format_: Format) -> str:
    with TextSource(path, format_) as source:
        start = source.read(FIRST_LINE_BYTES)
    try:
        line = start.split(b'\n', 1)[0].removesuffix(b'\r').decode()
    except UnicodeDecodeError:
        raise ValueError(
            f'{path}:1 is not UTF-8 text: give its encoding (format.encoding or --encoding=latin-1)'
        ) from None
    if not line.strip():
        raise ValueError(f'{path}:1 is an empty line: the first line must be the header, or a row')
    if len(start) >= FIRST_LINE_BYTES and b'\n' not in start:
        raise ValueError(f'{path}:1 is longer than {FIRST_LINE_BYTES} bytes: is it a CSV file with a header?')
    return line


def _split(line: str, delimiter: str, quote: str) -> list[str]:
    options = {'quotechar': quote} if quote else {'quoting': csv.QUOTE_NONE}
    return next(csv.reader([line], delimiter=delimiter, **options), [])


def check_columns(place: str, names: Sequence[str], wanted: Iterable[str]) -> None:
    """Checks that a file has the columns a mapping names, each once; a ValueError names the column and the `place`."""
    for column in wanted:
        if column not in names:
            close = difflib.get_close_matches(column, names, n=1)
            hint = f'; did you mean {close[0]!r}?' if close else ''
            raise ValueError(
                f'{place} has no column {column!r}{hint}; it has {", ".join(names)}: correct the mapping, or '
                'give the delimiter'
            )
        if list(names).count(column) > 1:
            raise ValueError(f'{place} has two columns {column!r}: rename one')


def _lines(source: TextSource) -> Iterator[str]:
    rest = b''
    while data := source.read(1 << 20):
        *lines, rest = (rest + data).split(b'\n')
        yield from (line.decode('utf-8', 'replace') + '\n' for line in lines)
    if rest:
        yield rest.decode('utf-8', 'replace')


def line_numbers(path: Path, format_: Format, delimiter: str, records: Iterable[int]) -> dict[int, int]:
    """Finds the lines on which records of a CSV file begin, {record: line}; the header or first row is record 1."""
    wanted = set(records)
    found = _records(path, format_, delimiter)
    return {record: line for record, line, _ in _until(found, max(wanted, default=0)) if record in wanted}


def refuse_unclosed(path: Path, format_: Format, delimiter: str) -> None:
    """Refuses a CSV file, of an odd number of quotes, whose last record is a quote opened long before and never closed.

    A ValueError names the line.
    """
    ((_, line, lines),) = collections.deque(_records(path, format_, delimiter), maxlen=1)
    if lines > 1:
        raise ValueError(
            f'{path}:{line} opens a quote that is not closed before the end of the file, {lines} lines '
            'later: close it, or give format.quote "" if quotes mean nothing in this file'
        )


def _records(path: Path, format_: Format, delimiter: str) -> Iterator[tuple[int, int, int]]:
    """Number, first line and number of lines of every record, as Python's own parser sees them."""
    options = {'quotechar': format_.quote} if format_.quote else {'quoting': csv.QUOTE_NONE}
    csv.field_size_limit(2**31 - 1)
    with TextSource(path, format_) as source:
        reader = csv.reader(_lines(source), delimiter=delimiter, **options)
        record = before = 0
        for fields in reader:
            if fields:
                record += 1
                yield record, before + 1, reader.line_num - before
            before = reader.line_num


def _until(records: Iterator[tuple[int, int, int]], last: int) -> Iterator[tuple[int, int, int]]:
    for found in records:
        yield found
        if found[0] >= last:
            return
