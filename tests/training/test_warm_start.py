"""A warm start on a grown vocabulary: old rows exact, new rows as in a fresh state, on any mesh."""

import jax
import numpy as np
import optax
import pytest

from jaxrec import embeddings as emb
from jaxrec.parallel import put_batch
from jaxrec.training.checkpoints import Checkpoints
from jaxrec.training.state import init_state
from jaxrec.training.step import make_train_step
from jaxrec.training.warm_start import grown_rows, warm_state
from tests.training.worlds import ROWS, Bilinear, make_batch, make_setup

MORE, SEED = 29, 5


def setup_on(mesh, rows=ROWS, optimizer=None):
    optimizer = optimizer or emb.lazy_adam(0.1)
    return make_setup(mesh, rows=optimizer, task=Bilinear(rows=rows))._replace(optimizer=optax.adam(0.1))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The folder of a checkpoint after three steps on 8 devices, and its state."""
    folder, setup = tmp_path_factory.mktemp('c'), setup_on((8, 1))
    state, step = init_state(setup, put_batch(make_batch(), setup.mesh), 0), make_train_step(setup)
    for t in range(3):
        state, _ = step(state, put_batch(make_batch(t), setup.mesh))
    with Checkpoints(folder, monitor='auc') as checkpoints:
        checkpoints.save(state, {}, table_rows={'item': ROWS}, metrics={'auc': 0.6})
    return folder, state


def warm(folder, mesh, rows=MORE):
    setup = setup_on(mesh, rows)
    batch = put_batch(make_batch(), setup.mesh)
    with Checkpoints(folder, monitor='auc', read_only=True) as checkpoints:
        return setup, batch, warm_state(setup, checkpoints, batch, SEED), grown_rows(setup, checkpoints)


@pytest.mark.parametrize('mesh', [(8, 1), (4, 2), (1, 1)])
def test_old_rows_stay_and_new_ones_are_those_of_a_fresh_state(trained, mesh):
    folder, old = trained
    setup, batch, state, added = warm(folder, mesh)
    fresh = init_state(setup, batch, SEED)
    assert added == {'item': MORE - ROWS} and int(state.step) == 3
    pairs = [(state.tables['item'], old.tables['item'], fresh.tables['item'])]
    slots = ('mean', 'square', 'last')
    pairs += [tuple(s.row_opt_state['item'][name] for s in (state, old, fresh)) for name in slots]
    for found, before, new in pairs:
        np.testing.assert_array_equal(np.asarray(found)[:ROWS], np.asarray(before)[:ROWS])
        np.testing.assert_array_equal(np.asarray(found)[ROWS:], np.asarray(new)[ROWS:])
        assert found.sharding.is_equivalent_to(new.sharding, found.ndim)
    table = np.asarray(state.tables['item'])
    assert table[ROWS:MORE].any() and not table[MORE:].any()
    for name in ('params', 'model_state', 'opt_state'):
        found, before = (jax.tree.leaves(getattr(s, name)) for s in (state, old))
        assert all(np.array_equal(a, b) for a, b in zip(found, before, strict=True))
    assert jax.random.key_data(state.rng).tolist() == jax.random.key_data(old.rng).tolist()


def test_training_goes_on_alike_on_any_mesh(trained):
    folder, _ = trained
    batches, ends = [make_batch(t, rows=MORE) for t in range(4)], []
    for mesh in ((1, 1), (8, 1)):
        setup, _, state, _ = warm(folder, mesh)
        step = make_train_step(setup)
        for batch in batches:
            state, metrics = step(state, put_batch(batch, setup.mesh))
        assert np.isfinite(float(metrics['loss']))
        ends.append(state)
    one, eight = (np.asarray(s.tables['item'])[:MORE] for s in ends)
    np.testing.assert_allclose(one, eight, rtol=1e-5, atol=1e-6)
    fresh = np.asarray(init_state(setup_on((1, 1), MORE), put_batch(make_batch()), SEED).tables['item'])
    assert np.abs(one[ROWS + 1 :] - fresh[ROWS + 1 : MORE]).max() > 1e-3


def test_without_growth_it_is_the_state_itself(trained):
    folder, old = trained
    _, _, state, added = warm(folder, (8, 1), ROWS)
    assert added == {'item': 0}
    np.testing.assert_array_equal(state.tables['item'], old.tables['item'])


def test_a_smaller_vocabulary_and_another_model_are_refused(trained):
    folder, _ = trained
    with pytest.raises(ValueError, match="'item' has 19 rows and would have 18: ids are only ever added"):
        warm(folder, (1, 1), 18)
    setup = setup_on((1, 1), MORE, emb.row_adagrad(0.1))
    with (
        Checkpoints(folder, monitor='auc', read_only=True) as checkpoints,
        pytest.raises(ValueError, match=r'of another model.*row_opt_state'),
    ):
        warm_state(setup, checkpoints, put_batch(make_batch()), SEED)
