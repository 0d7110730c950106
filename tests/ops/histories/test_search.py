"""Searches against loops: what they keep and in which order, ties, padding; pooling and its slope."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxrec.data.features.hard_search import scan
from jaxrec.ops.histories import search as ops
from jaxrec.parallel import make_mesh
from tests.conftest import slow_but_for, slow_cases_but_for
from tests.oracles import sim as oracle
from tests.oracles.interactions import gradients
from tests.oracles.sim import check_kept

LENGTHS = np.array([9, 0, 4, 1, 7], np.int32)
KEEPS = [1, 3, 9, 12]  # 12 are more than there are


def make_case(size=9, seed=0):
    """(query [B, C, D], two parts of behaviours [B, L, Di]); behind the length stands what would win."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    parts = [draw(len(LENGTHS), size, width) for width in (2, 3)]
    for part in parts:
        part[np.arange(size) >= LENGTHS[:, None]] *= 100
    return draw(len(LENGTHS), 2, 5), parts


@pytest.mark.parametrize('keep', KEEPS)
def test_hard_search_keeps_the_most_recent_matches(keep):
    rng = np.random.default_rng(1)
    history, candidate = rng.integers(0, 4, (5, 9)), rng.integers(0, 6, (5, 3))  # 0, 4 and 5 never match
    want = oracle.hard(history, candidate, LENGTHS, keep)
    assert {len(x) for row in want for x in row} >= {0, 1}
    check_kept(jax.jit(ops.hard_search, static_argnums=3)(history, candidate, LENGTHS, keep), want, keep)


@pytest.mark.parametrize('size', [31, 32, 33, 100])
def test_hard_search_over_the_edges_of_words(size):
    rng = np.random.default_rng(size)
    history, candidate = rng.integers(0, 3, (4, size)), rng.integers(0, 4, (4, 3))
    lengths = np.array([size, size - 1, 5, 0])
    want = oracle.hard(history, candidate, lengths, 20)
    kept = ops.hard_search(history, candidate, lengths, 20)
    check_kept(kept, want, 20)
    slots, number = scan(history, np.arange(size) < lengths[:, None], candidate, 20)  # as a loader searches
    np.testing.assert_array_equal(kept.index, slots)
    np.testing.assert_array_equal(kept.length, number)


def test_padding_equals_nothing():
    kept = ops.hard_search(np.zeros((1, 3), np.int32), np.array([[0, 1]]), np.array([3]), 2)
    check_kept(kept, [[[], []]], 2)


def test_a_history_of_one_id_keeps_its_end():
    check_kept(ops.hard_search(np.full((1, 70), 3), np.array([[3]]), np.array([70]), 5), [[[65, 66, 67, 68, 69]]], 5)


