"""What the tests of bad input share: a sound run and its log, ways to spoil them, what an error must say."""

import json
import pathlib
import re
import shutil
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.runs import fit as running
from jaxrec.runs import workdir as workdirs
from jaxrec.runs.build import Experiment, build
from jaxrec.training.checkpoints import Checkpoints
from jaxrec.training.state import abstract_state
from tests.runs.worlds import tiny

# What to do with a world or a log, the place that the message names, the remedy it gives; both are patterns.
Case = tuple[Callable[[Any], Any], str, str]


def assert_refused(case: Case, spoiled: Any) -> None:
    """The call raises a ValueError that names the place and the remedy."""
    call, place, remedy = case
    with pytest.raises(ValueError) as error:
        call(spoiled)
    message = str(error.value)
    assert re.search(place, message) and re.search(remedy, message), message


class World:
    """A trained run of LR, copied for each case, and ways to spoil it."""

    def __init__(self, root: pathlib.Path):
        self.cache, self.kept = root / 'logs', root / 'run'
        self.config = tiny('LR', self.cache, {'epochs': 1, 'evals_per_epoch': 1})
        self.run = build(self.config)
        running.fit(self.run, self.kept)
        source = self.run.source('train', shuffle=True)
        self.batch, self.step = source[0], len(source)

    def at(self, folder: pathlib.Path) -> 'World':
        """The same world with a copy of its workdir and log that a case may damage."""
        copy = types.SimpleNamespace(**vars(self))
        copy.workdir, copy.log = folder / 'run', folder / 'log'
        shutil.copytree(self.kept, copy.workdir)
        shutil.copytree(self.run.log.folder, copy.log)
        return copy


def config(row: str = 'LR', /, **changes: Any) -> Callable[[Any], Any]:
    """Builds a run whose config has some values changed: section__key=value, or None to drop the section."""

    def call(world: Any) -> Experiment:
        spoiled = tiny(row, world.cache)
        for path, value in changes.items():
            *sections, key = path.split('__')
            place = spoiled
            for section in sections:
                place = place[section]
            if value is None and not sections:
                del place[key]
            else:
                with place.ignore_type():
                    place[key] = value
        run = build(spoiled)
        run.source('train', shuffle=True)
        return run

    return call


def restore(world: Any, task: ConfigDict | None = None, step: int | None = None, rows: dict | None = None) -> None:
    run = build(task or world.config)
    with Checkpoints(world.workdir / 'checkpoints', read_only=True) as checkpoints:
        abstract = abstract_state(run.setup, run.example(run.source('train')))
        checkpoints.restore(abstract, step, table_rows=rows or workdirs.table_rows(run))


def batch(call: Callable[[dict], Any], **changes: Any) -> Callable[[Any], Any]:
    """Calls with the first training batch, some keys changed (None: left out)."""

    def spoiled(world: Any) -> Any:
        renamed = {key.replace('__', '/'): value for key, value in changes.items()}
        changed = {k: v(world.batch[k]) if callable(v) else v for k, v in renamed.items()}
        return call({k: v for k, v in (world.batch | changed).items() if v is not None})

    return spoiled


def other_columns(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], Any]:
    """Changes an event column of the log on disk, then opens it as the run does."""

    def call(world: Any) -> Any:
        save(world.log / 'events' / f'{name}.npy', change)
        return BehaviourLog(world.log)

    return call


def edit_json(path: pathlib.Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def save(path: pathlib.Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    np.save(path, change(np.load(path)))
