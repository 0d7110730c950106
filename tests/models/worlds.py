"""A tiny log's schema, batches for it, and tasks with their state: what the tests of all CTR models share.

B batch, C candidates, L history, LONG behaviours before it, W values of a multi-valued column.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
import optax

from jaxrec import embeddings as emb
from jaxrec.configurable import resolve
from jaxrec.data.logs.schema import Column
from jaxrec.models.ctr import CtrTask
from jaxrec.parallel import make_mesh
from jaxrec.training.state import Setup

SCHEMA = {
    'user': Column('categorical', 'user', 20, 1),
    'item': Column('categorical', 'item', 30, 1),
    'category': Column('categorical', 'category', 7, 1),
    'tags': Column('multi', 'tag', 9, 3),
    'favourite': Column('categorical', 'category', 7, 1),  # shares the vocabulary of category
    'price': Column('numeric', None, 0, 1),
    'itemxitem': Column('categorical', 'itemxitem', 40, 1),  # pair ids, as `data.cartesian` makes them
    'categoryxitem': Column('categorical', 'categoryxitem', 12, 1),
}
IDS = ('item', 'category')
FEATURES: dict[str, tuple[str, ...]] = {'user': ('user',), 'candidate': IDS, 'history': IDS}
RICH: dict[str, tuple[str, ...]] = {
    'user': ('user', 'favourite'),
    'candidate': ('item', 'category', 'tags', 'price'),
    'history': ('item', 'category', 'tags', 'price'),
}
# Each side; the first shares its induction table with the second and its feed table with the third.
PAIRS = (('item', 'history/item'), ('item', 'user/user'), ('category', 'candidate/item'))
DIEN: dict[str, Any] = {'hidden': 5, 'attention': (6, 4)}
LONG = 9
SIM: dict[str, Any] = {
    'dim': 4,
    'widths': (8, 4),
    'keep': 3,
    'head_dim': 3,
    'time_gap': 2,
    'base_options': {'attention': (6, 4)},
    'din_widths': (5, 4),
}
MIMN: dict[str, Any] = {'slots': 3, 'hidden': 5, 'channels': 2, 'attention': (6, 4)}
CAN: dict[str, Any] = {'dim': 4, 'widths': (8, 4), 'dims': (4, 3, 2), 'orders': 2}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    'LR': ('jaxrec.models.baselines.lr:make_task', {}),
    'DNN': ('jaxrec.models.baselines.dnn:make_task', {'dim': 4, 'widths': (8, 4)}),
    'DIN': ('jaxrec.models.baselines.din:make_task', {'dim': 4, 'widths': (8, 4), 'attention': (6, 4)}),
    'DIEN': ('jaxrec.models.baselines.dien:make_task', {'dim': 4, 'widths': (8, 4), **DIEN}),
    'MIMN': ('jaxrec.models.baselines.mimn:make_task', {'dim': 4, 'widths': (8, 4), **MIMN}),
    'CAN-DNN': ('jaxrec.models.can:make_task', CAN),
    'CAN-independent': (
        'jaxrec.models.can:make_task',
        CAN | {'combination_independence': True, 'order_independence': True, 'use_bias': True, 'pairs': PAIRS},
    ),
    'CAN-DIN': ('jaxrec.models.can:make_task', CAN | {'base': 'din', 'base_options': {'attention': (6, 4)}}),
    'CAN-DIEN': ('jaxrec.models.can:make_task', CAN | {'base': 'dien', 'base_options': DIEN}),
    'Cartesian': ('jaxrec.models.baselines.cartesian:make_task', {'dim': 4, 'widths': (8, 4)}),
    'CAN+Cartesian': ('jaxrec.models.can:make_task', CAN | {'base': 'cartesian'}),
    'FFM': ('jaxrec.models.baselines.ffm:make_task', {'dim': 3}),
    'DeepFM': ('jaxrec.models.baselines.deepfm:make_task', {'dim': 4, 'widths': (8, 4)}),
    'DeepFFM': ('jaxrec.models.baselines.deepffm:make_task', {'dim': 4, 'widths': (8, 4), 'aware_dim': 3}),
    'xDeepFM': ('jaxrec.models.baselines.xdeepfm:make_task', {'dim': 4, 'widths': (8, 4), 'cin': (3, 2)}),
    'PNN': (
        'jaxrec.models.baselines.pnn:make_task',
        {'dim': 4, 'widths': (8, 4), 'product': 'both', 'history_pooling': 'mean'},
    ),
    'NCF': (
        'jaxrec.models.baselines.ncf:make_task',
        {'dim': 4, 'widths': (8, 4), 'user': ('user/user', 'history/category'), 'item': IDS, 'context': True},
    ),
    'SIM-hard': ('jaxrec.models.sim:make_task', SIM | {'search': 'hard'}),
    'SIM-soft': ('jaxrec.models.sim:make_task', SIM | {'search': 'soft'}),
    'ETA': ('jaxrec.models.sim:make_task', SIM | {'search': 'simhash', 'attention': 'din'}),
    'SDIM': ('jaxrec.models.sim:make_task', SIM | {'search': 'sdim', 'hashes': 12, 'hash_group': 2}),
    'TWIN': ('jaxrec.models.sim:make_task', SIM | {'search': 'twin'}),
    'DIN-long': (
        'jaxrec.models.sim:make_task',
        SIM | {'search': 'none', 'attention': 'din', 'short_model': 'none', 'base_options': {}},
    ),
    'ONN': ('jaxrec.models.baselines.onn:make_task', {'dim': 4, 'widths': (8, 4), 'aware_dim': 3}),
}
CARTESIAN = {'itemxitem': (3, 'history/item'), 'categoryxitem': (2, 'candidate/item')}  # {column: (axes, other)}


def make_batch(size=6, candidates=3, length=5, features=RICH, seed=0, lengths=None) -> dict[str, np.ndarray]:
    """A host batch; the first history is empty, the second full."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, length, size) if lengths is None else np.asarray(lengths)
    lengths[: min(2, size)] = [0, length][:size]
    batch = {
        'history/length': lengths.astype(np.int32),
        'label': rng.integers(0, 2, (size, candidates)).astype(np.float32),
        'valid': np.ones((size, candidates), np.float32),
        'host/group': np.arange(size, dtype=np.int64),
    }
    real = {'history': np.arange(length) < lengths[:, None]}
    shapes = {'user': (size,), 'candidate': (size, candidates), 'history': (size, length)}
    for side, names in features.items():
        for name in names:
            batch[f'{side}/{name}'] = draw_values(rng, SCHEMA[name], shapes[side], real.get(side))
    long = make_long(size, features.get('history', ()), seed)
    return batch | long | make_pair_ids(batch, seed) | make_negatives(batch, seed)


