"""Growing tables: old rows and slots stay, new ones are a fresh table's, on any mesh."""

import jax
import numpy as np
import pytest

from jaxrec import embeddings as emb
from jaxrec.parallel import make_mesh

OLD, NEW, DIM = 11, 21, 3


def specs(rows):
    return emb.as_specs([emb.Table('item', rows, DIM, emb.normal(1.0))])


@pytest.mark.parametrize('shape', [(1, 1), (8, 1), (2, 4)])
@pytest.mark.parametrize('name', ['row_adagrad', 'lazy_adam'])
def test_old_rows_stay_and_new_ones_are_drawn_as_for_a_fresh_table(shape, name):
    mesh, key, optimizer = make_mesh(shape), jax.random.key(3), emb.make_row_optimizer(name, 0.1)
    fresh = jax.device_get(emb.init_tables(specs(NEW), key))['item']
    length = emb.padded_rows(NEW, mesh.size)
    rng = np.random.default_rng(0)
    held = {'item': rng.normal(size=(length, DIM)).astype(np.float32)}  # past the old rows: must not survive
    slots = {
        'item': {
            slot: rng.uniform(1, 2, value.shape).astype(value.dtype)
            for slot, value in optimizer.init(length, DIM).items()
        }
    }
    cut = jax.NamedSharding(mesh, jax.P(mesh.axis_names))
    grown, grown_slots = emb.grow(
        specs(NEW), {'item': OLD}, jax.device_put(held, cut), jax.device_put(slots, cut), key, optimizer, mesh
    )
    assert {shard.data.shape for shard in grown['item'].addressable_shards} == {(length // mesh.size, DIM)}
    got = np.asarray(grown['item'])
    np.testing.assert_array_equal(got[:OLD], held['item'][:OLD])
    np.testing.assert_array_equal(got[OLD:NEW], fresh[OLD:NEW])
    np.testing.assert_array_equal(got[NEW:], 0)
    for slot, start in jax.device_get(optimizer.init(length, DIM)).items():
        np.testing.assert_array_equal(grown_slots['item'][slot][:OLD], slots['item'][slot][:OLD])
        np.testing.assert_array_equal(grown_slots['item'][slot][OLD:], start[OLD:])


def test_a_table_never_shrinks():
    tables = emb.init_tables(specs(OLD), jax.random.key(0))
    with pytest.raises(ValueError, match="table 'item' has 21 rows and would have 11: ids are only ever added"):
        emb.grow(specs(OLD), {'item': NEW}, tables, {'item': {}}, jax.random.key(0), emb.sgd(0.1))
