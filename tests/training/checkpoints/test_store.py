"""Checkpoints: exact, resized to the mesh, the right ones kept, and refusals that name the leaf."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrec import embeddings as emb
from jaxrec.parallel import put_batch
from jaxrec.training.checkpoints import Checkpoints
from jaxrec.training.state import abstract_state, init_state
from jaxrec.training.step import make_train_step
from tests.training.worlds import ROWS, Bilinear, make_batch, make_setup

V = {'item': ROWS}


def setup_on(mesh, **changes):
    return make_setup(mesh, rows=emb.lazy_adam(0.1), **changes)._replace(optimizer=optax.adam(0.1))


def abstract_on(mesh, **changes):
    setup = setup_on(mesh, **changes)
    return abstract_state(setup, put_batch(make_batch(), setup.mesh))


@pytest.fixture(scope='module')
def trained():
    """A state after two steps on 8 devices."""
    setup = setup_on((8, 1))
    state, step = init_state(setup, put_batch(make_batch(), setup.mesh), 0), make_train_step(setup)
    for t in range(2):
        state, _ = step(state, put_batch(make_batch(t), setup.mesh))
    return state


@pytest.fixture
def folder(tmp_path, trained):
    with Checkpoints(tmp_path / 'c') as checkpoints:
        checkpoints.save(trained, {'bad': 1, 'window': {'loss': [0.1, 3]}}, table_rows=V, metrics={'auc': 0.7})
    return tmp_path / 'c'


def values(tree, rows=ROWS):
    """Leaves as numpy, keys as their data, tables and their slots without padding."""
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        name = jax.tree_util.keystr(path)
        named[name] = array[:rows] if 'tables' in name or 'row_opt_state' in name else array
    return named


@pytest.mark.parametrize('mesh', [(8, 1), (4, 2), (4, 1), (1, 1)])
def test_a_state_comes_back_exactly_on_any_mesh(folder, trained, mesh):
    with Checkpoints(folder) as checkpoints:
        restored = checkpoints.restore(abstract_on(mesh), table_rows=V)
    want, got = values(dataclasses.replace(trained, scratch={})), values(restored.state)
    assert want.keys() == got.keys() and len(got) > 8
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
    devices = mesh[0] * mesh[1]
    for leaf in (restored.state.tables['item'], *restored.state.row_opt_state['item'].values()):
        padded = emb.padded_rows(ROWS, devices)
        assert leaf.shape[0] == padded and not np.asarray(leaf)[ROWS:].any()
        assert {shard.data.shape[0] for shard in leaf.addressable_shards} == {padded // devices}
    assert restored.progress == {'bad': 1, 'window': {'loss': [0.1, 3]}}
    assert restored.metrics == {'auc': 0.7}
    assert float(jax.random.normal(restored.state.rng)) == float(jax.random.normal(trained.rng))


def test_padding_grows_back(tmp_path):
    """19 rows saved on one device have no padding; on 8 devices they have 5 rows of zeros."""
    one = setup_on((1, 1))
    state = init_state(one, put_batch(make_batch()), 0)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, {}, table_rows=V)
        wide = checkpoints.restore(abstract_on((8, 1)), table_rows=V).state
    assert wide.tables['item'].shape == (24, 3) and not np.asarray(wide.tables['item'])[ROWS:].any()
    np.testing.assert_array_equal(np.asarray(wide.tables['item'])[:ROWS], state.tables['item'])


def test_evaluation_reads_the_model_alone(folder, trained):
    abstract = abstract_on((1, 1))
    with Checkpoints(folder, read_only=True) as checkpoints:
        state = checkpoints.restore(abstract, table_rows=V, model_only=True).state
    np.testing.assert_array_equal(state.params['w'], trained.params['w'])
    assert isinstance(jax.tree.leaves(state.opt_state)[0], jax.ShapeDtypeStruct)
    # Another optimizer is no other model.
    other = make_setup((1, 1), rows=emb.row_adagrad(0.1))
    with Checkpoints(folder, read_only=True) as checkpoints:
        abstract = abstract_state(other, put_batch(make_batch()))
        checkpoints.restore(abstract, table_rows=V, model_only=True)
        with pytest.raises(ValueError, match=r"of another model.*at 'opt_state/.*config\.json"):
            checkpoints.restore(abstract, table_rows=V)


def save_steps(folder, trained, scores, **options):
    """Saves one checkpoint a score (None: not measured) and returns the steps kept."""
    with Checkpoints(folder, **options) as checkpoints:
        for step, score in enumerate(scores, 1):
            state = dataclasses.replace(trained, step=jnp.int32(step))
            metrics = None if score is None else {'auc': score, 'loss': -score}
            checkpoints.save(state, {'step': step}, table_rows=V, metrics=metrics)
        return checkpoints.steps, checkpoints.best


def test_the_latest_and_the_best_are_kept(tmp_path, trained):
    scores = [0.5, 0.8, 0.6, None, 0.7]
    assert save_steps(tmp_path / 'a', trained, scores, keep=2, monitor='auc') == ([2, 4, 5], 2)
    assert save_steps(tmp_path / 'b', trained, scores, keep=1, monitor='loss', maximize=False) == ([2, 5], 2)
    assert save_steps(tmp_path / 'c', trained, scores, keep=2) == ([4, 5], None)
    assert save_steps(tmp_path / 'd', trained, [0.5, 0.8, 0.8, 0.8], keep=1, monitor='auc')[1] == 4
    with Checkpoints(tmp_path / 'a', monitor='auc') as checkpoints:
        assert (checkpoints.steps, checkpoints.best) == ([2, 4, 5], 2)
        assert checkpoints.restore(abstract_on((1, 1)), 2, table_rows=V).progress == {'step': 2}
        assert checkpoints.restore(abstract_on((1, 1)), table_rows=V).progress == {'step': 5}


OTHER_MODELS = {
    'another width': (Bilinear(dim=4), V, r"it has \[\[3\], 'float32'\] where.*\[\[4\], 'float32'\] at 'params/w"),
    'more rows': (Bilinear(rows=ROWS + 1), {'item': ROWS + 1}, r"\[\[19, 3\].*\[\[20, 3\].*at 'tables/item"),
    # Both pad to 24 rows on 8 devices: the padding must not hide it.
    'rows within the padding': (Bilinear(rows=22), {'item': 22}, r"\[\[19, 3\].*\[\[22, 3\].*at 'tables/item"),
}


@pytest.mark.parametrize('name', OTHER_MODELS)
def test_another_model_is_refused(folder, name):
    task, rows, message = OTHER_MODELS[name]
    with (
        Checkpoints(folder) as checkpoints,
        pytest.raises(ValueError, match=rf'c/2 is of another model: .*{message}.*Use the config it was trained with'),
    ):
        checkpoints.restore(abstract_on((8, 1), task=task), table_rows=rows)


def test_what_a_kill_left_behind_is_no_checkpoint_and_in_nobodys_way(folder, trained):
    unfinished = folder / '3.orbax-checkpoint-tmp'
    (unfinished / 'model').mkdir(parents=True)
    with Checkpoints(folder, read_only=True) as checkpoints:
        checkpoints.restore(abstract_on((1, 1)), table_rows=V)
        assert checkpoints.steps == [2]
    assert unfinished.exists()  # a reader leaves it: another process may be writing it
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(dataclasses.replace(trained, step=jnp.int32(3)), {}, table_rows=V)
        assert checkpoints.steps == [2, 3]
    assert not unfinished.exists()
