"""CAN-DNN (100 steps), DIEN and CAN+Cartesian at one global batch: one device repeated by meshes of eight."""

import functools

import chex
import jax
import numpy as np
import pytest

from jaxrec.parallel import put_batch
from jaxrec.training.evaluate import evaluate
from jaxrec.training.state import init_state
from jaxrec.training.step import make_predict_step, make_train_step
from tests.models import worlds

STEPS, BATCH = {'CAN-DNN': 100, 'DIEN': 20, 'CAN+Cartesian': 10}, 22  # no mesh of 8 devices divides 22
FEATURES = {'user': ('user',), 'candidate': ('item',), 'history': ('item',)}
WIDE = {'pairs': worlds.PAIRS, 'combination_independence': True, 'order_independence': True}


def batches(seed, count, features=FEATURES):
    """Clicks that the candidate and its pair with the last behaviour decide, and noise."""
    for i in range(count):
        batch = worlds.make_batch(BATCH, 2, 4, features, seed=(seed, i))
        last = batch['history/item'][np.arange(BATCH), np.maximum(batch['history/length'] - 1, 0)]
        item = batch['candidate/item']
        odds = 3 * np.sin(item) + np.sin(item * last[:, None])
        batch['label'] = (np.random.default_rng((seed, i)).logistic(size=odds.shape) < odds).astype(np.float32)
        batch['valid'][3] = 0
        yield batch


@functools.cache
def train(name, shape, exchange):
    """Losses of the steps, the evaluator's metrics, and the final tables without their padding."""
    features, options = (worlds.FEATURES, WIDE) if name == 'CAN+Cartesian' else (FEATURES, {})
    task = worlds.make_task(name, features, **options)
    setup = worlds.make_setup(task, shape, exchange, row_learning_rate=0.3)._replace(clip_norm=0.2)
    state = init_state(setup, put_batch(next(batches(0, 1, features)), setup.mesh), seed=0)
    chex.clear_trace_counter()  # it counts by name, and this is another step
    step, losses = (jax.jit(chex.assert_max_traces(make_train_step(setup).__wrapped__, n=1), donate_argnums=0), [])
    for batch in batches(0, STEPS[name], features):
        state, metrics = step(state, put_batch(batch, setup.mesh))
        losses.append(metrics['loss'])
    for table_name, table in state.tables.items():
        rows = -(-task.tables[table_name].rows // setup.mesh.size)
        assert {s.data.shape[0] for s in table.addressable_shards} == {rows}
    found = evaluate(setup, make_predict_step(setup), state, batches(1, 8, features)).compute()
    tables = {n: np.asarray(table)[: task.tables[n].rows] for n, table in state.tables.items()}
    return np.array(jax.device_get(losses)), found, tables


def test_one_device_learns():
    losses, found, _ = train('CAN-DNN', (1, 1), None)
    assert losses[-20:].mean() < losses[:20].mean() - 0.05
    assert found['examples'] == 8 * (BATCH - 1) * 2 and found['auc'] > 0.7


@pytest.mark.parametrize(
    ('name', 'shape', 'exchange'),
    [
        pytest.param('CAN-DNN', (8, 1), 'gather_ids', marks=pytest.mark.slow),
        ('CAN-DNN', (4, 2), 'gather_ids'),
        pytest.param('CAN-DNN', (2, 4), 'gather_ids', marks=pytest.mark.slow),
        pytest.param('CAN-DNN', (4, 2), 'all_to_all', marks=pytest.mark.slow),
        pytest.param('DIEN', (8, 1), 'gather_ids', marks=pytest.mark.slow),
        pytest.param('CAN+Cartesian', (4, 2), 'gather_ids', marks=pytest.mark.slow),
    ],
)
def test_a_mesh_repeats_one_device(name, shape, exchange):
    losses, found, tables = train(name, (1, 1), None)
    on_mesh, found_on_mesh, tables_on_mesh = train(name, shape, exchange)
    np.testing.assert_allclose(on_mesh, losses, rtol=1e-4)
    assert abs(found_on_mesh['auc'] - found['auc']) < 1e-6
    np.testing.assert_allclose(found_on_mesh['logloss'], found['logloss'], rtol=1e-4)
    for name, table in tables.items():
        np.testing.assert_allclose(tables_on_mesh[name], table, rtol=1e-3, atol=1e-5)
