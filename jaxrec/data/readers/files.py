"""Published files: found where a person placed them, fetched, opened plain, as `.gz` or in a `.zip` that holds them."""

import contextlib
import gzip
import hashlib
import json
import shutil
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from jaxrec.data.logs.raw_columns import describe_source
from jaxrec.files import needs_room

PACKINGS = ('', '.gz', '.zip')


def find_file(data_dir: str | Path, name: str, folders: Sequence[str], remedy: str) -> Path:
    """Finds one published file, a plain one before a packed one.

    Args:
      data_dir: the file itself, the folder that holds it, or one that holds a folder of `folders`.
      name: what the publisher calls it, unpacked.
      folders: names that the folder of this data set may have.
      remedy: where to get the file, for the message.

    Raises:
      ValueError: naming the places it looked at and where to get the file.
    """
    root = Path(data_dir)
    names = [f'{name}{packing}' for packing in PACKINGS]
    if root.is_file() and root.name in names:
        return root
    places = [root, *(root / folder for folder in folders)]
    for path in (place / candidate for place in places for candidate in names):
        if path.is_file():
            return path
    raise ValueError(f'{name} (or .gz, .zip) is in none of {", ".join(map(str, places))}: {remedy}')


@contextlib.contextmanager
def open_file(path: Path, remedy: str) -> Iterator[IO[bytes]]:
    """Opens a file of `find_file`, unpacked; a ValueError if it is empty, cut or no archive, also while it is read."""
    with readable(str(path), remedy):
        if not path.stat().st_size:
            raise ValueError(f'{path} is empty: {remedy}')
        with contextlib.ExitStack() as stack:
            if path.suffix == '.zip':
                archive = stack.enter_context(zipfile.ZipFile(path))
                if path.stem not in archive.namelist():
                    raise ValueError(f'{path} holds no {path.stem}: {remedy}')
                yield stack.enter_context(archive.open(path.stem))
            else:
                opened = gzip.open(path) if path.suffix == '.gz' else path.open('rb')
                yield stack.enter_context(cast(IO[bytes], opened))


@contextlib.contextmanager
def readable(name: str, remedy: str) -> Iterator[None]:
    """Turns errors of compression and encoding into a ValueError that names the file."""
    try:
        yield
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f'{name} cannot be read ({error}): {remedy}') from None


def read_json(path: Path, remedy: str, mend: str = 'was it cut? Fetch it again') -> Any:
    """The content of a JSON file; a ValueError when it is missing or no JSON.

    Its message says where to get the file (`remedy`) and what to do with a broken one (`mend`).
    """
    try:
        return json.loads(path.read_text('utf-8-sig'))  # some editors put a mark before UTF-8
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f'{path} is missing: {remedy}') from None
    except IsADirectoryError:
        raise ValueError(f'{path} is a folder, not a file: {remedy}') from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is no JSON ({error}): {mend}') from None


def fetch(url: str, path: Path, md5: str | None = None) -> Path:
    """Downloads a file, completely or not at all; a ValueError when its MD5 differs from the published one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.partial')
    try:
        with needs_room(path), urllib.request.urlopen(url) as response, partial.open('wb') as file:
            shutil.copyfileobj(response, file)
        if md5 is not None:
            with partial.open('rb') as file:
                actual = hashlib.file_digest(file, 'md5').hexdigest()
            if actual != md5:
                raise ValueError(f'{url} has MD5 {actual} instead of {md5}: it was cut or replaced, try again')
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def prepared_folder(folder: str | Path, paths: Sequence[Path]) -> Path:
    """The folder `tfds/` next to a log, by the checksum of its sources, so that changed files never yield old data."""
    sums = ''.join(describe_source(path)['sha256'] for path in paths)
    prepared = Path(folder).absolute().parent / 'tfds' / hashlib.sha256(sums.encode()).hexdigest()[:16]
    prepared.mkdir(parents=True, exist_ok=True)
    return prepared
