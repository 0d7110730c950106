"""Lookup on one device against a loop over ids, and which exchange is chosen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import embeddings as emb
from jaxrec.embeddings.lookup import flatten, pad_batch
from jaxrec.parallel import make_mesh
from tests.oracles import tables as oracle

SPECS = emb.as_specs([emb.Table('item', 37, 5), emb.Table('user', 16, 4)])


@pytest.mark.parametrize('mesh_shape', [None, (1, 1)])
def test_every_feature_reads_its_rows(mesh_shape):
    mesh = None if mesh_shape is None else make_mesh(mesh_shape)
    tables = emb.init_tables(SPECS, jax.random.key(0), mesh)
    draw = lambda *shape: np.random.default_rng(1).integers(-3, 45, shape).astype(np.int32)
    ids = {
        'item': {'candidate': draw(6, 2), 'history': draw(6, 5), 'tags': draw(6, 5, 3), 'none': draw(6, 0)},
        'user': {'user': np.array([0, 1, 15, 16, -1, 2**31 - 1], np.int32)},
    }
    rows = emb.lookup(SPECS, tables, jax.tree.map(jnp.asarray, ids), mesh=mesh)
    assert set(rows) == set(ids)
    for table, features in ids.items():
        assert set(rows[table]) == set(features)
        for feature, x in features.items():
            want = oracle.lookup(np.asarray(tables[table]), x).astype(np.float32)
            np.testing.assert_array_equal(rows[table][feature], want)
    assert (
        np.asarray(rows['user']['user'])[1:3].any(1).all() and not np.asarray(rows['user']['user'])[[0, 3, 4, 5]].any()
    )


def test_rows_past_the_table_read_zeros_even_where_the_array_is_longer():
    table = jnp.ones((24, 4)).at[0].set(0)  # padding, as every table has it
    rows = emb.lookup(SPECS, {'user': table}, {'user': {'user': jnp.array([15, 16, 23, 24, -1])}})
    np.testing.assert_array_equal(np.asarray(rows['user']['user']).any(1), [True, False, False, False, False])


def test_the_exchange_follows_from_the_devices():
    assert [emb.choose_exchange(n) for n in (1, 8, 9, 256)] == ['gather_ids', 'gather_ids', 'all_to_all', 'all_to_all']


def test_an_unknown_exchange_is_refused():
    ids = {'user': {'user': jnp.zeros(8, jnp.int32)}}
    with pytest.raises(ValueError, match=r"exchange 'ring' does not exist; choose one of .*gather_ids.*all_to_all"):
        emb.lookup(SPECS, {'user': jnp.zeros((16, 4))}, ids, mesh=make_mesh((8, 1)), exchange='ring')


def test_flatten_goes_by_feature_name_and_padding_adds_id_0():
    features = {'b': jnp.array([[1, 2], [3, 4], [5, 6]]), 'a': jnp.array([7, 8, 9])}
    np.testing.assert_array_equal(flatten(features), [7, 8, 9, 1, 2, 3, 4, 5, 6])
    padded = pad_batch(features, 8)
    assert (
        padded['b'].shape == (8, 2) and not np.asarray(padded['b'])[3:].any() and not np.asarray(padded['a'])[3:].any()
    )
    assert pad_batch(features, 3)['a'] is features['a']
