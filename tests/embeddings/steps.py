"""One compiled step, lookup then update, run beside slow numpy tables for a few steps.

Each of the three tables has its own row optimizer; the ways to sum duplicates rotate over them, so that the
three `ROTATIONS` meet all nine pairs of optimizer and way. B batch, V rows, D width.
"""

import functools
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
from jax.sharding import Mesh

from jaxrec import embeddings as emb
from jaxrec.embeddings.update import UpdateInfo
from tests.oracles import tables as oracle

DEFAULT = emb.sgd(0.1)
# No mesh of 8 devices divides these. `item` is large beside what a step touches, so that a copy would show.
SPECS = emb.as_specs([
    emb.Table('item', 100_003, 8, optimizer=emb.row_adagrad(0.1)),
    emb.Table('category', 61, 3, optimizer=emb.lazy_adam(0.1)),
    emb.Table('user', 13, 4),
])  # fmt: skip
ROTATIONS = [
    {'item': 'scratch', 'category': 'sort', 'user': 'dense'},
    {'item': 'sort', 'category': 'dense', 'user': 'scratch'},
    {'item': 'dense', 'category': 'scratch', 'user': 'sort'},
]
STEPS = 4
SPREAD, SKEWED = 2, 3  # the steps whose item ids every device owns alike, and device 0 alone
CLIP = 3.0
# The gradient depends on the rows, as in training: what is read must come before what is written.
DECAY = 0.1


class Run(NamedTuple):
    """What a run left behind: tables before and after, slots; of each step rows read and info."""

    initial: dict[str, np.ndarray]
    tables: dict[str, np.ndarray]
    slots: dict[str, Any]
    rows: list[dict]
    infos: list[UpdateInfo]
    hlo: str
    temporaries: int
    shards: dict[str, set]


def inputs(step: int, batch: int) -> tuple[dict, dict, np.float32]:
    """Ids, linear part of the gradients and dense norm of one step.

    Duplicates within and across features, and ids on both sides of [0, V).
    """
    rng = np.random.default_rng(step)
    ids: dict[str, dict[str, np.ndarray]] = {}
    for name, spec in SPECS.items():
        wild = np.r_[-3:12, spec.rows - 3 : spec.rows + 5]
        draw = lambda shape, wild=wild: rng.choice(wild, shape)
        if name == 'item' and step == SPREAD:
            draw = lambda shape: rng.permutation(np.arange(1, 100_003, 701))[: np.prod(shape)].reshape(shape)
        if name == 'item' and step == SKEWED:
            draw = lambda shape: rng.integers(1, 90, shape)
        ids[name] = {'candidate': draw((batch, 1)).astype(np.int32), 'history': draw((batch, 4)).astype(np.int32)}
    size = 0.01 if step == SPREAD else 1.0  # gradients too small to be clipped, once
    gradient = lambda x, dim: (size * rng.normal(size=(*x.shape, dim))).astype(np.float32)
    pull = {t: {f: gradient(x, SPECS[t].dim) for f, x in features.items()} for t, features in ids.items()}
    return ids, pull, np.float32(2.0 * size)


def make_step(strategies: dict[str, str], mesh: Mesh | None, exchange: str | None, clip: float | None):
    """The step under test; it may be traced once."""

    chex.clear_trace_counter()  # it counts by name, and this is another function

    @chex.assert_max_traces(n=1)
    def step(tables, slots, scratch, ids, pull, count, dense_norm):
        rows = emb.lookup(SPECS, tables, ids, mesh=mesh, exchange=exchange)
        grads = jax.tree.map(lambda g, r: g + DECAY * r, pull, rows)
        tables, slots, scratch, info = emb.update(
            SPECS, DEFAULT, tables, slots, scratch, ids, grads, count, strategies=strategies,
            dense_norm=dense_norm, clip_norm=clip, mesh=mesh, exchange=exchange,
        )  # fmt: skip
        return tables, slots, scratch, rows, info

    return jax.jit(step, donate_argnums=(0, 1, 2))


