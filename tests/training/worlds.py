"""A task small enough to be done by hand, for the tests of `jaxrec.training`.

B batch, D width.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrec import embeddings as emb
from jaxrec.evaluation import CtrEvaluator
from jaxrec.parallel import make_mesh
from jaxrec.training.state import Setup

ROWS, DIM, BATCH = 19, 3, 16


@dataclasses.dataclass(frozen=True)
class Bilinear:
    """logit = (candidate row + sum of the history's rows) . w, judged by its squared error."""

    rows: int = ROWS
    dim: int = DIM

    @property
    def tables(self):
        return emb.as_specs([emb.Table('item', self.rows, self.dim, emb.normal(0.5))])

    def ids(self, batch):
        return {'item': {key: batch[key] for key in ('candidate/item', 'history/item')}}

    def given_ids(self, batch):
        return self.ids(batch)

    def init(self, rng, batch):
        return {'w': jax.random.normal(rng, (self.dim,))}, {'seen': jnp.float32(0)}

    def logits(self, params, rows):
        return (rows['item']['candidate/item'] + rows['item']['history/item'].sum(1)[:, None]) @ params['w']

    def loss(self, params, model_state, rows, batch, rng):
        error = (self.logits(params, rows) - batch['label']) * batch['valid']
        loss = jnp.sum(error**2) / batch['valid'].sum()
        seen = model_state['seen'] + batch['valid'].sum()
        return loss, ({'noise': jax.random.uniform(rng)}, {'seen': seen})

    def predict(self, params, model_state, rows, batch, rng=None):
        return {'probability': jax.nn.sigmoid(self.logits(params, rows))}

    def evaluator(self):
        return CtrEvaluator()


def make_setup(mesh=(1, 1), task=None, rate=0.1, rows=None, **options):
    """A setup of plain SGD unless `rows` says otherwise."""
    task = task or Bilinear()
    return Setup(task, optax.sgd(rate), rows or emb.sgd(rate), make_mesh(mesh), **options)


def make_batch(seed=0, size=BATCH, rows=ROWS):
    """A host batch with repeated ids, padding ids and a padded example."""
    rng = np.random.default_rng(seed)
    batch = {
        'candidate/item': rng.integers(0, rows, (size, 1)).astype(np.int32),
        'history/item': rng.integers(0, rows, (size, 2)).astype(np.int32),
        'label': rng.integers(0, 2, (size, 1)).astype(np.float32),
        'valid': np.ones((size, 1), np.float32),
        'host/group': rng.integers(0, 3, size),
        'host/event': np.arange(size)[:, None],
    }
    batch['valid'][-1] = 0
    return batch


class Loader:
    """Endless batches: `make_batch(1)`, `make_batch(2)`, ..., each passed through `spoil`."""

    def __init__(self, spoil=None):
        self.position, self.spoil = 0, spoil or (lambda position, batch: batch)

    def __iter__(self):
        return self

    def __next__(self):
        self.position += 1
        return self.spoil(self.position, make_batch(self.position))
