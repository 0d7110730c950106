"""Gradients reach the shard that owns their row, all of them and only once, however skewed the ids are.

n = 8 devices, V rows, S rows of one shard, D width.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import embeddings as emb
from jaxrec.embeddings.arrivals import apply_later, arrive, later_squares
from jaxrec.embeddings.duplicates import sum_duplicates
from jaxrec.ops.sorting import vary_like
from jaxrec.parallel import make_mesh
from tests.oracles import tables as oracle

V, D, IDS = 157, 3, 8 * 40
SPEC = emb.Table('t', V, D)
S = emb.padded_rows(V, 8) // 8  # 20; at factor 1.25 a device has 8 slots for the rows it asks of an owner
IDS_OF = {
    'even': lambda rng: rng.integers(-3, V + 9, IDS),
    'skewed': lambda rng: rng.integers(0, S, IDS),  # device 0 owns all of them
    'none': lambda rng: rng.choice([0, -1, V, V + 2, 2**31 - 1], IDS),
}


def inputs(name):
    rng = np.random.default_rng(3)
    return IDS_OF[name](rng).astype(np.int32), rng.normal(size=(IDS, D)).astype(np.float32)


def add_rows(name, table, slots, sums):
    """A rule that adds the sums, and counts how often each row is touched."""
    del name
    counts = slots['count'].at[sums.rows].add(1, mode='drop')
    return table.at[sums.rows].add(sums.sums, mode='drop'), {'count': counts}


@functools.cache
def receiver(exchange, shape, factor):
    """(ids, grads) -> table, times each row came, rounds, squares of the first and of the later rounds."""
    mesh = make_mesh(shape)
    axes = mesh.axis_names

    def body(shard, count, ids, grads):
        arrivals = arrive({'t': SPEC}, {'t': shard}, {'t': ids}, {'t': grads}, exchange, factor, axes)
        first, _ = sum_duplicates(*arrivals.first['t'], S, 'sort')
        table, slots = add_rows('t', shard, {'count': count}, first)
        tables, slots = apply_later(arrivals, add_rows, {'t': table}, {'t': slots})
        squares = jnp.sum(first.sums**2)[None], later_squares(arrivals, {'t': S})[None]
        return tables['t'], slots['t']['count'], arrivals.rounds, *squares

    cut = jax.P(axes)
    run = jax.shard_map(body, mesh=mesh, in_specs=cut, out_specs=(cut, cut, jax.P(), cut, cut))
    return functools.partial(jax.jit(run), jnp.zeros((8 * S, D)), jnp.zeros(8 * S, jnp.int32))


@pytest.mark.parametrize('name', IDS_OF)
@pytest.mark.parametrize(
    ('exchange', 'shape', 'factor'),
    [('gather_ids', (8, 1), 1.25), ('all_to_all', (2, 4), 1.25), ('all_to_all', (8, 1), 8.0)],
)
def test_every_gradient_reaches_its_row_and_every_row_is_touched_once(name, exchange, shape, factor):
    ids, grads = inputs(name)
    table, count, rounds, first, later = jax.device_get(receiver(exchange, shape, factor)(ids, grads))
    want, touched = oracle.summed(V, D, {'x': ids}, {'x': grads})
    np.testing.assert_allclose(table[:V], want, rtol=1e-4, atol=1e-5)
    assert not table[V:].any()
    np.testing.assert_array_equal(count, np.isin(np.arange(8 * S), touched))
    np.testing.assert_allclose(first.sum() + later.sum(), (want**2).sum(), rtol=1e-4)
    tight = name == 'skewed' and exchange == 'all_to_all' and factor == 1.25
    assert (rounds > 1) == tight == later.any()


def test_one_device_keeps_its_gradients_and_names_nobody_for_ids_that_do_not_move():
    ids, grads = inputs('even')
    shard = jnp.zeros((V, D))
    arrivals = arrive(
        {'t': SPEC}, {'t': shard}, {'t': jnp.asarray(ids)}, {'t': jnp.asarray(grads)}, 'gather_ids', 1.25, ()
    )
    kept, moved = arrivals.first['t']
    np.testing.assert_array_equal(kept, [i if 0 < i < V else V for i in ids])
    np.testing.assert_array_equal(moved, grads)
    assert arrivals.rounds == 1 and arrivals.later is None
    assert later_squares(arrivals, {'t': V}) == 0
    refuse = lambda *_: pytest.fail('there is no later round')
    assert apply_later(arrivals, refuse, {'t': shard}, {'t': {}}) == ({'t': shard}, {'t': {}})


def test_tables_travel_together_however_many_rounds_each_needs():
    skewed, even = inputs('skewed'), inputs('even')
    specs = {'t': SPEC, 'u': SPEC}
    mesh = make_mesh((8, 1))
    axes = mesh.axis_names

    def body(ids, grads):
        shards = {name: vary_like(jnp.zeros((S, D)), grads['t']) for name in specs}
        arrivals = arrive(specs, shards, ids, grads, 'all_to_all', 1.25, axes)
        counts = {name: vary_like(jnp.zeros(S, jnp.int32), grads['t']) for name in specs}
        tables, slots = {}, {}
        for name, first in arrivals.first.items():
            sums, _ = sum_duplicates(*first, S, 'sort')
            tables[name], slots[name] = add_rows(name, shards[name], {'count': counts[name]}, sums)
        return *apply_later(arrivals, add_rows, tables, slots), arrivals.rounds

    cut = jax.P(axes)
    run = jax.jit(jax.shard_map(body, mesh=mesh, in_specs=cut, out_specs=(cut, cut, jax.P())))
    given = {'t': skewed[0], 'u': even[0]}, {'t': skewed[1], 'u': even[1]}
    tables, slots, rounds = jax.device_get(run(*given))
    assert rounds > 1
    for name, (ids, grads) in (('t', skewed), ('u', even)):
        want, touched = oracle.summed(V, D, {'x': ids}, {'x': grads})
        np.testing.assert_allclose(tables[name][:V], want, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(slots[name]['count'], np.isin(np.arange(8 * S), touched))
    assert run.lower(*given).compile().as_text().count(' all-to-all(') == 4  # rows and sums, at first and later