def test_packing_is_bit_by_bit():
    bits = np.random.default_rng(0).integers(0, 2, (2, 3, 70)) > 0
    words = np.asarray(ops.pack_bits(jnp.asarray(bits)))
    assert words.shape == (2, 3, 3) and words.dtype == np.uint32
    for at in np.ndindex(bits.shape):
        assert bool(words[at[:2]][at[2] // 32] >> (at[2] % 32) & 1) == bits[at]


@pytest.mark.parametrize('size', slow_but_for((31, 2100), (31, 64, 100, 1025, 2100)))
def test_top_search_over_the_edges_of_words_and_blocks(size):
    rng = np.random.default_rng(size)
    scores = rng.integers(-9, 9, (4, 2, size)).astype(np.float32)  # many are equal
    lengths = np.array([size, size - 1, 5, 0])
    check_kept(ops.top_search(scores, lengths, 20), oracle.top(scores, lengths, 20), 20)


@pytest.mark.parametrize('keep', KEEPS)
def test_top_search_keeps_the_best(keep):
    query, parts = make_case()
    scores = oracle.inner(query, np.concatenate(parts, -1)).astype(np.float32)
    want = oracle.top(scores, LENGTHS, keep)
    check_kept(jax.jit(ops.top_search, static_argnums=2)(scores, LENGTHS, keep), want, keep)


def test_equal_scores_keep_the_newer_and_padding_never_outranks():
    scores = np.random.default_rng(0).integers(-2, 1, (5, 2, 9)).astype(np.float32)
    scores[np.broadcast_to(np.arange(9) >= LENGTHS[:, None, None], scores.shape)] = 1e9
    check_kept(ops.top_search(scores, LENGTHS, 4), oracle.top(scores, LENGTHS, 4), 4)
    for worst in (-np.inf, np.nan):  # of real behaviours; they fill the slots that are left
        scores = np.full((1, 1, 6), worst, np.float32)
        scores[0, 0, 1] = -5.0
        check_kept(ops.top_search(scores, np.array([4]), 3), [[[1, 3, 2]]], 3)


@pytest.mark.parametrize('search', ['hard', 'top'])
def test_no_slots_at_all_keep_nothing(search):
    none = np.zeros((2, 0), np.int32)
    lengths, candidate = np.zeros(2, np.int32), np.ones((2, 3), np.int32)
    if search == 'hard':
        kept = ops.hard_search(none, candidate, lengths, 4)
    else:
        kept = ops.top_search(np.zeros((2, 3, 0), np.float32), lengths, 4)
    check_kept(kept, [[[]] * 3] * 2, 4)
    assert not np.asarray(ops.take_kept(none, kept.index)).any()


def test_take_kept_reads_the_positions_and_hands_gradients_back():
    x = np.random.default_rng(0).normal(size=(3, 6, 2, 2)).astype(np.float32)
    index = np.random.default_rng(1).integers(0, 6, (3, 4, 5)).astype(np.int32)
    got, pull = jax.vjp(lambda x: ops.take_kept(x, index), jnp.asarray(x))
    upstream = np.random.default_rng(2).normal(size=got.shape).astype(np.float32)
    (of_x,) = pull(jnp.asarray(upstream))
    want = np.zeros_like(x)
    for b, c, k in np.ndindex(index.shape):
        np.testing.assert_array_equal(got[b, c, k], x[b, index[b, c, k]])
        want[b, index[b, c, k]] += upstream[b, c, k]
    np.testing.assert_allclose(of_x, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('softmax', [False, True])
def test_scores_and_their_pooling_are_the_loop_value_and_gradient(softmax):
    query, parts = make_case()
    for part in parts:
        part[np.arange(9) >= LENGTHS[:, None]] *= 0.01  # finite differences want moderate numbers

    def pooled(query, first, second):
        return ops.score_pool(ops.inner_scores(query, [first, second]), LENGTHS, [first, second], softmax=softmax)

    def slow(query, first, second):
        behaviours = np.concatenate([first, second], -1)
        return oracle.score_pool(oracle.inner(query, behaviours), LENGTHS, behaviours, softmax)

    got, pull = jax.vjp(pooled, *map(jnp.asarray, (query, *parts)))
    np.testing.assert_allclose(got, slow(query, *parts), rtol=1e-4, atol=1e-5)
    upstream = np.random.default_rng(1).normal(size=got.shape).astype(np.float32)
    for ours, theirs in zip(pull(jnp.asarray(upstream)), gradients(slow, (query, *parts), upstream), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    assert not np.asarray(got)[1].any()  # an empty history


@pytest.mark.parametrize(
    ('candidates', 'keep', 'softmax'),
    slow_cases_but_for(
        ((1, 3, False), (2, 3, False), (2, 12, True)),
        [(*sizes, softmax) for sizes in ((1, 3), (2, 3), (2, 12)) for softmax in (False, True)],
    ),
)
def test_soft_search_is_its_pieces_value_and_gradient(candidates, keep, softmax):
    query, parts = make_case()
    query = query[:, :candidates]

    def pieces(query, parts):
        scores = ops.inner_scores(query, parts)
        kept = ops.top_search(scores, LENGTHS, keep)
        vectors = tuple(ops.take_kept(part, kept.index) for part in parts)
        return ops.Found(kept, vectors, ops.score_pool(scores, LENGTHS, parts, softmax=softmax))

    def of(search):
        """A loss that reads the pooled and the kept vectors, which padding of the kept must not move."""

        def loss(query, parts):
            found = search(query, parts)
            real = ops.length_mask(found.kept.length, keep)[..., None]
            kept = sum((jnp.sin(part) * real).sum() for part in found.parts)
            return kept + (found.pooled**2).sum()

        return jax.jit(jax.grad(loss, (0, 1)))(jnp.asarray(query), [jnp.asarray(part) for part in parts])

    whole = lambda query, parts: ops.soft_search(query, parts, LENGTHS, keep, softmax=softmax)
    got, want = whole(query, parts), pieces(query, parts)
    jax.tree.map(np.testing.assert_array_equal, got.kept, want.kept)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, want)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), of(whole), of(pieces))


@pytest.mark.parametrize('softmax', [False, True])
@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16])
def test_soft_search_keeps_the_type_of_reduced_precision(dtype, softmax):
    query, parts = make_case()
    query, parts = jnp.asarray(query, dtype), [jnp.asarray(part / 100, dtype) for part in parts]

    def loss(query, parts):
        found = ops.soft_search(query, parts, LENGTHS, 3, softmax=softmax)
        return sum((part.astype(jnp.float32) ** 2).sum() for part in (*found.parts, found.pooled)), found

    of, found = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(query, parts)
    for x in jax.tree.leaves((of, found.parts, found.pooled)):
        assert x.dtype == dtype and np.isfinite(np.asarray(x, np.float32)).all()
    assert not np.asarray(found.pooled, np.float32)[1].any()  # an empty history
    whole = lambda *x: loss(*x)[0]
    exact = jax.jit(jax.grad(whole, (0, 1)))(*jax.tree.map(lambda x: x.astype(jnp.float32), (query, parts)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.1, atol=0.03), of, exact)


