"""The list of bad input as a whole: long, spread, and sound where nothing is spoiled."""

import numpy as np

from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.parallel import put_batch
from jaxrec.runs import restore as restoring
from tests.bad_input import test_checkpoints, test_columns, test_configs, test_files, test_ids, test_shapes
from tests.bad_input.worlds import batch, config, restore


def test_the_list_is_long_and_spread():
    kinds = [test_checkpoints, test_columns, test_configs, test_files, test_ids, test_shapes]
    assert sum(len(kind.CASES) for kind in kinds) >= 30
    assert all(len(kind.CASES) >= 4 for kind in kinds)


def test_the_world_itself_is_sound(world):
    """What the cases spoil works unspoiled; otherwise they would show nothing."""
    assert len(BehaviourLog(world.log)) == 1600
    config()(world)
    restore(world)
    batch(put_batch)(world)
    batch(test_shapes.evaluator_add)(world)
    test_ids.ids(3)(world)
    assert np.isfinite(restoring.score(world.run, world.workdir)[0].compute()['auc'])
