"""What all simulators share: the checks of their knobs, and a log that is simulated once.

A world is a frozen dataclass of knobs, each with a default; `seed` is one of them, unless it is the log's.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from jaxrec.data.logs.columns import ColumnStore, write_columns
from jaxrec.data.logs.log import Log
from jaxrec.options import read_options

AnyLog = TypeVar('AnyLog', bound=Log)
AnyTruth = TypeVar('AnyTruth')
AnyWorld = TypeVar('AnyWorld')
Parts = Mapping[str, tuple[str, ...]]  # {part: names of the truth's arrays of one length}


def defaults_of(world: Any) -> dict[str, Any]:
    """{knob: default} of a world's class or of one world."""
    return {field.name: field.default for field in dataclasses.fields(world)}


def make_world(kind: type[AnyWorld], knobs: Mapping[str, Any]) -> AnyWorld:
    """Makes a world of some knobs, the others at their defaults; a ValueError names an unknown or wrong one."""
    return kind(**read_options(knobs, 'world', **defaults_of(kind)))


def read_world(folder: str | Path, kind: type[AnyWorld], what: str) -> AnyWorld:
    """Reads the knobs of a simulated log; a ValueError if it is no simulated `what`."""
    path = truth_folder(folder) / 'world.json'
    if not path.is_file():
        raise ValueError(f'{path} is missing, so {folder} is no simulated {what}')
    return kind(**json.loads(path.read_text()))


def check_knobs(world: Any, shares: tuple[str, ...] = ()) -> None:
    """Checks the knobs of a world: types, counts of at least 1, shares, the seed; a ValueError names the knob."""
    defaults = defaults_of(world)
    read_options(dataclasses.asdict(world), 'world', **defaults)  # for its check of types
    for name, default in defaults.items():
        value = getattr(world, name)
        counts = isinstance(default, int) and not isinstance(default, bool) and name != 'seed'
        if counts and value < 1:
            raise ValueError(f'world.{name} = {value}; at least 1 is needed')
    if 'seed' in defaults and world.seed < 0:
        raise ValueError(f'world.seed = {world.seed}; a seed is 0 or more')
    for name in shares:
        if not 0 <= getattr(world, name) <= 1:
            raise ValueError(f'world.{name} = {getattr(world, name)} is a share, between 0 and 1')


def truth_folder(folder: str | Path) -> Path:
    """The folder of a simulated log's ground truth: `<folder>-truth`."""
    return Path(f'{folder}-truth')


def truth_columns(truth: Any, parts: Parts) -> dict[str, dict[str, Any]]:
    """Sorts the arrays of a ground truth by their parts, as `compile_once` writes them."""
    return {part: {name: getattr(truth, name) for name in names} for part, names in parts.items()}


def read_truth(folder: str | Path, kind: Callable[..., AnyTruth], parts: Parts) -> AnyTruth:
    """Reads the ground truth of the simulated log in `folder`, by raw numbers; a ValueError if there is none."""
    stores = {part: ColumnStore(truth_folder(folder) / part) for part in parts}
    return kind(**{name: stores[part][name] for part, names in parts.items() for name in names})


def compile_once(
    folder: str | Path,
    world: Any,
    make: Callable[[], tuple[AnyLog, Mapping[str, Mapping[str, Any]]]],
    kind: type[AnyLog],
) -> AnyLog:
    """Compiles the log of a world; a log of the same world is opened, not simulated again.

    Args:
      folder: of the log; its ground truth and the knobs, as `world.json`, go to `truth_folder(folder)`.
      world: the knobs.
      make: simulates the world and compiles its log: the log and {part: columns} of the ground truth.
      kind: of the log.

    Raises:
      ValueError: the folder holds anything else.
    """
    folder, beside = Path(folder), truth_folder(folder)
    description = json.dumps(dataclasses.asdict(world), indent=1, sort_keys=True)
    made = beside / 'world.json'
    if (folder / 'manifest.json').exists() and made.exists() and made.read_text() == description:
        return kind(folder)
    log, truth = make()
    for part, columns in truth.items():
        write_columns(beside / part, columns)
    made.write_text(description)
    return log
