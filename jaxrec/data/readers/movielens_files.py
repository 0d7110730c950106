"""The files of MovieLens as published: where they are, how they are fetched, what a line must look like.

Editions differ in format. `latest-small` is comma-separated UTF-8 with a header and quoted titles, `1m` is separated by
'::', in Latin-1, without a header. A folder or the publisher's zip does; `.csv.gz` is accepted in place of `.csv`. A
malformed line is an error that names file and line.
"""

import csv
import dataclasses
import gzip
import io
import re
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from jaxrec.data.readers.files import fetch, readable

ADDRESS = 'https://files.grouplens.org/datasets/movielens/'
_AGAIN = f'fetch it again from {ADDRESS}'
NO_GENRES = '(no genres listed)'
_YEAR = re.compile(r'\((\d{4})\s*(?:[-\u2013]\s*(?:\d{4})?\s*)?\)\s*$')


@dataclasses.dataclass(frozen=True)
class Edition:
    """One published edition."""

    folder: str  # in the zip, which is `folder + '.zip'`
    suffix: str  # of its files
    encoding: str  # of its files
    step: float  # smallest difference between ratings, which run from `step` to 5
    users: bool = False  # whether there is a file of user attributes
    published: bool = True  # whether the publisher still offers it at `ADDRESS`
    md5: str | None = None  # of the zip; None if the publisher replaces it, then its `.md5` file is read


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
        with readable(str(self.root), _AGAIN):
            name, stream = self._open(table)
        with readable(name, _AGAIN), io.TextIOWrapper(stream, self.edition.encoding, newline='') as text:
            yield from self._parse(table, name, text)

    def _parse(self, table: str, name: str, text: io.TextIOWrapper) -> Iterator[tuple[str, list[str]]]:
        if self.edition.suffix == '.dat':
            lines: Iterator[list[str]] = (line.rstrip('\r\n').split('::') for line in text)
        else:
            lines = csv.reader(text, strict=True)
            header = next(lines, [])
            if ','.join(header) != HEADERS[table]:
                raise ValueError(f'{name}:1: header {",".join(header)!r} instead of {HEADERS[table]!r}: another file?')
        place = f'{name}:1'
        try:
            for number, fields in enumerate(lines, 1 if self.edition.suffix == '.dat' else 2):
                place = f'{name}:{number}'
                if len(fields) != _WIDTHS[table]:
                    raise ValueError(f'{place}: {len(fields)} fields instead of {_WIDTHS[table]}: repair the line')
                yield place, fields
        except csv.Error as error:
            raise ValueError(f'the line after {place} is broken ({error}): repair its quotes') from None

    def _open(self, table: str) -> tuple[str, IO[bytes]]:
        """What messages call the file, and its bytes."""
        if self.root.suffix != '.zip':
            path = _table(self.root, self.edition, table)
            return str(path), cast(IO[bytes], gzip.open(path)) if path.suffix == '.gz' else path.open('rb')
        member = f'{self.edition.folder}/{table}{self.edition.suffix}'
        archive = zipfile.ZipFile(self.root)
        if member not in archive.namelist():
            raise ValueError(f'{self.root} has no {member}, it is not the zip of this edition: fetch it from {ADDRESS}')
        return f'{self.root}/{member}', archive.open(member)


def _table(folder: Path, edition: Edition, table: str) -> Path:
    plain = folder / f'{table}{edition.suffix}'
    packed = plain.with_name(plain.name + '.gz')
    return packed if packed.is_file() and not plain.is_file() else plain


