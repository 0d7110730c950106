"""Specs, initial rows and the refusal of bad ids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import embeddings as emb
from jaxrec.parallel import make_mesh

SPECS = emb.as_specs([emb.Table('item', 37, 5), emb.Table('user', 16, 4, emb.uniform())])


def test_tables_do_not_depend_on_the_mesh():
    one = emb.init_tables(SPECS, jax.random.key(3))
    for shape in ((8, 1), (2, 3)):
        cut = emb.init_tables(SPECS, jax.random.key(3), make_mesh(shape))
        for name, spec in SPECS.items():
            np.testing.assert_array_equal(one[name], np.asarray(cut[name])[: spec.rows])
            assert not np.asarray(cut[name])[spec.rows :].any() and not np.asarray(cut[name])[0].any()
    assert {s.data.shape for s in cut['item'].addressable_shards} == {(7, 5)}


def test_a_table_does_not_depend_on_its_neighbours():
    alone = emb.init_tables({'user': SPECS['user']}, jax.random.key(3))
    np.testing.assert_array_equal(alone['user'], emb.init_tables(SPECS, jax.random.key(3))['user'])
    other = emb.init_tables(emb.as_specs([emb.Table('twin', 16, 4, emb.uniform())]), jax.random.key(3))
    assert (np.asarray(alone['user'])[1:] != np.asarray(other['twin'])[1:]).all()


def test_initializers_have_the_stated_moments():
    rows = jnp.arange(20_000, dtype=jnp.int32)
    values = np.asarray(emb.normal(0.5)(jax.random.key(0), rows, 8))
    assert abs(values.mean()) < 0.005 and abs(values.std() - 0.5) < 0.005 and np.abs(values).max() < 3.5
    flat = np.asarray(emb.uniform(0.1)(jax.random.key(0), rows, 8))
    assert abs(flat.mean()) < 0.001 and abs(flat.std() - 0.1 / 3**0.5) < 0.001 and np.abs(flat).max() < 0.1


def test_padded_rows_is_the_next_multiple():
    assert [emb.padded_rows(37, n) for n in (1, 8, 37, 38)] == [37, 40, 37, 38]


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: emb.Table('t', 1, 4), "'t': rows=1, .*give 2 to"),
        (lambda: emb.Table('t', 2**31, 4), 'ids are int32'),
        (lambda: emb.Table('t', 9, 0), "'t': dim=0"),
        (lambda: emb.as_specs([emb.Table('t', 9, 4), emb.Table('t', 8, 4)]), "two tables are called 't'"),
    ],
)
def test_a_table_that_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ('ids', 'message'),
    [
        (
            {'item': {'history/item': np.array([[0, 37]])}},
            r"'history/item' of table 'item' holds id 37, outside \[0, 37\)",
        ),
        ({'item': {'x': np.array([3, -1])}}, 'holds id -1.*map unknown values to 1'),
        ({'item': {'x': np.array([1.0])}}, 'dtype float64; ids are integers'),
        ({'shop': {'x': np.array([1])}}, r"'shop', but the task has only \['item', 'user'\]"),
    ],
)
def test_bad_ids_are_refused_on_the_host(ids, message):
    with pytest.raises(ValueError, match=message):
        emb.check_ids(SPECS, ids)


def test_good_ids_pass():
    emb.check_ids(SPECS, {'item': {'x': np.array([0, 36]), 'none': np.zeros((3, 0), np.int32)}, 'user': {}})
