"""What becomes of damaged checkpoints: refused, or moved aside for the one before, never silently.

A folder that was moved aside is called `<step>.damaged`, and removed when a sound checkpoint has been saved.
"""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import jax

from jaxrec.parallel.processes import gather, wait_for_all

log = logging.getLogger(__name__)

_REMEDY = 'delete that folder and use an earlier step, or train again'
_ASIDE = '.damaged'  # behind the step; no name that Orbax takes for a checkpoint


class DamagedCheckpoint(ValueError):
    """A checkpoint that is not as it was written.

    Attributes:
      found: which, and what is wrong with it.
    """

    found: str = ''


def damaged_checkpoint(where: Path, problem: str) -> DamagedCheckpoint:
    """The error that names a damaged checkpoint and what is wrong with it."""
    found = f'checkpoint {where} is damaged ({problem})'
    error = DamagedCheckpoint(f'{found}: {_REMEDY}')
    error.found = found
    return error


def require_metrics(folder: Path, read_only: bool) -> None:
    """Sees to it that the metrics of all checkpoints can be read: with others, Orbax opens no folder.

    Args:
      folder: where the step folders stand.
      read_only: refuse; otherwise a checkpoint is moved aside, unless it is the only one.

    Raises:
      DamagedCheckpoint: naming the first that is refused.
    """
    steps = sorted(path for path in folder.glob('*') if path.name.isdigit())
    for step in steps:
        try:
            json.loads((step / 'metrics' / 'metrics').read_bytes())
        except FileNotFoundError:
            continue
        except ValueError as error:
            problem = damaged_checkpoint(step, f'metrics/metrics cannot be read: {error}')
            if read_only or len(steps) == 1:
                raise problem from None
            set_aside({step: problem.found})


def set_aside(damaged: Mapping[Path, str]) -> None:
    """Moves checkpoints out of the way of those that will be saved.

    Args:
      damaged: {step folder: what was found}.
    """
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
    """What the first process finds, told to all: one reads the files, and all act alike.

    Args:
      look: returns a text.

    Returns:
      The text.
    """
    return gather(look() if jax.process_index() == 0 else '')[0]
