"""Wide rows lie in the order that is asked for, from their birth through steps, checkpoints and growth.

On a CPU arrays lie row after row anyhow, so that here column after column is asked for, which nothing does by
itself.
"""

import jax
import numpy as np
import pytest
from jax.experimental.layout import Layout

from jaxrec import embeddings as emb
from jaxrec.embeddings import table as tables_module
from jaxrec.parallel import put_batch
from jaxrec.training.checkpoints import Checkpoints, row_files
from jaxrec.training.state import abstract_state, init_state
from jaxrec.training.step import make_predict_step, make_train_step
from tests.training.worlds import Bilinear, make_batch, make_setup

WIDTH, ROWS = 128, 37


def setup_of(shape):
    return make_setup(shape, Bilinear(ROWS, WIDTH), rows=emb.lazy_adam(0.1))


def train(setup, state, steps=3):
    step, batch = make_train_step(setup), put_batch(make_batch(), setup.mesh)
    for _ in range(steps):
        state, metrics = step(state, batch)
    return state, float(metrics['loss']), make_predict_step(setup)(state, batch)


def orders(state):
    """Of tables and of slots that are as wide."""
    arrays = [x for x in jax.tree.leaves((state.tables, state.row_opt_state)) if x.ndim == 2]
    assert len(arrays) == 3
    return {x.format.layout.major_to_minor for x in arrays}


@pytest.fixture
def by_column(monkeypatch):
    monkeypatch.setattr(tables_module, 'BY_ROW_ON', ('cpu',))
    monkeypatch.setattr(tables_module, 'Layout', lambda order: Layout(tuple(reversed(order))))


@pytest.mark.parametrize('shape', [(1, 1), (4, 2)])
def test_wide_rows_keep_their_order_and_every_number(shape, tmp_path, request, monkeypatch, caplog):
    plain = setup_of(shape)
    wanted, loss, found = train(plain, init_state(plain, make_batch(), 0))
    assert orders(wanted) == {(0, 1)}

    request.getfixturevalue('by_column')
    monkeypatch.setattr(row_files, 'PIECE', 4 * WIDTH * 4)  # several pieces of a shard
    setup = setup_of(shape)
    begun = init_state(setup, make_batch(), 0)
    assert orders(begun) == orders(abstract_state(setup, make_batch())) == {(1, 0)}
    with jax.log_compiles():
        state, same, predicted = train(setup, begun)
    assert sum('Compiling jit(step)' in line for line in caplog.messages) == 1  # not once more for what it left
    assert orders(state) == {(1, 0)} and same == pytest.approx(loss, rel=1e-6)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, (state.tables, predicted), (wanted.tables, found))

    with Checkpoints(tmp_path / 'run') as checkpoints:
        checkpoints.save(state, {}, table_rows={'item': ROWS})
        restored = checkpoints.restore(abstract_state(setup, make_batch()), table_rows={'item': ROWS}).state
    assert orders(restored) == {(1, 0)}
    jax.tree.map(np.testing.assert_array_equal, restored.tables, state.tables)
    train(setup, restored, 1)


def test_what_is_grown_lies_as_before(by_column):
    setup = setup_of((4, 2))
    state = init_state(setup, make_batch(), 0)
    specs = emb.as_specs([emb.Table('item', ROWS, WIDTH, emb.normal(0.5))])
    tables, slots = emb.grow(
        specs, {'item': 11}, state.tables, state.row_opt_state, jax.random.key(0), emb.lazy_adam(0.1), setup.mesh
    )
    assert {x.format.layout.major_to_minor for x in jax.tree.leaves((tables, slots)) if x.ndim == 2} == {(1, 0)}


@pytest.mark.parametrize(('kind', 'width', 'said'), [('tpu', 160, True), ('tpu', 18, False), ('cpu', 160, False)])
def test_only_wide_rows_of_tpus_are_told(kind, width, said, monkeypatch):
    class Device:
        platform = kind

    class Mesh:
        devices = np.array([[Device()]])

    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    monkeypatch.setattr(tables_module, 'cut_rows', lambda mesh: (1, here))
    found = emb.place_rows(Mesh(), (8, width))
    assert found == (tables_module.Format(Layout((0, 1)), here) if said else here)