def draw_values(rng, column, shape, real=None) -> np.ndarray:
    """Values of a column, zeros where they are not real."""
    if column.kind == 'numeric':
        value = (100 * rng.normal(size=shape)).astype(np.float32)
    else:
        value = rng.integers(1, column.rows, (*shape, column.width) if column.kind == 'multi' else shape)
        if column.kind == 'multi':
            value[..., 1:] *= rng.integers(0, 2, value[..., 1:].shape)
        value = value.astype(np.int32)
    if real is not None:
        value[~real] = 0
    return value


def make_long(size, columns, seed) -> dict[str, np.ndarray]:
    """Behaviours before the history, with time gaps; the first example has none, the second has all."""
    rng = np.random.default_rng((*np.atleast_1d(seed), 3))
    lengths = rng.integers(1, LONG, size)
    lengths[: min(2, size)] = [0, LONG][:size]
    real = np.arange(LONG) < lengths[:, None]
    long = {f'long/{name}': draw_values(rng, SCHEMA[name], (size, LONG), real) for name in columns}
    gaps = (rng.integers(1, 12, (size, LONG)) * real).astype(np.int32)
    return {**long, 'long/gap': gaps, 'long/length': lengths.astype(np.int32)} if long else {}


def make_pair_ids(batch, seed) -> dict[str, np.ndarray]:
    """Ids of pairs [B, C, L] or [B, C], 0 where a side is absent; about a third are unseen, id 1."""
    rng, pairs = np.random.default_rng((*np.atleast_1d(seed), 1)), {}
    for name, (axes, other) in CARTESIAN.items():
        if 'candidate/item' in batch and 'candidate/category' in batch and other in batch:
            shape = (*batch['label'].shape, batch[other].shape[1])[:axes]
            ids = rng.integers(2, SCHEMA[name].rows, shape) * rng.integers(0, 3, shape).clip(max=1)
            real = batch[other][:, None] > 0 if axes == 3 else batch[other] > 0
            pairs[f'cartesian/{name}'] = (np.maximum(ids, 1) * real).astype(np.int32)
    return pairs


