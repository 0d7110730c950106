"""Checksums of checkpoints: damaged ones are refused, or moved to `<step>.damaged` until a sound one is saved.

The sums are written last; a folder without them is read unverified. CRC-32 is no signature.
"""

import json
import logging
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax

from jaxrec.files import replace_text
from jaxrec.parallel.processes import gather, wait_for_all

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


log = logging.getLogger(__name__)

_REMEDY = 'delete that folder and use an earlier step, or train again'
_ASIDE = '.damaged'  # behind the step; no name that Orbax takes for a checkpoint


class DamagedCheckpoint(ValueError):
    """A checkpoint that is not as it was written; `found` names it and what is wrong."""

    found: str = ''


def damaged_checkpoint(where: Path, problem: str) -> DamagedCheckpoint:
    """The error that names a damaged checkpoint and what is wrong with it."""
    found = f'checkpoint {where} is damaged ({problem})'
    error = DamagedCheckpoint(f'{found}: {_REMEDY}')
    error.found = found
    return error


def require_metrics(folder: Path, read_only: bool) -> None:
    """Checks that the metrics of all checkpoints can be read: otherwise Orbax opens no folder.

    The newest one is moved aside, if there is another and not `read_only`. An older one may be the best.

    Raises:
      DamagedCheckpoint: naming the first that is refused.
    """
    found = found_by_first(lambda: _unreadable_metrics(folder))
    if not found:
        return
    steps, first, problem = json.loads(found)
    if read_only or steps == 1 or first != 'newest':
        where = folder / str(problem[0])
        raise damaged_checkpoint(where, problem[1])
    set_aside({folder / str(problem[0]): damaged_checkpoint(folder / str(problem[0]), problem[1]).found})


def _unreadable_metrics(folder: Path) -> str:
    """JSON of [steps, 'newest' or 'older', [step, problem]] for the oldest with such metrics, '' for none."""
    steps = sorted(int(path.name) for path in folder.glob('*') if path.name.isdigit())
    for step in steps:
        where = folder / str(step)
        problem = find_damage(where, only=('metrics',))
        try:
            json.loads((where / 'metrics' / 'metrics').read_bytes())
        except FileNotFoundError:
            pass  # nothing was measured, or the sums tell
        except ValueError as error:
            problem = problem or f'metrics/metrics cannot be read: {error}'
        if problem:
            return json.dumps([len(steps), 'newest' if step == steps[-1] else 'older', [step, problem]])
    return ''


def set_aside(damaged: Mapping[Path, str]) -> None:
    """Moves checkpoints, {step folder: what was found}, out of the way of those that will be saved."""
    for where, found in damaged.items():
        aside = where.with_name(where.name + _ASIDE)
        log.warning('%s: moved to %s', found, aside.name)
        if jax.process_index() == 0:
            shutil.rmtree(aside, ignore_errors=True)
            where.rename(aside)
    wait_for_all('damaged checkpoints')


def clear_aside(folder: Path) -> None:
    """Removes what was moved aside, once there is something better."""
    if jax.process_index() == 0:
        for aside in folder.glob(f'*{_ASIDE}'):
            log.warning('removed %s: a sound checkpoint is saved', aside)
            shutil.rmtree(aside, ignore_errors=True)


def found_by_first(look: Callable[[], str]) -> str:
    """The text that the first process finds, the same in all: one reads the files, and all act alike."""
    return gather(look() if jax.process_index() == 0 else '')[0]
