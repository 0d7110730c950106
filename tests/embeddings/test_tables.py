"""Lookup and update against slow numpy tables, on one device and on every mesh of eight."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from jaxrec import embeddings as emb
from jaxrec.parallel import make_mesh
from tests.oracles import tables as oracle

# 37 and 61 rows: no mesh of 8 devices divides them.
SPECS = emb.as_specs([emb.Table('item', 37, 5), emb.Table('category', 61, 3), emb.Table('user', 16, 4)])
MESHES = [None, (8, 1), (4, 2), (2, 4), (1, 1)]


def make_ids(rng, batch=24, wild=True):
    low, high = (-3, 45) if wild else (2, 37)
    ids = {
        'item': {'candidate': rng.integers(low, high, (batch, 1)), 'history': rng.integers(low, high, (batch, 6))},
        'category': {'candidate': rng.integers(0, 61, (batch, 2))},
        'user': {'user': rng.integers(0, 4, batch)},  # heavy duplicates
    }
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.int32), ids)


def make_grads(rng, ids):
    return {t: {f: jnp.asarray(rng.normal(size=(*x.shape, SPECS[t].dim)), jnp.float32) for f, x in fs.items()}
            for t, fs in ids.items()}


def mesh_of(shape, axis_type=AxisType.Auto):
    return None if shape is None else make_mesh(shape, axis_type=axis_type)


@pytest.mark.parametrize('exchange', ['gather_ids', 'all_to_all'])
@pytest.mark.parametrize('shape', MESHES)
@pytest.mark.parametrize('batch', [24, 21])
def test_lookup_reads_the_rows(shape, exchange, batch):
    mesh = mesh_of(shape)
    tables = emb.init_tables(SPECS, jax.random.key(0), mesh)
    ids = make_ids(np.random.default_rng(1), batch)
    rows = jax.jit(functools.partial(emb.lookup, SPECS, mesh=mesh, exchange=exchange))(tables, ids)
    for t, features in ids.items():
        table = np.asarray(tables[t])[: SPECS[t].rows]
        for f, x in features.items():
            np.testing.assert_array_equal(rows[t][f], oracle.lookup(table, x).astype(np.float32))


def test_tables_do_not_depend_on_the_mesh():
    one = emb.init_tables(SPECS, jax.random.key(3))
    for shape in MESHES[1:]:
        cut = emb.init_tables(SPECS, jax.random.key(3), mesh_of(shape))
        for name, spec in SPECS.items():
            np.testing.assert_array_equal(one[name], np.asarray(cut[name])[: spec.rows])
            assert not np.asarray(cut[name])[spec.rows :].any() and not np.asarray(cut[name])[0].any()


def run_updates(optimizer, shape, exchange, strategy, steps=4, clip=None, wild=True, axis_type=AxisType.Auto, factor=1.25):
    """Trains the tables for a few steps; returns final tables, slots and the infos."""
    mesh = mesh_of(shape, axis_type)
    tables, slots = emb.init_tables(SPECS, jax.random.key(0), mesh), emb.init_slots(SPECS, optimizer, mesh)
    strategies = {name: strategy for name in SPECS}
    scratch = emb.init_scratch(SPECS, strategies, mesh)
    step_fn = jax.jit(
        functools.partial(emb.update, SPECS, optimizer, strategies=strategies, mesh=mesh, exchange=exchange,
                          clip_norm=clip, capacity_factor=factor),
        donate_argnums=(0, 1, 2))
    rng, infos = np.random.default_rng(5), []
    for t in range(1, steps + 1):
        ids = make_ids(rng, wild=wild)
        tables, slots, scratch, info = step_fn(tables, slots, scratch, ids, make_grads(rng, ids), jnp.int32(t),
                                               dense_norm=jnp.float32(2.0))
        infos.append(info)
    return {n: np.asarray(t)[: SPECS[n].rows] for n, t in tables.items()}, infos


@functools.cache
def run_oracle(kind, clip=None, steps=4, wild=True):
    tables = {n: np.array(t, np.float64) for n, t in emb.init_tables(SPECS, jax.random.key(0)).items()}
    make = {
        'sgd': lambda s: oracle.Sgd(0.1),
        'row_adagrad': lambda s: oracle.RowAdagrad(s.rows, 0.1),
        'lazy_adam': lambda s: oracle.LazyAdam(s.rows, s.dim, 0.1),
    }[kind]
    rules, rng, norms = {n: make(s) for n, s in SPECS.items()}, np.random.default_rng(5), []
    for t in range(1, steps + 1):
        ids = make_ids(rng, wild=wild)
        grads = make_grads(rng, ids)
        sums = {n: oracle.summed(s.rows, s.dim, ids[n], grads[n]) for n, s in SPECS.items()}
        norms.append(np.sqrt(4.0 + sum((g**2).sum() for g, _ in sums.values())))
        scale = 1.0 if clip is None else min(1.0, clip / norms[-1])
        for n, (g, touched) in sums.items():
            rules[n](tables[n], scale * g, touched, t)
    return tables, norms


MAKERS = {'sgd': emb.sgd(0.1), 'row_adagrad': emb.row_adagrad(0.1), 'lazy_adam': emb.lazy_adam(0.1)}


@pytest.mark.parametrize('strategy', ['dense', 'scratch', 'sort'])
@pytest.mark.parametrize('kind', list(MAKERS))
def test_update_on_one_device(kind, strategy):
    for clip in (None, 3.0):
        got, infos = run_updates(MAKERS[kind], None, None, strategy, clip=clip)
        want, norms = run_oracle(kind, clip)
        chex.assert_trees_all_close(got, want, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose([i.norm for i in infos], norms, rtol=1e-5)


@pytest.mark.parametrize('exchange', ['gather_ids', 'all_to_all'])
@pytest.mark.parametrize('shape', MESHES[1:4])
@pytest.mark.parametrize(('kind', 'strategy'), [('sgd', 'sort'), ('row_adagrad', 'scratch'), ('lazy_adam', 'dense')])
def test_update_on_a_mesh(kind, strategy, shape, exchange):
    got, infos = run_updates(MAKERS[kind], shape, exchange, strategy, clip=3.0)
    want, norms = run_oracle(kind, 3.0)
    chex.assert_trees_all_close(got, want, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose([i.norm for i in infos], norms, rtol=1e-5)


def test_a_crowded_all_to_all_takes_more_rounds_and_stays_exact():
    # A tiny capacity cannot hold what one device asks of one owner in one round.
    got, infos = run_updates(MAKERS['row_adagrad'], (8, 1), 'all_to_all', 'sort', clip=3.0, factor=1e-6, steps=4)
    want, norms = run_oracle('row_adagrad', 3.0)
    chex.assert_trees_all_close(got, want, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose([i.norm for i in infos], norms, rtol=1e-5)


def test_skewed_ids_overflow_and_are_counted():
    mesh, spec = make_mesh((8, 1)), emb.as_specs([emb.Table('t', 800, 2)])
    tables = emb.init_tables(spec, jax.random.key(0), mesh)
    ids = {'t': {'x': jnp.asarray(np.arange(8 * 40).reshape(8, 40) % 97 + 1, jnp.int32)}}  # all owned by device 0
    rows = jax.jit(functools.partial(emb.lookup, spec, mesh=mesh, exchange='all_to_all'))(tables, ids)
    np.testing.assert_array_equal(rows['t']['x'], np.asarray(tables['t'])[np.asarray(ids['t']['x'])])
    sgd = emb.sgd(1.0)
    new, _, _, info = jax.jit(functools.partial(emb.update, spec, sgd, strategies={'t': 'sort'}, mesh=mesh, exchange='all_to_all'))(
        tables, emb.init_slots(spec, sgd, mesh), {}, ids, jax.tree.map(jnp.ones_like, rows), 1)
    want = np.array(tables['t'])
    np.subtract.at(want, np.ravel(ids['t']['x']), 1.0)
    np.testing.assert_allclose(new['t'], want, rtol=1e-5)
    assert int(info.rounds) >= 4  # 40 ids of one owner into buffers of 8


@pytest.mark.parametrize('exchange', ['gather_ids', 'all_to_all'])
def test_an_explicit_mesh_gives_the_same(exchange):
    got, _ = run_updates(MAKERS['row_adagrad'], (4, 2), exchange, 'sort', axis_type=AxisType.Auto)
    mesh = make_mesh((4, 2), axis_type=AxisType.Explicit)
    with jax.set_mesh(mesh):
        tables, slots = emb.init_tables(SPECS, jax.random.key(0), mesh), emb.init_slots(SPECS, MAKERS['row_adagrad'], mesh)
        rng, spec = np.random.default_rng(5), jax.NamedSharding(mesh, jax.P(('data', 'model')))
        for t in range(1, 5):
            ids = make_ids(rng)
            grads = make_grads(rng, ids)
            ids, grads = jax.device_put((ids, grads), spec)
            emb.lookup(SPECS, tables, ids, mesh=mesh, exchange=exchange)
            tables, slots, _, _ = jax.jit(functools.partial(emb.update, SPECS, MAKERS['row_adagrad'], mesh=mesh, exchange=exchange,
                strategies=dict.fromkeys(SPECS, 'sort')))(tables, slots, {}, ids, grads, t)
    for n, s in SPECS.items():
        np.testing.assert_allclose(got[n], np.asarray(tables[n])[: s.rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('strategy', ['dense', 'scratch', 'sort'])
def test_sgd_and_all_rows_adam_equal_optax(strategy):
    spec = emb.as_specs([emb.Table('t', 9, 4)])
    for ours, theirs in [(emb.sgd(0.1), optax.sgd(0.1)), (emb.lazy_adam(0.01), optax.adam(0.01))]:
        tables, slots = emb.init_tables(spec, jax.random.key(1)), emb.init_slots(spec, ours)
        scratch = emb.init_scratch(spec, {'t': strategy})
        params, state = tables['t'], theirs.init(tables['t'])
        ids = {'t': {'all': jnp.arange(9, dtype=jnp.int32)}}  # every row, every step
        for t in range(1, 6):
            g = jax.random.normal(jax.random.key(t), (9, 4)).at[0].set(0)
            tables, slots, scratch, _ = emb.update(spec, ours, tables, slots, scratch, ids, {'t': {'all': g}}, t,
                                                   strategies={'t': strategy})
            updates, state = theirs.update(g, state, params)
            params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(tables['t'], params, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('exchange', ['gather_ids', 'all_to_all'])
@pytest.mark.parametrize('shape', MESHES[1:4])
def test_shards_and_collectives_are_the_intended_ones(shape, exchange):
    mesh, rows, dim = make_mesh(shape), 8 * 1000 + 3, 16
    spec = emb.as_specs([emb.Table('t', rows, dim)])
    tables = emb.init_tables(spec, jax.random.key(0), mesh)
    assert {s.data.shape for s in tables['t'].addressable_shards} == {(1001, dim)}
    sgd = emb.sgd(0.1)
    slots = emb.init_slots(spec, sgd, mesh)

    def step(tables, ids):
        got = emb.lookup(spec, tables, ids, mesh=mesh, exchange=exchange)
        return emb.update(spec, sgd, tables, slots, {}, ids, got, 1, strategies={'t': 'sort'}, mesh=mesh, exchange=exchange)[0]

    ids = jax.device_put({'t': {'x': jnp.ones((64, 2), jnp.int32)}}, jax.NamedSharding(mesh, jax.P(('data', 'model'))))
    compiled = jax.jit(step, donate_argnums=0).lower(tables, ids).compile()
    text = compiled.as_text()
    assert {s.data.shape for s in compiled(tables, ids)['t'].addressable_shards} == {(1001, dim)}
    if exchange == 'gather_ids':
        assert 'reduce-scatter' in text and 'all-gather' in text
        # Only ids [128] and their gradients [128, 16] are gathered, never the table.
        gathered = [line for line in text.splitlines() if ' all-gather(' in line or 'all-gather-start(' in line]
        assert gathered and all('8008' not in line.split(' = ')[1].split('all-gather')[0] for line in gathered)
    else:
        assert 'all-to-all' in text and 'all-gather' not in text
    assert compiled.memory_analysis().temp_size_in_bytes < 1001 * dim * 4  # less than one shard


def test_update_traces_once_and_padding_never_moves():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(tables, slots, ids, grads, t):
        return emb.update(SPECS, MAKERS['row_adagrad'], tables, slots, {}, ids, grads, t, strategies=dict.fromkeys(SPECS, 'sort'))[:2]

    tables, slots = emb.init_tables(SPECS, jax.random.key(0)), emb.init_slots(SPECS, MAKERS['row_adagrad'])
    rng = np.random.default_rng(0)
    for t in range(3):
        ids = make_ids(rng)
        tables, slots = step(tables, slots, ids, make_grads(rng, ids), jnp.int32(t + 1))
    assert all(not np.asarray(t)[0].any() for t in tables.values())
    assert all(float(s['sum'][0]) == 0 for s in slots.values())


def test_initializers_have_the_stated_moments():
    rows = jnp.arange(20_000, dtype=jnp.int32)
    for key in range(3):
        values = np.asarray(emb.normal(0.5)(jax.random.key(key), rows, 8))
        assert abs(values.mean()) < 0.005 and abs(values.std() - 0.5) < 0.005 and np.abs(values).max() < 3.5
        assert abs(np.corrcoef(values[:-1, 0], values[1:, 0])[0, 1]) < 0.03
        assert np.abs(np.corrcoef(values.T) - np.eye(8)).max() < 0.03
        flat = np.asarray(emb.uniform(0.1)(jax.random.key(key), rows, 8))
        assert abs(flat.mean()) < 0.001 and abs(flat.std() - 0.1 / 3**0.5) < 0.001 and np.abs(flat).max() < 0.1
