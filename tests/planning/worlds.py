"""Tiny worlds to plan: CAN with two tables, and OneRec with experts."""

import jax
import numpy as np
import optax

from jaxrec import embeddings as emb
from jaxrec.models.onerec.options import read_network
from jaxrec.models.onerec.task import SessionTask
from jaxrec.parallel import make_mesh
from jaxrec.planning.shapes import World
from jaxrec.training.state import Setup
from jaxrec.training.step import make_train_step
from tests.models import worlds

FEATURES = {'user': ('user',), 'candidate': ('item',), 'history': ('item',)}
NETWORK = {
    'levels': (6, 5), 'history': 4, 'session': 2, 'width': 8, 'heads': 2, 'encoder_layers': 2,
    'decoder_layers': 2, 'hidden': 12, 'experts': 4, 'expert_hidden': 16, 'scan': True, 'tied': True,
}  # fmt: skip
ITEMS, BATCH = 30, 16


def of_setup(setup, batch):
    shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in batch.items() if not k.startswith('host/')}
    return World(setup, shapes, make_train_step, 'train')


def can_world(size=BATCH, rows=None, **options):
    task = worlds.make_task('CAN-DNN', FEATURES, **options)
    return of_setup(worlds.make_setup(task), worlds.make_batch(size, 2, 4, FEATURES))


def onerec_world(size=BATCH, **options):
    codes = np.stack(np.divmod(np.arange(ITEMS), 5), -1).astype(np.int32)
    task = SessionTask(read_network(NETWORK | options), codes)
    setup = Setup(task, optax.adam(1e-2), emb.row_adagrad(0.1), make_mesh((1, 1)))
    batch = {
        'history/item': np.zeros((size, 4), np.int32), 'history/length': np.zeros(size, np.int32),
        'target/item': np.zeros((size, 2), np.int32), 'valid': np.ones((size, 2), np.float32),
    }  # fmt: skip
    return of_setup(setup, batch)