def find_files(data_dir: str | Path, edition: str) -> Files:
    """Finds an edition in `data_dir`, a folder there of the published name, or a zip; a ValueError has the remedy."""
    described = edition_of(edition)
    root = Path(data_dir)
    for folder in (root, root / described.folder):
        files = Files(described, folder)
        if folder.is_dir() and all(path.is_file() for path in files.paths):
            return files
    archive = root if root.suffix == '.zip' and root.is_file() else root / f'{described.folder}.zip'
    if archive.is_file():
        return Files(described, archive)
    wanted = ', '.join(path.name for path in Files(described, root).paths)
    remedy = (
        f'fetch {ADDRESS}{described.folder}.zip by `download` and place it there'
        if described.published
        else 'its publisher has replaced it; place a copy there or take latest-small-2018'
    )
    raise ValueError(
        f'MovieLens {edition}: neither {wanted} (or .gz) nor {described.folder}.zip in {root} '
        f'or {root / described.folder}: {remedy}'
    )


def edition_of(name: str) -> Edition:
    """The edition of that name, or a ValueError that lists them."""
    if name not in EDITIONS:
        raise ValueError(f'MovieLens edition {name!r} is unknown: use one of {", ".join(EDITIONS)}')
    return EDITIONS[name]


def download(edition: str, data_dir: str | Path, address: str = ADDRESS) -> Path:
    """Fetches the publisher's zip into `data_dir`, if its checksum agrees with the published MD5, and returns its path.

    Raises:
      ValueError: for an edition that is no longer published, or a checksum that differs.
    """
    described = edition_of(edition)
    if not described.published:
        raise ValueError(
            f'MovieLens {edition} is no longer published: place its files by hand or take latest-small-2018'
        )
    url = f'{address}{described.folder}.zip'
    path = Path(data_dir) / f'{described.folder}.zip'
    expected = described.md5
    if expected is None:
        with urllib.request.urlopen(f'{url}.md5') as response:
            found = re.search(r'\b[0-9a-f]{32}\b', response.read().decode())
        if not found:
            raise ValueError(f'{url}.md5 holds no MD5: fetch the zip by hand')
        expected = found.group()
    return fetch(url, path, expected)


def parse_rating(place: str, fields: list[str], edition: Edition) -> tuple[int, int, float, int]:
    """(user, movie, rating, seconds since 1970) of one line, or a ValueError that names the place."""
    try:
        user, movie, rating, time = int(fields[0]), int(fields[1]), float(fields[2]), int(fields[3])
    except ValueError:
        raise ValueError(
            f'{place}: {fields} are not user, movie, rating and timestamp in numbers: repair the line'
        ) from None
    if not (edition.step <= rating <= 5 and (rating / edition.step).is_integer()):
        raise ValueError(f'{place}: rating {fields[2]} is not one of {edition.step}..5 in steps of {edition.step}')
    if user < 1 or movie < 1 or time < 0:
        raise ValueError(f'{place}: user and movie start at 1 and timestamps at 0, found {fields}: repair the line')
    return user, movie, rating, time


def parse_movie(place: str, fields: list[str]) -> tuple[int, str, list[str]]:
    """(movie, title, genres) of one line; a movie without listed genres has none."""
    if not fields[0].isdecimal():
        raise ValueError(f'{place}: movie {fields[0]!r} is not a number: repair the line')
    genres = [] if fields[2] == NO_GENRES else fields[2].split('|')
    if not all(genres):
        raise ValueError(f'{place}: genres {fields[2]!r} have an empty name: repair the line, or write {NO_GENRES!r}')
    return int(fields[0]), fields[1].strip(), genres


def parse_user(place: str, fields: list[str]) -> tuple[int, str, int, int, str]:
    """(user, gender, age group, occupation, zip code) of one line of the 1m edition."""
    user, gender, age, occupation, code = fields
    if gender not in ('F', 'M') or not (user.isdecimal() and age.isdecimal() and occupation.isdecimal()):
        raise ValueError(f'{place}: {fields} are not user, F or M, age, occupation and zip code: repair the line')
    return int(user), gender, int(age), int(occupation), code


def year_of(title: str) -> int:
    """The year in parentheses that ends a title, the first of a range; 0 where there is none."""
    found = _YEAR.search(title)
    return int(found.group(1)) if found else 0
