"""Checkpoints that are not there, damaged, or of another run."""

from collections.abc import Callable
from typing import Any

import pytest

from jaxrec.runs import fit as running
from jaxrec.runs import restore as restoring
from jaxrec.runs.build import build
from tests.bad_input.worlds import Case, assert_refused, restore
from tests.runs.worlds import tiny


def damage(
    pattern: str, then: Callable[[Any], Any] = lambda world: restoring.score(world.run, world.workdir)
) -> Callable[[Any], Any]:
    """Cuts the files of the last checkpoint that match, and scores it or does something else with it."""

    def call(world: Any) -> None:
        files = [f for f in (world.workdir / 'checkpoints' / str(world.step)).glob(pattern) if f.is_file()]
        assert files
        for file in files:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        then(world)

    return call


def more_rows(world: Any) -> None:
    other = tiny('LR', world.cache)
    other.data.arguments.items = 60
    restore(world, other)


def another_learning_rate(world: Any) -> Any:
    other = world.config.copy_and_resolve_references()
    other.train.learning_rate = 0.7
    return running.fit(build(other), world.workdir)


CASES: dict[str, Case] = {
    'none': (
        lambda world: restoring.score(world.run, world.workdir / 'empty'),
        r'empty/checkpoints holds no checkpoint',
        r'Train first',
    ),
    'missing step': (
        lambda world: restore(world, step=7),
        r'no checkpoint of step 7; it has the steps \[35\]',
        r'name one of them',
    ),
    'another model': (
        lambda world: restore(world, tiny('DNN', world.cache)),
        r"35 is of another model: .* at 'params/bias'",
        r'Use the config it was trained with',
    ),
    'other table rows': (
        more_rows,
        r"\[\[51, 1\].*\[\[62, 1\].*at 'tables/item_weight'",
        r'config\.json in its workdir',
    ),
    'cut data': (damage('model/d/*'), r'checkpoints/35 is damaged', r'delete that folder and use an earlier step'),
    'cut index': (damage('model/manifest.ocdbt'), r'checkpoints/35 is damaged', r'or train again'),
    'cut description': (damage('_CHECKPOINT_METADATA'), r'checkpoints/35 is damaged', r'use an earlier step'),
    'cut optimizer, to go on from': (
        damage('optimizer/manifest.ocdbt', lambda world: running.fit(world.run, world.workdir)),
        r'no sound checkpoint left: checkpoint \S+/35 is damaged \(optimizer/manifest\.ocdbt has \d+ bytes',
        r'Put a copy of one back, or remove that folder to begin anew',
    ),
    'cut model, to start another from': (
        damage(
            'model/manifest.ocdbt',
            lambda world: running.start_from(world.run, world.workdir, world.run.example(world.run.source('train'))),
        ),
        r'checkpoints/35 is damaged \(model/manifest\.ocdbt has \d+ bytes instead of \d+',
        r'use an earlier step',
    ),
    'another config': (
        another_learning_rate,
        r'run holds a run of another config \(train\.learning_rate was 0\.001 and is 0\.7\)',
        r'use another --workdir, or remove it',
    ),
}


@pytest.mark.parametrize('name', CASES)
def test_bad_checkpoints(world, name):
    assert_refused(CASES[name], world)