def test_soft_search_of_less_precise_parts_hands_each_its_own_type():
    query, parts = make_case()
    parts = [jnp.asarray(parts[0], jnp.bfloat16), jnp.asarray(parts[1])]
    loss = lambda query, parts: (ops.soft_search(query, parts, LENGTHS, 3).pooled ** 2).sum()
    of_query, of_parts = jax.jit(jax.grad(loss, (0, 1)))(jnp.asarray(query), parts)
    assert [x.dtype for x in (of_query, *of_parts)] == [jnp.float32, jnp.bfloat16, jnp.float32]


def test_soft_search_of_no_slots_finds_nothing():
    none = [jnp.zeros((2, 0, 2)), jnp.zeros((2, 0, 3))]
    loss = lambda query, parts: ops.soft_search(query, parts, np.zeros(2, np.int32), 4).pooled.sum()
    value, (of_query, of_parts) = jax.value_and_grad(loss, (0, 1))(jnp.ones((2, 3, 5)), none)
    assert value == 0 and not of_query.any() and [part.shape for part in of_parts] == [(2, 0, 2), (2, 0, 3)]


def test_cosines_rank_as_cosines_and_zeros_score_zero():
    query, parts = make_case()
    parts[0][0, 3], parts[1][0, 3] = 0, 0
    got = np.asarray(ops.cosine_scores(query, parts))
    behaviours = np.concatenate(parts, -1)
    unit = behaviours / np.maximum(np.linalg.norm(behaviours, axis=-1, keepdims=True), 1e-30)
    np.testing.assert_allclose(got, oracle.inner(query, unit), rtol=1e-4, atol=1e-5)
    assert not got[0, :, 3].any()


def test_positions_carry_no_gradient():
    query, parts = make_case()

    def loss(query, parts):
        kept = ops.top_search(ops.inner_scores(query, parts), LENGTHS, 3)
        return sum((ops.take_kept(part, kept.index) ** 2).sum() for part in parts)

    of_query, of_parts = jax.grad(loss, (0, 1))(jnp.asarray(query), [jnp.asarray(part) for part in parts])
    assert not np.asarray(of_query).any() and np.asarray(of_parts[0]).any()


@pytest.mark.parametrize('axis_type', [AxisType.Auto, AxisType.Explicit])
def test_a_batch_cut_over_a_mesh_stays_cut(axis_type, eight_devices):
    mesh = make_mesh((2, 2), axis_type=axis_type)
    query, parts = make_case()
    query, first, lengths = query[:4, :, :2], parts[0][:4], LENGTHS[:4]
    ids = np.random.default_rng(0).integers(1, 4, (4, 9))

    def loss(query, first, ids, lengths):
        scores = ops.inner_scores(query, [first])
        pooled = ops.score_pool(scores, lengths, [first])
        soft = ops.take_kept(first, ops.top_search(scores, lengths, 3).index)
        found = ops.soft_search(query, [first], lengths, 3)
        hard = ops.take_kept(first, ops.hard_search(ids, ids[:, :2], lengths, 3).index)
        both = (found.pooled**2).sum() + (found.parts[0] ** 3).sum()
        return (pooled**2).sum() + (soft**2).sum() + (hard**2).sum() + both

    want = jax.grad(loss, (0, 1))(jnp.asarray(query), jnp.asarray(first), ids, lengths)
    with jax.set_mesh(mesh):
        by_example = jax.NamedSharding(mesh, jax.P(('data', 'model')))
        sent = jax.device_put((query, first, ids, lengths), by_example)
        compiled = jax.jit(jax.grad(loss, (0, 1))).lower(*sent).compile()
        got = compiled(*sent)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, want)
    assert {shard.data.shape for shard in got[1].addressable_shards} == {(1, *first.shape[1:])}
    assert 'all-' not in compiled.as_text()
