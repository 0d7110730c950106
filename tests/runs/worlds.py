"""Tiny runs of the real configs, for the tests of `experiments`."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxrec.data.sources.behaviour_source import make_loader
from jaxrec.models.can.simulated import get_config
from jaxrec.models.sim.simulated import get_config as get_sim_config
from jaxrec.runs import workdir as workdirs
from jaxrec.training.state import abstract_state

WORLD = {'users': 80, 'items': 49, 'impressions': 20, 'categories': 5, 'groups': 4, 'content_dim': 3, 'seed': 0}
# A world of long histories: 16 behaviours of interests and 6 strays among 120, none of them in the last 40.
LIFELONG = {
    'users': 40,
    'history': 120,
    'impressions': 20,
    'categories': 5,
    'themes': 5,
    'interests': 2,
    'episode': 4,
    'staples': 4,
    'cell_items': 2,
    'habits': 3,
    'near': 40,
    'seed': 0,
}
# A world of sessions, of which some 50 are of high quality.
SESSIONS = {'users': 60, 'items': 49, 'requests': 12, 'categories': 5, 'content_dim': 3, 'seed': 0}
MODEL = {
    'LR': {},
    'DNN': {'dim': 4, 'widths': (8,)},
    'DIN': {'dim': 4, 'widths': (8,), 'attention': (4,)},
    'Cartesian': {'dim': 4, 'widths': (8,)},
    'DIEN': {'dim': 4, 'widths': (8,), 'hidden': 4, 'attention': (4,)},
    'CAN-DNN': {'dim': 4, 'widths': (8,), 'dims': (4, 2), 'orders': 2},
    'CAN-DIEN': {
        'dim': 4,
        'widths': (8,),
        'dims': (4, 2),
        'orders': 2,
        'base_options': {'hidden': 4, 'attention': (4,)},
    },
    'CAN+Cartesian': {'dim': 4, 'widths': (8,), 'dims': (4, 2), 'orders': 2},
}


def tiny(row: str, cache: str | Path, train: dict[str, Any] | None = None) -> ConfigDict:
    """The config of a row of the simulated world, on a world of 80 users and 51 table rows of items.

    1,120 training examples, 35 steps an epoch.
    """
    config = get_config(row).copy_and_resolve_references()
    config.data.arguments = ConfigDict(WORLD)
    config.data.cache = str(cache)
    config.data.history_length = 6
    config.model.update(MODEL[row])
    config.features = ConfigDict({'user': ('user',), 'candidate': ('item',), 'history': ('item',)})
    if 'cartesian' in config.data:
        config.data.cartesian.pairs = (('item', 'history/item'),)
    config.train.update(
        {
            'batch_size': 32,
            'learning_rate': 0.001,
            'row_optimizer': 'row_adagrad',
            'row_learning_rate': 0.05,
            'eval_batch_size': 64,
            'epochs': 2,
            'evals_per_epoch': 2,
            'log_every': 10,
            'patience': None,
        }
    )
    config.train.update(train or {})
    config.mesh = (1, 1)
    return config


def tiny_sim(row: str, cache: str | Path, keep: int = 5) -> ConfigDict:
    """The config of a row of SIM's simulated world, on 40 users of 120 behaviours and 20 impressions."""
    config = get_sim_config(row).copy_and_resolve_references()
    config.data.arguments = ConfigDict(LIFELONG)
    config.data.candidates = 1
    config.data.cache = str(cache)
    config.data.history_length = 6
    config.model.update({'dim': 4, 'widths': (8,)})
    if config.data.lifelong is not None:
        config.data.lifelong.length = 100
        config.model.keep = keep
        if 'keep' in config.data.lifelong:
            config.data.lifelong.keep = keep
    config.train.update({'batch_size': 32, 'eval_batch_size': 64, 'epochs': 1, 'evals_per_epoch': 1})
    config.mesh = (1, 1)
    return config


def count_tables(run: Any, state: Any, evaluator: Any) -> dict[str, float]:
    """A judge, as a table names one: it looks at the run, its best step's state and what that predicted."""
    assert evaluator.compute()['auc'] > 0
    assert set(state.tables) == set(run.setup.task.tables)
    return {'tables': float(len(jax.tree.leaves(state.tables)))}


def saved(run: Any, workdir: Path) -> tuple[Any, ...]:
    """All that the last checkpoint holds, as numpy, the loader's position, and which checkpoints are kept."""
    source = run.source('train', shuffle=True)
    loader = make_loader(source)
    with workdirs.open_checkpoints(run, workdir, read_only=True) as checkpoints:
        abstract = abstract_state(run.setup, run.example(source))
        restored = checkpoints.restore(abstract, table_rows=workdirs.table_rows(run), data=loader)
        steps, best = checkpoints.steps, checkpoints.best
    position = loader.get_state()
    loader.close()
    state = restored.state.replace(rng=jax.random.key_data(restored.state.rng))
    leaves = {jax.tree_util.keystr(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(state)}
    return leaves, restored.progress, restored.metrics, position, steps, best


def assert_saved_alike(got: tuple[Any, ...], want: tuple[Any, ...]) -> None:
    """Two runs have come to the same bits."""
    assert want[0].keys() == got[0].keys() and len(want[0]) > 20
    for name, value in want[0].items():
        assert value.tobytes() == got[0][name].tobytes(), name
    assert want[1:] == got[1:]