def make_negatives(batch, seed) -> dict[str, np.ndarray]:
    """Beside each entry of the history the values of another one of the batch, zeros on padding."""
    rng, negatives = np.random.default_rng((*np.atleast_1d(seed), 2)), {}
    for key, value in batch.items():
        side, _, name = key.partition('/')
        if side == 'history' and name != 'length' and value.size:
            real = np.arange(value.shape[1]) < batch['history/length'][:, None]
            negatives[f'history_negative/{name}'] = np.zeros_like(value)
            negatives[f'history_negative/{name}'][real] = rng.permutation(value[real])
    return negatives


def on_device(batch) -> dict[str, jax.Array]:
    return jax.device_put({key: value for key, value in batch.items() if not key.startswith('host/')})


def make_task(name: str, features=RICH, **options) -> CtrTask:
    path, defaults = MODELS[name]
    if name == 'LR':
        features = {side: [n for n in names if n != 'price'] for side, names in features.items()}
    if 'Cartesian' in name:
        features = {**features, 'cartesian': tuple(CARTESIAN)}
    return resolve(path, 'task')({**defaults, **options, 'features': features}, SCHEMA)


@dataclasses.dataclass
class Model:
    """A task, its parameters and tables; with one compiled prediction and one compiled gradient."""

    task: CtrTask
    params: Any
    model_state: Any
    tables: dict[str, np.ndarray]

    def __post_init__(self):
        look = lambda tables, batch: emb.lookup(self.task.tables, tables, self.task.ids(batch))
        self._predict = jax.jit(lambda p, s, t, batch: self.task.predict(p, s, look(t, batch), batch))

        def grads(p, s, t, batch):
            loss = jax.value_and_grad(self.task.loss, argnums=(0, 2), has_aux=True)
            return loss(p, s, look(t, batch), batch, jax.random.key(0)), look(t, batch)

        self._grads = jax.jit(grads)

    def logits(self, batch) -> np.ndarray:
        return self.predict(batch)['logits']

    def predict(self, batch) -> dict[str, np.ndarray]:
        return jax.device_get(self._predict(self.params, self.model_state, self.tables, on_device(batch)))

    def loss(self, batch):
        """((loss, (metrics, new model_state)), (gradients of params, of rows)), rows."""
        return jax.device_get(self._grads(self.params, self.model_state, self.tables, on_device(batch)))


def make_model(name: str, batch, features=RICH, std: float = 1.0, **options) -> Model:
    """A model of random parameters and rows: biases, slopes and rows of a size that rounding can't hide."""
    task, rng = make_task(name, features, **options), np.random.default_rng(1)
    shapes = jax.eval_shape(task.init, jax.random.key(0), on_device(batch))

    def draw(path, leaf):
        if 'var' in jax.tree_util.keystr(path):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        size = leaf.shape[0] ** -0.5 if len(leaf.shape) == 2 else 0.3
        if 'numeric' in jax.tree_util.keystr(path):
            size = 0.05  # multiplies logarithms of prices, and products of these saturate the sigmoid
        return (size * rng.normal(size=leaf.shape)).astype(np.float32)

    params, model_state = jax.tree_util.tree_map_with_path(draw, shapes)
    tables = {n: (std * rng.normal(size=(t.rows, t.dim))).astype(np.float32) for n, t in task.tables.items()}
    for table in tables.values():
        table[0] = 0
    return Model(task, params, model_state, tables)


def make_setup(task: CtrTask, shape=(1, 1), exchange=None, learning_rate=0.01, row_learning_rate=0.1) -> Setup:
    return Setup(
        task, optax.adam(learning_rate), emb.row_adagrad(row_learning_rate), make_mesh(shape), exchange=exchange
    )
