"""Workdirs: who may write there, the config of the run that is there, and its checkpoints."""

import fcntl
import functools
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import jax
from ml_collections import ConfigDict

from jaxrec.files import needs_room, replace_text
from jaxrec.options import plain, read_options
from jaxrec.parallel.processes import gather, wait_for_all
from jaxrec.runs.build import TRAIN_OPTIONS, Experiment
from jaxrec.training.checkpoints import Checkpoints

log = logging.getLogger(__name__)


@functools.cache
def read_config(path: str) -> ConfigDict:
    """Reads the `config.json` that a run was trained with.

    Raises:
      ValueError: there is none.
    """
    file = Path(path)
    if not file.exists():
        raise ValueError(f'{file} is missing: give a workdir that `jaxrec train` has written')
    return ConfigDict(json.loads(file.read_text()))


def table_rows(run: Experiment) -> dict[str, int]:
    """{table: V} of a run's task."""
    return {name: spec.rows for name, spec in run.setup.task.tables.items()}


@contextmanager
def open_checkpoints(run: Experiment, workdir: Path, read_only: bool = False) -> Iterator[Checkpoints]:
    """Opens the checkpoints of a workdir as the run's config says."""
    t = run.train
    folder = workdir / 'checkpoints'
    kept = t['keep'], t['monitor'], t['maximize']
    with Checkpoints(folder, *kept, read_only, t['save_timeout']) as checkpoints:
        yield checkpoints


def own_checkpoints(workdir: Path) -> Checkpoints:
    """The checkpoints of a run, to be read, of which the best is so by the metric that the run monitors."""
    config = read_config(str(workdir / 'config.json'))
    t = read_options(config.get('train', {}), 'train', **TRAIN_OPTIONS)
    return Checkpoints(workdir / 'checkpoints', t['keep'], t['monitor'], t['maximize'], True)


@contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Keeps other processes out of a workdir by its `.lock`; the system releases it when this process ends.

    Raises:
      ValueError: another process holds it, or the disk is full.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / '.lock').open('ab+', buffering=0) as file:  # closing has nothing left to write
        if jax.process_index() == 0:
            _lock(file, workdir)
        yield


def _lock(file: BinaryIO, workdir: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().decode().strip() or 'unknown'
        raise ValueError(
            f'{workdir} is in use by another run (process {holder}): wait until it ends, or give another --workdir'
        ) from None
    except OSError as error:  # some network file systems have no locks
        log.warning('%s cannot be locked (%s): see that no second run writes there', workdir, error)
    with needs_room(workdir / '.lock'):
        file.truncate(0)
        file.write(f'{os.getpid()}\n'.encode())


def claim_together(workdir: Path, run_config: ConfigDict) -> None:
    """Claims a workdir for all processes of a run: the first writes, the others check that it is theirs too.

    Raises:
      ValueError: it holds a run of another config, or a process does not see what the first has written.
    """
    first = jax.process_index() == 0
    if first:
        claim(workdir, run_config)
    wait_for_all('workdir claimed')
    seen = gather((workdir / 'config.json').exists())
    if not all(seen):
        raise ValueError(
            f'{workdir} of process 0 is not seen by process {seen.index(False)}: give a --workdir on a file '
            'system that all processes share'
        )
    if not first:
        claim(workdir, run_config)


def claim(workdir: Path, run_config: ConfigDict) -> None:
    """Writes the config into an empty workdir, or checks that the one there is the same."""
    path, text = workdir / 'config.json', json.dumps(plain(run_config.to_dict()), indent=1, sort_keys=True)
    if path.exists() and path.read_text() != text:
        old, new = (dict(_leaves(json.loads(config))) for config in (path.read_text(), text))
        differs = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        shown = ', '.join(f'{key} was {old.get(key)!r} and is {new.get(key)!r}' for key in differs[:3])
        raise ValueError(f'{workdir} holds a run of another config ({shown}); use another --workdir, or remove it')
    if not path.exists():  # of several processes the others may be reading it
        replace_text(path, text)


def _leaves(config: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Yields ('section.key', value) for every value of a nested config."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield from _leaves(value, f'{path}.{key}' if path else key)
    else:
        yield path, config
