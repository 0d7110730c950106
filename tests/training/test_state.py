"""A described state equals a made one, on every mesh."""

import jax
import numpy as np
import optax
import pytest

from jaxrec import embeddings as emb
from jaxrec.parallel import put_batch
from jaxrec.training.state import Setup, abstract_state, init_state, new_scratch
from tests.training.worlds import ROWS, make_batch, make_setup


@pytest.mark.parametrize('mesh', [(1, 1), (4, 2)])
@pytest.mark.parametrize('rows', [emb.lazy_adam(0.1), emb.row_adagrad(0.1)])
def test_the_description_equals_the_state(mesh, rows):
    setup = make_setup(mesh, rows=rows)._replace(optimizer=optax.adam(0.1))
    batch = put_batch(make_batch(), setup.mesh)
    state, abstract = init_state(setup, batch, 0), abstract_state(setup, batch)
    state = state.replace(scratch={})
    assert jax.tree.structure(state) == jax.tree.structure(abstract)

    def same(path, made, described):
        name = jax.tree_util.keystr(path)
        assert (made.shape, made.dtype) == (described.shape, described.dtype), name
        assert made.sharding.is_equivalent_to(described.sharding, made.ndim), name

    jax.tree_util.tree_map_with_path(same, state, abstract)


def test_tables_and_slots_are_cut_by_row_and_the_rest_is_whole(eight_devices):
    setup = make_setup((8, 1), rows=emb.row_adagrad(0.1))
    state = init_state(setup, put_batch(make_batch(), setup.mesh), 0)
    for leaf in (*state.tables.values(), *jax.tree.leaves(state.row_opt_state)):
        assert leaf.shape[0] == 24  # 19 rows and 5 of padding
        assert {shard.data.shape[0] for shard in leaf.addressable_shards} == {3}
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves((state.params, state.opt_state)))


def test_a_seed_gives_the_same_state_on_any_mesh():
    batch = make_batch()
    make = lambda mesh, seed: init_state(make_setup(mesh), put_batch(batch), seed)
    one, cut, other = make((1, 1), 5), make((8, 1), 5), make((1, 1), 6)
    np.testing.assert_array_equal(one.params['w'], cut.params['w'])
    np.testing.assert_array_equal(one.tables['item'], np.asarray(cut.tables['item'])[:ROWS])
    assert jax.dtypes.issubdtype(one.rng.dtype, jax.dtypes.prng_key)
    np.testing.assert_array_equal(jax.random.key_data(one.rng), jax.random.key_data(cut.rng))
    assert int(one.step) == 0
    assert not np.array_equal(one.params['w'], other.params['w'])
    assert not np.array_equal(one.tables['item'], other.tables['item'])


def test_work_space_is_made_for_the_tables_that_need_it():
    batch, setup = put_batch(make_batch()), make_setup()
    assert new_scratch(setup, batch) == {}  # a small table is summed densely
    setup = setup._replace(strategies={'item': 'scratch'})
    assert isinstance(setup, Setup) and setup.duplicate_strategies(setup.task.ids(batch)) == {'item': 'scratch'}
    (scratch,) = new_scratch(setup, batch).values()
    assert scratch.shape == (ROWS,) and scratch.dtype == np.int32
    assert init_state(setup, batch, 0).scratch.keys() == {'item'}
