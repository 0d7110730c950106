"""Files that appear complete or not at all, and the message for a full disk."""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
# What numpy says of an array that found no room; the system's own word is lost there.
_CUT = re.compile(r'\d+ requested and \d+ written')


def replace_text(path: Path, text: str) -> None:
    """Writes a text file that appears whole or not at all, in the place of one that may be there.

    Raises:
      ValueError: the disk is full; the file that was there is untouched.
    """
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Writes a file as `replace_text` does."""
    partial = path.with_name(f'.{path.name}.partial')
    with needs_room(path):
        try:
            partial.write_bytes(content)
            os.replace(partial, path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def needs_room(path: Path) -> Iterator[None]:
    """Turns a full disk into a ValueError that names the file or folder that was being made."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise no_room(str(path), path.parent, error) from error


def is_full(error: BaseException) -> bool:
    """Whether an error, of whatever library, says that a file could not grow."""
    return full_cause(error) is not None


def full_cause(error: BaseException) -> str | None:
    """The words in which an error says that a file could not grow, None for another error."""
    known = next((os.strerror(code) for code in _FULL if os.strerror(code) in str(error)), None)
    cut = _CUT.search(str(error))
    return known or (cut and cut.group())


def no_room(what: str, folder: Path, error: BaseException, needed: int | None = None) -> ValueError:
    """The ValueError that a full disk becomes, with the folder and the bytes that are needed and free.

    Args:
      what: could not be written.
      folder: where; one that could not even be made stands for the one above it.
      error: what the system said.
      needed: bytes, if known.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    takes = '' if needed is None else f'takes about {_megabytes(needed)} and '
    free = shutil.disk_usage(folder).free
    return ValueError(
        f'{what} could not be written ({full_cause(error)}): it {takes}has {_megabytes(free)} free in {folder}. What '
        'was saved before is intact: make room, or lift the limit, and give the same command again'
    )


def _megabytes(size: Any) -> str:
    return f'{size / 1e6:,.1f} MB'
