"""A tiny world of sessions with a generator and a reward model on it, for the tests of alignment.

30 items of 2 levels; sessions of 2 items, histories of 4. What compiles is made once a process.
"""

import functools
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxrec import embeddings as emb
from jaxrec.data.sessions.log import SessionLog
from jaxrec.data.sources.session_source import SessionSource
from jaxrec.models.onerec.alignment.mining import Miner
from jaxrec.models.onerec.alignment.task import AlignTask, Preference
from jaxrec.models.onerec.options import read_network
from jaxrec.models.onerec.reward import network as reward
from jaxrec.models.onerec.reward.scorer import Judge
from jaxrec.models.onerec.task import BIASES, CODES, SessionTask
from jaxrec.parallel import make_mesh
from jaxrec.runs.sources import log_of
from jaxrec.training.state import Setup, TrainState, abstract_state
from jaxrec.training.step import make_train_step

KNOBS = {
    'users': 60, 'items': 30, 'requests': 4, 'least': 2, 'most': 4, 'categories': 5, 'user_groups': 3,
    'item_groups': 4, 'interests': 2, 'content_dim': 4, 'shortest': 4, 'longest': 9, 'follow_bias': -1.0,
    'like_bias': -1.0,
}  # fmt: skip
COLUMNS = ('item', 'category')
FEATURES = {'user': (), 'candidate': COLUMNS, 'history': COLUMNS}
SPLIT = {'kind': 'user_holdout', 'validation': 0.2, 'test': 0.2}
NETWORK = {
    'levels': (6, 5), 'history': 4, 'session': 2, 'width': 8, 'heads': 2, 'encoder_layers': 1,
    'decoder_layers': 1, 'hidden': 12, 'experts': 2, 'active': 1, 'expert_hidden': 8, 'bias_rate': 0.01,
    'dropout': 0.1,
}  # fmt: skip
REWARD = {'dim': 4, 'width': 8, 'heads': 2, 'attention': (4,), 'towers': (6,), 'init_std': 0.5}
CALIBRATION = ((1.5, 0.2), (0.7, -0.1), (1.0, 0.4), (0.9, 0.0))
BEAMS, LOSERS, CHUNK, BATCH, PAIRS, WEIGHT = 6, 2, 3, 16, 3, 256.0


class World(NamedTuple):
    """A generator, no parameter of which is 0, and what aligns it."""

    config: ConfigDict  # of the generator
    log: SessionLog
    task: SessionTask
    params: Any
    state: Any
    judge: Judge
    judging: TrainState
    source: SessionSource
    miner: Miner
    setup: Setup  # of the alignment
    step: Any


@functools.cache
def world() -> World:
    """The world, in a temporary folder."""
    config = make_config(Path(tempfile.mkdtemp(prefix='onerec')))
    log: Any = log_of(config)
    codes = np.stack(np.divmod((np.arange(log.schema['item'].rows) - 2) % 30, 5), -1).astype(np.int32)
    codes[:2] = -1
    task, source = SessionTask(read_network(NETWORK), codes), make_source(log)
    judging = make_judge(log)
    miner = Miner(task, source, judging[0], beams=BEAMS, losers=LOSERS, chunk=CHUNK)
    # At most one pair of a step is in doubt: weight enough to be seen beside the sessions.
    setup = make_setup(AlignTask(task, Preference('ipa', weight=WEIGHT), PAIRS, BATCH // PAIRS))
    state = drawn(setup, source, 0.4)
    step = make_train_step(setup)
    return World(
        config, log, task, state.params, state.model_state, *judging, source, miner, setup, step
    )  # fmt: skip


def make_config(cache: Path) -> ConfigDict:
    """The config that a generator's workdir would hold, so far as data are concerned."""
    return ConfigDict(
        {
            'task': 'jaxrec.models.onerec:make_task',
            'features': FEATURES,
            'data': {
                'log': 'jaxrec.data.simulators.sessions:simulate',
                'arguments': KNOBS,
                'cache': str(cache),
                'source': 'sessions',
                'session': 2,
                'quality': None,
                'history_length': 4,
                'split': SPLIT,
            },
            'train': {'monitor': 'ntp', 'maximize': False},
            'seed': 1,
        }
    )


def make_source(log, **changes):
    arguments = {
        'features': FEATURES, 'split': SPLIT, 'part': 'train', 'batch_size': BATCH, 'history_length': 4,
        'items': 2, 'quality': None, 'epochs': 2, 'seed': 1,
    }  # fmt: skip
    return SessionSource(log.folder, label={}, **arguments | changes)


def make_setup(task, mesh=(1, 1)):
    return Setup(task, optax.adam(1e-2), emb.row_adagrad(0.1), make_mesh(mesh))


def make_judge(log, mesh=(1, 1)):
    task = reward.make_task({**REWARD, 'features': FEATURES}, log.schema)
    setup = make_setup(task, mesh)
    state = drawn(setup, make_source(log, mode='reward'), 0.5)
    return Judge(setup, state, log, calibration=CALIBRATION, label={}, history_length=4), state


def drawn(setup, source, scale):
    """A state whose parameters and tables are all random and whose optimizers know nothing yet.

    It is not what `init_state` draws, but needs no program to be compiled.
    """
    shapes = abstract_state(setup, sent(source[0]))
    rng = np.random.default_rng(0)
    place = lambda value, x: jax.device_put(np.asarray(value, x.dtype), x.sharding)
    normal = lambda x: place(scale * rng.normal(size=x.shape), x)
    zeros = lambda x: place(np.zeros(x.shape), x)
    state = shapes.model_state
    return TrainState(
        step=zeros(shapes.step),
        params=jax.tree.map(normal, shapes.params),
        model_state=_model_state(setup, state, place, zeros),
        tables=jax.tree.map(normal, shapes.tables),
        opt_state=jax.tree.map(zeros, shapes.opt_state),
        row_opt_state=jax.tree.map(zeros, shapes.row_opt_state),
        rng=jax.device_put(jax.random.key(0), shapes.rng.sharding),
        scratch={},
    )


def _model_state(setup, state, place, zeros):
    if not state:
        return {}
    held = {CODES: place(setup.task.base.codes, state[CODES])}
    return held | ({BIASES: zeros(state[BIASES])} if BIASES in state else {})


def sent(batch):
    """What goes to the devices of a batch."""
    return {key: x for key, x in batch.items() if not key.startswith('host/')}
