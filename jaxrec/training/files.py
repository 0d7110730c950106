"""Files that appear whole or not at all, and what is said when a disk is full."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def replace_text(path: Path, text: str) -> None:
    """Writes a text file that appears whole or not at all, in the place of one that may be there."""
    partial = path.with_name(f'.{path.name}.partial')
    partial.write_text(text)
    os.replace(partial, path)


def is_full(error: BaseException) -> bool:
    """Whether an error, of whatever library, says that a file could not grow."""
    return any(os.strerror(code) in str(error) for code in _FULL)


def no_room(what: str, folder: Path, error: BaseException, needed: int | None = None) -> ValueError:
    """The error that a full disk becomes.

    Args:
      what: could not be written.
      folder: where.
      error: what the system said.
      needed: bytes, if known.

    Returns:
      A ValueError that names the folder and the bytes that are needed and free.
    """
    cause = next(os.strerror(code) for code in _FULL if os.strerror(code) in str(error))
    free = shutil.disk_usage(folder).free
    takes = '' if needed is None else f'takes about {_megabytes(needed)} and '
    return ValueError(
        f'{what} could not be written ({cause}): it {takes}has {_megabytes(free)} free in {folder}. What was '
        'saved before is intact: make room, or lift the limit, and give the same command again'
    )


def _megabytes(size: Any) -> str:
    return f'{size / 1e6:,.1f} MB'
