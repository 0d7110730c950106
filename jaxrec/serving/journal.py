"""A journal of new events: fixed-width records with a checksum each, appended and never changed.

The file is a header of one line of JSON, then records. An append is one write, flushed to the disk before it is
acknowledged unless `sync` is off. An unfinished write of a crash is cut off, and counted, when it is opened for
writing.

Letters: E records.
"""

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

FORMAT, VERSION = 'jaxrec.behaviour_journal', 1
_CHECK = 'check'


class Journal:
    """An open journal.

    Attributes:
      events: [E] of `dtype`, those it held when it was opened.
      torn: bytes of a torn tail that were left out when it was opened.
    """

    def __init__(self, path: str | Path, dtype: np.dtype, about: str, writable: bool = True, sync: bool = True):
        """Opens a journal, or begins one where there is none.

        Args:
          path: of the file.
          dtype: of the events, packed.
          about: what the events belong to; a journal of anything else is refused.
          writable: cut a torn tail and take new records; otherwise the file is left as it is.
          sync: flush every append to the disk before it returns.

        Raises:
          ValueError: a file of another format, or a damaged one.
        """
        self.path, self.dtype, self._sync = Path(path), np.dtype(dtype), sync
        self._record = np.dtype([('event', self.dtype), (_CHECK, '<u4')])
        self._header = {'format': FORMAT, 'version': VERSION, 'about': about, 'fields': self.dtype.descr}
        self._file: Any = None
        if writable and not self.path.exists():
            write_whole(self.path, _line(self._header))
        self._start = self._check_header()
        self.events, end = self._read()
        self._count = len(self.events)
        self.torn = self.path.stat().st_size - end
        if writable:
            self._file = self.path.open('r+b', buffering=0)
            self._file.truncate(end)
            self._file.seek(end)

    def _check_header(self) -> int:
        try:
            with self.path.open('rb') as file:
                line = file.readline(1 << 16)
            found = json.loads(line)
            described = found['format'], found['version']
        except FileNotFoundError:
            raise ValueError(f'{self.path} is missing: open the index for writing, or build it again') from None
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ValueError(f'{self.path} is no journal ({error!r}): move it away') from None
        if described != (FORMAT, VERSION):
            raise ValueError(
                f'{self.path} is {described[0]} version {described[1]}, this library reads {FORMAT} version '
                f'{VERSION}: move it away, or use the version that wrote it'
            )
        if line != _line(self._header):
            raise ValueError(
                f'{self.path} is the journal of another index (about {found.get("about")!r}, fields '
                f'{found.get("fields")}): move it away, or open the index it belongs to'
            )
        return len(line)

    def _read(self) -> tuple[np.ndarray, int]:
        """The events of all sound records, and where they end."""
        size, width = self.path.stat().st_size - self._start, self._record.itemsize
        records = np.fromfile(self.path, self._record, size // width, offset=self._start)
        packed, wide = np.ascontiguousarray(records['event']).tobytes(), self.dtype.itemsize
        checks = np.fromiter(
            (zlib.crc32(packed[n * wide : (n + 1) * wide], n) for n in range(len(records))), np.uint32, len(records)
        )
        sound = checks == records[_CHECK]
        whole = len(records) if sound.all() else int(np.argmin(sound))
        if sound[whole:].any():
            place = self._start + whole * width
            raise ValueError(
                f'{self.path} is damaged at byte {place}: record {whole} of {len(records)} fails its '
                'checksum and later ones do not, so it is no torn tail. Restore the file from a copy, or cut '
                f'it to {place} bytes and send the later events again'
            )
        return records['event'][:whole], self._start + whole * width

    def append(self, events: np.ndarray) -> None:
        """Writes events [n] of `dtype`.

        Raises:
          ValueError: the journal is open for reading only.
          OSError: the write failed; the part that was written is removed.
        """
        if self._file is None:
            raise ValueError(f'{self.path} is open for reading only: open the index with writable=True')
        records = np.zeros(len(events), self._record)
        records['event'] = events
        packed = np.ascontiguousarray(records['event'])
        # A checksum begins from its record's place: a record that stands elsewhere is not taken for sound.
        records[_CHECK] = [zlib.crc32(event.tobytes(), self._count + n) for n, event in enumerate(packed)]
        before, data = self._file.tell(), memoryview(records.tobytes())
        try:
            while data:
                data = data[self._file.write(data) :]
            if self._sync:
                os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(before)
            self._file.seek(before)
            raise
        self._count += len(events)

    def close(self) -> None:
        """Flushes to the disk and closes; further appends are refused."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def _line(header: dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True).encode() + b'\n'


def partial_name(name: str) -> str:
    """What a file is called until it is whole."""
    return f'.{name}.partial'


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all, whatever happens meanwhile."""
    partial = path.with_name(partial_name(path.name))
    with partial.open('wb') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Flushes a file, or a folder's own entries, to the disk: power may fail once a rename is done."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
