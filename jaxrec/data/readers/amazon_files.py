"""Amazon's reviews and product metadata of 2014 as published: the files and their lines.

A file is "loose JSON", a record a line: reviews are JSON, metadata are Python literals. Both are parsed as data, never
evaluated. One row is yielded for every line, so that the number of a row is that of its line; a line that cannot be
used yields a row that says so.
"""

import ast
import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxrec.data.readers.blocks import Block, BlockBuilder, in_blocks
from jaxrec.data.readers.files import fetch, find_file, open_file

ADDRESS = 'http://snap.stanford.edu/data/amazon/productGraph/categoryFiles/'
FOLDERS = ('amazon', 'amazon2014')
DEFAULT = 'default'  # the category of a product whose metadata name none
MALFORMED = ''  # stands for the user or product of a line that is no record
NO_TIME = -1
SECONDS = 2**40  # some 35,000 years; a time beyond is in another unit, or none
_FIRST_KEY = re.compile(rb"\{'asin': '(\w+)'")


def _file_names(category: str, five_core: bool) -> tuple[str, str]:
    """What the publisher calls the reviews and the metadata of a category, unpacked."""
    return f'reviews_{category}{"_5" if five_core else ""}.json', f'meta_{category}.json'


def find_files(data_dir: str | Path, category: str, five_core: bool, fetch_them: bool = False) -> list[Path]:
    """Finds reviews and metadata placed by hand, in that order; downloads both if `fetch_them`, else a ValueError."""
    try:
        return [
            find_file(data_dir, name, FOLDERS, f'fetch {ADDRESS}{name}.gz and place it there')
            for name in _file_names(category, five_core)
        ]
    except ValueError:
        if not fetch_them:
            raise
        return download(data_dir, category, five_core)


def download(data_dir: str | Path, category: str, five_core: bool, address: str = ADDRESS) -> list[Path]:
    """Fetches reviews and metadata of a category into `data_dir`; the publisher gives no checksums."""
    names = [f'{name}.gz' for name in _file_names(category, five_core)]
    return [fetch(f'{address}{name}', Path(data_dir) / name) for name in names]


class AmazonReviews(BlockBuilder):
    """Reviews in the order of their lines: `user`, `item`, `rating` (0 where missing), `time`.

    A line that is no review has `user` `MALFORMED`, one without a usable time `time` `NO_TIME`.
    """

    COLUMNS: ClassVar[Mapping[str, type]] = {'user': str, 'item': str, 'rating': np.float32, 'time': np.int64}
    PATTERN = 'reviews_*.json*'
    MANUAL_DOWNLOAD_INSTRUCTIONS = f'Place reviews_<category>_5.json.gz from {ADDRESS} here.'

    def read(self, files: Sequence[Path]) -> Iterator[Block]:
        """Yields blocks of reviews."""
        return in_blocks(map(_review, map(parse_line, _lines(files[0]))), self.COLUMNS)


class AmazonMetadata(BlockBuilder):
    """Products in the order of their lines: `item` (`MALFORMED` where the line is no product), `category`.

    Parsing literals is slow and most products have no review: of a line whose first key is the identifier of a product
    that is not wanted, nothing else is read.
    """

    wanted: Container[str] | None = None  # products whose category counts; None for all

    COLUMNS: ClassVar[Mapping[str, type]] = {'item': str, 'category': str}
    LACKING: ClassVar[tuple[str, ...]] = (DEFAULT,)  # the columns but `item` of a product that is not wanted
    PATTERN = 'meta_*.json*'
    MANUAL_DOWNLOAD_INSTRUCTIONS = f'Place meta_<category>.json.gz from {ADDRESS} here.'

    def read(self, files: Sequence[Path]) -> Iterator[Block]:
        """Yields blocks of products."""
        return in_blocks(self._rows(files[0]), self.COLUMNS)

    def _rows(self, path: Path) -> Iterator[tuple[str, ...]]:
        for line in _lines(path):
            opening = _FIRST_KEY.match(line)
            item = opening.group(1).decode() if opening else MALFORMED
            if item and self.wanted is not None and item not in self.wanted:
                yield item, *self.LACKING
            else:
                yield self.row(parse_line(line))

    def row(self, record: dict[str, Any] | None) -> tuple[str, ...]:
        """What is kept of a line: `COLUMNS` of the record, None where the line is none."""
        return _product(record)


class AmazonTexts(AmazonMetadata):
    """As `AmazonMetadata`, with a `text` of each product: its title, brand, price and categories."""

    COLUMNS: ClassVar[Mapping[str, type]] = {**AmazonMetadata.COLUMNS, 'text': str}
    LACKING: ClassVar[tuple[str, ...]] = (DEFAULT, '')

    def row(self, record: dict[str, Any] | None) -> tuple[str, ...]:
        """The product's columns and its text."""
        return *_product(record), text_of(record or {})


def _lines(path: Path) -> Iterator[bytes]:
    with open_file(path, f'fetch it again from {ADDRESS}') as stream:
        yield from stream


def parse_line(line: bytes) -> dict[str, Any] | None:
    """A record of loose JSON: JSON, or a Python literal, which is never executed; None when the line is neither."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        try:
            record = ast.literal_eval(line.decode('utf-8-sig'))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    return record if isinstance(record, dict) else None


def _review(record: dict[str, Any] | None) -> tuple[str, str, float, int]:
    user, item = _identifier(record, 'reviewerID'), _identifier(record, 'asin')
    if record is None or not user or not item:
        return MALFORMED, MALFORMED, 0.0, NO_TIME
    time: Any = record.get('unixReviewTime')
    rating: Any = record.get('overall')
    timed = isinstance(time, int) and not isinstance(time, bool) and 0 <= time < SECONDS
    rated = isinstance(rating, int | float) and not isinstance(rating, bool) and 1 <= rating <= 5
    return user, item, float(rating) if rated else 0.0, time if timed else NO_TIME


def _product(record: dict[str, Any] | None) -> tuple[str, str]:
    item = _identifier(record, 'asin')
    if record is None or not item:
        return MALFORMED, DEFAULT
    return item, category_of(record)


def _identifier(record: dict[str, Any] | None, key: str) -> str:
    value = None if record is None else record.get(key)
    return value if isinstance(value, str) and value.split() == [value] else MALFORMED


def category_of(record: Mapping[str, Any]) -> str:
    """The last entry of a product's first path of categories; `DEFAULT` where there is none."""
    paths = record.get('categories')
    path = paths[0] if isinstance(paths, list) and paths else None
    last = path[-1] if isinstance(path, list) and path else None
    return ' '.join(last.split()) or DEFAULT if isinstance(last, str) else DEFAULT


def text_of(record: Mapping[str, Any]) -> str:
    """Title, brand, price and categories of a product in one line, for item vectors as in TIGER (arXiv 2305.05065)."""
    paths = record.get('categories')
    paths = paths if isinstance(paths, list) else []
    names = dict.fromkeys(name for path in paths if isinstance(path, list) for name in path)
    parts = [record.get('title'), record.get('brand'), record.get('price'), *names]
    known = [' '.join(str(part).split()) for part in parts if isinstance(part, str | int | float)]
    return '. '.join(part for part in known if part)
