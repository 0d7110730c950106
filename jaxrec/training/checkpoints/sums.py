"""Checksums of a checkpoint's files, in its own folder and written last; a folder without them is read unverified.

CRC-32 finds every flipped bit and every run of up to 32 damaged ones; it is no signature.
"""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

from jaxrec.files import replace_text

NAME = 'sums.json'
_CHUNK = 1 << 22  # bytes read at once, whatever the size of a table


def write_sums(folder: Path) -> None:
    """Writes size and checksum of every file of a complete checkpoint folder to its `sums.json`."""
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
    """Returns what is wrong with the first damaged file of a checkpoint folder, '' for nothing or without sums.

    Args:
      folder: of a checkpoint.
      leave_out, only: names of parts that are not checked, or that alone are; none for all.
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
