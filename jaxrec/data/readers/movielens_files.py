"""The files of MovieLens as their publisher writes them: where they are, how they are fetched, and what a line must look like.

Editions differ in format. `latest-small` is comma-separated UTF-8 with a header and quoted titles, `1m` is separated by '::', in Latin-1,
without a header. A folder or the publisher's zip does; `.csv.gz` is accepted in place of `.csv`. A malformed line is an error that names
file and line.
"""

import csv
import dataclasses
import gzip
import hashlib
import io
import re
import shutil
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

ADDRESS = 'https://files.grouplens.org/datasets/movielens/'
NO_GENRES = '(no genres listed)'
_YEAR = re.compile(r'\((\d{4})\s*(?:[-\u2013]\s*(?:\d{4})?\s*)?\)\s*$')


@dataclasses.dataclass(frozen=True)
class Edition:
    """One published edition.

    Attributes:
      folder: what the publisher calls the folder in the zip; the zip is `folder + '.zip'`.
      suffix, encoding: of its files.
      step: smallest difference between ratings, which run from `step` to 5.
      users: whether there is a file of user attributes.
      published: whether the publisher still offers it at `ADDRESS`.
      md5: of the zip, as published; None when the publisher replaces the file, then its current `.md5` file is read.
    """

    folder: str
    suffix: str
    encoding: str
    step: float
    users: bool = False
    published: bool = True
    md5: str | None = None


EDITIONS = {
    'latest-small-2016': Edition('ml-latest-small', '.csv', 'utf-8', 0.5, published=False),
    'latest-small-2018': Edition('ml-latest-small', '.csv', 'utf-8', 0.5),
    '1m': Edition('ml-1m', '.dat', 'latin-1', 1.0, users=True, md5='c4d9eecfca2ab87c1945afe126590906'),
}
HEADERS = {'ratings': 'userId,movieId,rating,timestamp', 'movies': 'movieId,title,genres'}
_WIDTHS = {'ratings': 4, 'movies': 3, 'users': 5}


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of one edition in a folder or a zip."""

    edition: Edition
    root: Path

    @property
    def paths(self) -> list[Path]:
        """The files on disk that are read, for checksums: the tables, or the one zip."""
        tables = ['ratings', 'movies', *(['users'] if self.edition.users else [])]
        return [self.root] if self.root.suffix == '.zip' else [_table(self.root, self.edition, t) for t in tables]

    def rows(self, table: str) -> Iterator[tuple[str, list[str]]]:
        """Yields (place, fields) for each line of 'ratings', 'movies' or 'users'; the place is 'file:line'.

        Raises:
          ValueError: for a wrong header or number of fields, broken quotes, encoding or compression.
        """
        name = str(self.root)
        try:
            with self._open(table) as (name, stream):
                text = io.TextIOWrapper(stream, encoding=self.edition.encoding, newline='')
                yield from self._parse(table, name, text)
        except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zipfile.BadZipFile) as error:
            raise ValueError(f'{name} cannot be read ({error}): fetch it again from {ADDRESS}') from None

    def _parse(self, table: str, name: str, text: io.TextIOWrapper) -> Iterator[tuple[str, list[str]]]:
        if self.edition.suffix == '.dat':
            lines: Iterator[list[str]] = (line.rstrip('\r\n').split('::') for line in text)
        else:
            lines = csv.reader(text, strict=True)
            header = next(lines, [])
            if ','.join(header) != HEADERS[table]:
                raise ValueError(f'{name}:1: the header is {",".join(header)!r} instead of {HEADERS[table]!r}: another file?')
        number = 1 if self.edition.suffix == '.dat' else 2
        try:
            for number, fields in enumerate(lines, number):  # noqa: B007 - read again when the next line is broken
                if len(fields) != _WIDTHS[table]:
                    raise ValueError(f'{name}:{number}: {len(fields)} fields instead of {_WIDTHS[table]}: repair the line')
                yield f'{name}:{number}', fields
        except csv.Error as error:
            raise ValueError(f'{name}:{number + 1}: {error}: repair the line') from None

    def _open(self, table: str) -> '_Opened':
        return _Opened(self, table)


class _Opened:
    """Context of one open table: (its name for messages, binary stream)."""

    def __init__(self, files: Files, table: str):
        self.files, self.table = files, table

    def __enter__(self) -> tuple[str, io.BufferedIOBase]:
        root, edition = self.files.root, self.files.edition
        if root.suffix == '.zip':
            member = f'{edition.folder}/{self.table}{edition.suffix}'
            self.archive = zipfile.ZipFile(root)
            if member not in self.archive.namelist():
                raise ValueError(f'{root} has no {member}: it is not the zip of this edition, fetch it from {ADDRESS}')
            self.stream = self.archive.open(member)
            return f'{root}/{member}', self.stream
        path = _table(root, edition, self.table)
        self.stream = gzip.open(path) if path.suffix == '.gz' else path.open('rb')
        return str(path), self.stream

    def __exit__(self, *error: object) -> None:
        self.stream.close()
