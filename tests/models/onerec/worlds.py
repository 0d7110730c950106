"""A tiny world of sessions with a generator and a reward model on it, for the tests of alignment.

30 items of 2 levels; sessions of 2 items, histories of 4.
"""

import jax
import numpy as np
import optax

from jaxrec import embeddings as emb
from jaxrec.data.sessions.source import SessionSource
from jaxrec.data.simulators.sessions import simulate
from jaxrec.models.onerec import reward
from jaxrec.models.onerec.judge import Judge
from jaxrec.models.onerec.options import read_network
from jaxrec.models.onerec.task import SessionTask
from jaxrec.parallel import make_mesh
from jaxrec.training.state import Setup, init_state

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
    'decoder_layers': 1, 'hidden': 12, 'experts': 0,
}  # fmt: skip
REWARD = {'dim': 4, 'width': 8, 'heads': 2, 'attention': (4,), 'towers': (6,), 'init_std': 0.5}
CALIBRATION = ((1.5, 0.2), (0.7, -0.1), (1.0, 0.4), (0.9, 0.0))


def make_log(folder):
    return simulate(folder, **KNOBS)


def make_source(log, **changes):
    arguments = {
        'features': FEATURES, 'split': SPLIT, 'part': 'train', 'batch_size': 16, 'history_length': 4,
        'items': 2, 'quality': None, 'epochs': 2, 'seed': 1,
    }  # fmt: skip
    return SessionSource(log.folder, **arguments | changes)


def make_setup(task):
    return Setup(task, optax.adam(1e-2), emb.row_adagrad(0.1), make_mesh((1, 1)))


def make_generator(log):
    """(task, params with no zeros among them, model state)."""
    rows = log.schema['item'].rows
    codes = np.stack(np.divmod((np.arange(rows) - 2) % 30, 5), -1).astype(np.int32)
    codes[:2] = -1
    task = SessionTask(read_network(NETWORK), codes)
    params, state = jax.jit(task.init)(jax.random.key(0), _sent(make_source(log)[0]))
    shake = lambda x: x * 1.5 + 0.3 * np.random.default_rng(x.size).normal(size=x.shape).astype(np.float32)
    return task, jax.tree.map(shake, params), state


def make_judge(log):
    """(judge, its state)."""
    task = reward.make_task({**REWARD, 'features': FEATURES}, log.schema)
    setup = make_setup(task)
    state = init_state(setup, _sent(make_source(log, mode='reward')[0]), 3)
    return Judge(setup, state, log, calibration=CALIBRATION, label={}, history_length=4), state


def _sent(batch):
    return {key: x for key, x in batch.items() if not key.startswith('host/')}
