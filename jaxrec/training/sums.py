"""Checksums of a checkpoint's files, and what is said when a disk is full.

The sums lie in the checkpoint's own folder, written when everything else in it is and moved in place whole: a
folder without them was left by a run that ended in that moment, or is of an older version, and is read
unverified. CRC-32 finds every flipped bit and every run of up to 32 damaged ones; it is no signature.
"""

import errno
import json
import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAME = 'sums.json'
_CHUNK = 1 << 22  # bytes read at once, whatever the size of a table
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def write_sums(folder: Path) -> None:
    """Writes size and checksum of every file in a folder to its `sums.json`.

    Args:
      folder: of a checkpoint that nobody writes any longer.
    """
    paths = sorted(path for path in folder.rglob('*') if path.is_file() and path.name != NAME)
    sums = {path.relative_to(folder).as_posix(): [path.stat().st_size, checksum(path)] for path in paths}
    replace_text(folder / NAME, json.dumps(sums, indent=0))


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    crc, buffer = 0, bytearray(_CHUNK)
    with path.open('rb', buffering=0) as file:
        while read := file.readinto(buffer):
            crc = zlib.crc32(memoryview(buffer)[:read], crc)
    return crc


def find_damage(folder: Path, leave_out: Sequence[str] = (), only: Sequence[str] = ()) -> str:
    """Compares a folder with its sums.

    Args:
      folder: of a checkpoint.
      leave_out: names of its parts that nobody will read.
      only: names of the parts that are looked at; none for all.

    Returns:
      What is wrong with the first damaged file, '' for nothing. A folder without sums is not looked at.
    """
    try:
        sums = json.loads((folder / NAME).read_text())
        listed = {path: (int(size), int(crc)) for path, (size, crc) in sums.items()}
    except FileNotFoundError:
        return ''
    except (AttributeError, OSError, TypeError, ValueError) as error:
        return f'{NAME} cannot be read: {error}'
    looked_at = lambda part: part not in leave_out and (part in only or not only)
    wanted = {path: sums for path, sums in listed.items() if looked_at(path.split('/')[0])}
    for path, (size, _) in wanted.items():  # of all files before any is read
        if not (folder / path).is_file():
            return f'{path} is missing'
        if (found := (folder / path).stat().st_size) != size:
            return f'{path} has {found} bytes instead of {size}'
    for path, (_, crc) in wanted.items():
        try:
            if checksum(folder / path) != crc:
                return f'{path} does not have the checksum it was written with'
        except OSError as error:  # a disk that fails says so here
            return f'{path} cannot be read: {error}'
    return ''


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
