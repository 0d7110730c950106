"""Detects that a log has changed during a run, or between a stop and the next start.

Columns are memory-mapped: whoever rewrites their files changes what a running job reads. Each checkpoint compares
identity, size and time of change of the log's files with those at the start. That finds a file that was replaced, cut,
appended to or written in place, but not one whose time was put back. (Reading past the end of a file that was cut kills
the process by SIGBUS; the next start names the file.) A new start ignores times, because a log may be copied or
compiled again. It compares the manifest's fingerprint, sizes and checksums; of large files the checksum covers blocks
spread over them, which may miss a few changed bytes. Pixels of scene logs are not compared.
"""

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxrec.data.logs.columns import DESCRIPTION
from jaxrec.data.logs.log import Log

BLOCK, BLOCKS = 4096, 256  # of a file larger than all of them together

OTHER = 'was replaced by a file of other content'  # whose size and time are the same
_REMEDY = 'Put the log back as it was, or train on the new one in another --workdir'


class LogWatch:
    """What the files of a log were when a run began.

    Example:
      watch = LogWatch(log)
      identity = watch.check()      # at a checkpoint
      watch.require_same(identity)  # at the next start
    """

    def __init__(self, log: Log):
        """Records state and sampled checksums of the manifest and of all columns."""
        self._folder = log.folder
        stores = [store.folder for store in log.stores.values()]
        columns = [path for folder in stores for path in (folder / DESCRIPTION, *folder.glob('*.npy'))]
        files = sorted([log.folder / 'manifest.json', *columns])
        self._paths = {path.relative_to(log.folder).as_posix(): path for path in files}
        self._states = {name: _state(path) for name, path in self._paths.items()}
        sums = {name: [path.stat().st_size, sampled_checksum(path)] for name, path in self._paths.items()}
        self._identity = {'fingerprint': log.manifest['fingerprint'], 'files': sums}
        if 'names' in log.manifest:
            self._identity['names'] = log.manifest['names']

    def check(self) -> dict[str, Any]:
        """Compares all files with those of the start and returns what identifies the log, as plain JSON values.

        These are its fingerprint, and {file: [size, checksum]}. A ValueError names the first file that has changed.
        """
        for name, path in self._paths.items():
            problem = _change(self._states[name], path)
            if problem == OTHER and sampled_checksum(path) == self._identity['files'][name][1]:
                self._states[name], problem = _state(path), ''  # some file systems renumber what they hold
            if problem:
                raise ValueError(
                    f'{path} {problem} while a run was reading it; no checkpoint was written since, the last '
                    f'one is intact. {_REMEDY}'
                )
        return self._identity

    def require_same(self, saved: Mapping[str, Any]) -> None:
        """Compares the log with `saved`, what `check` returned at a checkpoint; {} compares nothing.

        A ValueError names the first file that differs.
        """
        if not saved:
            return
        old, new = saved['files'], self._identity['files']
        other = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
        _require_fingerprint(saved, self._folder, self._identity['fingerprint'], _REMEDY)
        if other:
            raise ValueError(
                f'{self._folder / other[0]} has other content than when the checkpoint was written. {_REMEDY}'
            )


def require_same_log(saved: Mapping[str, Any], log: Log) -> None:
    """Refuses a log whose names and numbers may mean something else than those that a model has learned.

    A log of other content may be compiled to the same shapes: a model would then take one item, class or relation for
    another. Scenes that are added under the same names are allowed.

    Args:
      saved: what `LogWatch.check` returned while the model learned; {} compares nothing.
      log: that the model is to be used on; another one is a ValueError.
    """
    if saved and ('names' not in saved or saved['names'] != log.manifest.get('names')):
        remedy = 'Put back the files that the log is made of, or train on the new ones in another --workdir'
        _require_fingerprint(saved, log.folder, log.manifest['fingerprint'], remedy)


def _require_fingerprint(saved: Mapping[str, Any], folder: Path, found: str, remedy: str) -> None:
    if saved['fingerprint'] != found:
        raise ValueError(
            f'{folder} is another log than the checkpoint was trained on (fingerprint {found[:12]} instead '
            f'of {saved["fingerprint"][:12]}). {remedy}'
        )


def sampled_checksum(path: Path) -> int:
    """CRC-32 of a file of up to `BLOCK * BLOCKS` bytes, of so many blocks spread over a larger one."""
    size, crc = path.stat().st_size, 0
    whole = size <= BLOCK * BLOCKS
    places = range(0, size, BLOCK) if whole else (i * (size - BLOCK) // (BLOCKS - 1) for i in range(BLOCKS))
    with path.open('rb', buffering=0) as file:
        for place in places:
            crc = zlib.crc32(os.pread(file.fileno(), BLOCK, place), crc)
    return crc


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _change(before: tuple[int, int, int], path: Path) -> str:
    """What happened to a file, '' for nothing."""
    try:
        now = _state(path)
    except OSError as error:  # gone, or of a file system that is
        return f'was removed, or cannot be seen ({error.strerror})'
    if now[1] != before[1]:
        return f'was {"cut" if now[1] < before[1] else "enlarged"} from {before[1]} to {now[1]} bytes'
    if now[2] != before[2]:
        return 'was rewritten' if now[0] == before[0] else 'was replaced'
    return OTHER if now[0] != before[0] else ''