@functools.cache
def run(
    rotation: int, mesh: Mesh | None = None, exchange: str | None = None, batch: int = 24, clip: float | None = CLIP
) -> Run:
    """Trains the tables; on a mesh that divides the batch, ids and gradients arrive cut over it."""
    strategies = ROTATIONS[rotation]
    tables, slots = emb.init_tables(SPECS, jax.random.key(0), mesh), emb.init_slots(SPECS, DEFAULT, mesh)
    scratch = emb.init_scratch(SPECS, strategies, mesh)
    initial = {name: np.array(table) for name, table in tables.items()}  # copied: the buffers are given up
    put = lambda tree: tree
    if mesh is not None and batch % mesh.size == 0:
        put = lambda tree: jax.device_put(tree, jax.NamedSharding(mesh, jax.P(mesh.axis_names)))
    step, compiled = make_step(strategies, mesh, exchange, clip), None
    read, infos = [], []
    for count in range(1, STEPS + 1):
        ids, pull, dense_norm = inputs(count, batch)
        arguments = tables, slots, scratch, put(ids), put(pull), np.int32(count), dense_norm
        # One executable for all steps: it refuses state that does not come back as it went in.
        compiled = compiled or step.lower(*arguments).compile()
        tables, slots, scratch, rows, info = compiled(*arguments)
        read.append(jax.device_get(rows))
        infos.append(jax.device_get(info))
    assert compiled is not None
    shards = {name: {s.data.shape for s in table.addressable_shards} for name, table in tables.items()}
    temporaries = compiled.memory_analysis().temp_size_in_bytes
    return Run(initial, *jax.device_get((tables, slots)), read, infos, compiled.as_text(), temporaries, shards)


@functools.cache
def oracle_run(batch: int = 24, clip: float | None = CLIP) -> Run:
    """The same in numpy, dense and float64, from the tables of one device."""
    initial = {n: np.array(t) for n, t in emb.init_tables(SPECS, jax.random.key(0)).items()}
    tables = {n: t.astype(np.float64) for n, t in initial.items()}
    rules = {
        'item': oracle.RowAdagrad(SPECS['item'].rows, 0.1),
        'category': oracle.LazyAdam(SPECS['category'].rows, SPECS['category'].dim, 0.1),
        'user': oracle.Sgd(0.1),
    }
    read, infos = [], []
    for count in range(1, STEPS + 1):
        ids, pull, dense_norm = inputs(count, batch)
        read.append({n: {f: oracle.lookup(tables[n], x) for f, x in fs.items()} for n, fs in ids.items()})
        grads = jax.tree.map(lambda g, r: g + DECAY * r, pull, read[-1])
        sums = {n: oracle.summed(s.rows, s.dim, ids[n], grads[n]) for n, s in SPECS.items()}
        norm = np.sqrt(dense_norm**2 + sum((g**2).sum() for g, _ in sums.values()))
        scale = 1.0 if clip is None else min(1.0, clip / norm)
        for n, (g, touched) in sums.items():
            rules[n](tables[n], scale * g, touched, count)
        infos.append(UpdateInfo(norm, scale, 1, True))
    return Run(initial, tables, {}, read, infos, '', 0, {})


def assert_as_the_oracle(got: Run, batch: int = 24, clip: float | None = CLIP) -> None:
    """Rows read, norms, clipping and final tables are the oracle's; padding and the rows past V are zero."""
    want = oracle_run(batch, clip)
    final = {name: table[: SPECS[name].rows] for name, table in got.tables.items()}
    chex.assert_trees_all_close(final, want.tables, rtol=2e-4, atol=2e-5)
    chex.assert_trees_all_close(got.rows, want.rows, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose([i.norm for i in got.infos], [i.norm for i in want.infos], rtol=1e-5)
    np.testing.assert_allclose([i.scale for i in got.infos], [i.scale for i in want.infos], rtol=1e-5)
    for name, table in got.tables.items():
        assert not table[0].any() and not table[SPECS[name].rows :].any()
        for slot in got.slots[name].values():
            assert not slot[0].any() and not slot[SPECS[name].rows :].any()
    untouched = np.ones(len(final['item']), bool)
    for count in range(1, STEPS + 1):
        for ids in inputs(count, batch)[0]['item'].values():
            untouched[ids[(ids >= 0) & (ids < len(untouched))]] = False
    # Its own initial rows: partitioned in another way, drawn ones differ in their last bit.
    np.testing.assert_array_equal(final['item'][untouched], got.initial['item'][: len(untouched)][untouched])
    chex.assert_trees_all_close(got.initial['item'][: len(untouched)], want.initial['item'], rtol=1e-6)
