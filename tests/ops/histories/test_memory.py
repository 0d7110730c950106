"""MIMN's memory against a loop over examples, behaviours and slots: value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxrec.ops.histories import memory as ops
from jaxrec.ops.histories.pooling import length_mask
from jaxrec.parallel import make_mesh
from tests.conftest import slow_but_for, slow_cases_but_for
from tests.oracles import memory as oracle

LENGTHS = np.array([5, 0, 3, 1], np.int32)
D, H, M = 3, 4, 3


def make_weights(seed=0, balanced=True, induced=True):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: (0.8 * rng.normal(size=shape)).astype(np.float32)
    gates = lambda width: ops.Gates(draw(3, 2 * D, width), draw(3, width, width), draw(3, width))
    controller, channel = gates(H), gates(D)
    heads = draw(H, 4 * D + 2), draw(4 * D + 2)
    balance = 3 * draw(M, M)  # mean usage is a fraction: smaller ones would leave all shares alike
    return ops.Weights(
        controller, *heads, draw(M, D), draw(M, D), balance if balanced else None, channel if induced else None
    )


def make_case(candidates=3, length=5, seed=0):
    """(inputs, mask, candidates); behind a history's length stands what only the mask hides."""
    rng = np.random.default_rng((seed, 1))
    inputs = rng.normal(size=(len(LENGTHS), length, D)).astype(np.float32)
    candidate = rng.normal(size=(len(LENGTHS), candidates, D)).astype(np.float32)
    return inputs, np.asarray(length_mask(LENGTHS, length)), candidate


def as_float64(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


memorise = jax.jit(ops.memorise, static_argnames='moved')
recall = jax.jit(ops.recall)


@pytest.mark.parametrize(
    ('balanced', 'moved'),
    slow_cases_but_for(
        ((True, 1), (True, 3), (False, 2)), [(balanced, moved) for balanced in (True, False) for moved in (1, 2, 3)]
    ),
)
def test_the_memory_is_the_loop(balanced, moved):
    inputs, mask, candidate = make_case()
    weights = make_weights(balanced=balanced)
    got = memorise(inputs, mask, weights, moved)
    want, _ = oracle.memorise(inputs, mask, as_float64(weights), moved)
    for ours, theirs in zip(got, want, strict=True):
        assert np.abs(theirs).max() > 0.03
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-5)
    want = oracle.recall(want, candidate, as_float64(weights))
    np.testing.assert_allclose(recall(got, candidate, weights), want, rtol=2e-4, atol=1e-5)


def make_loss(seed=2, moved=2):
    """What the library and the oracle are both asked: random sums of all that a memory gives."""
    rng = np.random.default_rng(seed)
    of_recall, of_channels = rng.normal(size=(4, 3, H + D)), rng.normal(size=(4, M, D))
    of_slots, of_usage = rng.normal(size=(4, M, D)), rng.normal(size=(4, M))

    def ours(inputs, candidate, weights, mask):
        memory = ops.memorise(inputs, mask, weights, moved)
        loss = jnp.sum(ops.recall(memory, candidate, weights) * of_recall)
        loss += jnp.sum(memory.channels * of_channels) + jnp.sum(memory.slots * of_slots)
        loss += jnp.sum(memory.usage * of_usage)
        return loss + 5 * ops.utilisation_loss(memory.usage, memory.count, jnp.ones(4))

    def theirs(inputs, candidate, weights, mask, held):
        memory, _ = oracle.memorise(inputs, mask, weights, moved, held)
        loss = (oracle.recall(memory, candidate, weights) * of_recall).sum()
        loss += (memory[3] * of_channels).sum() + (memory[2] * of_slots).sum() + (memory[4] * of_usage).sum()
        return loss + 5 * oracle.utilisation_loss(memory[4], memory[5], np.ones(4))

    return ours, theirs


def test_the_gradient_is_the_slope_of_the_loop():
    inputs, mask, candidate = make_case()
    weights = make_weights()
    ours, theirs = make_loss()
    of = jax.jit(jax.grad(ours, argnums=(0, 1, 2)))(inputs, candidate, weights, mask)
    assert not np.asarray(of[0])[mask == 0].any()
    leaves, tree = jax.tree.flatten(as_float64((inputs, candidate, weights)))
    _, held = oracle.memorise(leaves[0], mask, as_float64(weights), moved=2)
    rng = np.random.default_rng(3)
    for place, gradient in enumerate(jax.tree.leaves(of)):
        for _ in range(3):
            direction, ends = rng.normal(size=gradient.shape), []
            for eps in (1e-6, -1e-6):
                moved = [x + eps * direction if n == place else x for n, x in enumerate(leaves)]
                ends.append(theirs(*jax.tree.unflatten(tree, moved), mask, held))
            slope = (ends[0] - ends[1]) / 2e-6
            assert abs(slope) > 1e-3
            np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-3, atol=1e-4)


def test_usage_teaches_the_balance_alone():
    inputs, mask, _ = make_case()
    loss = lambda x, w: jnp.sum(ops.memorise(x, mask, w).usage ** 2)
    of_inputs, of_weights = jax.jit(jax.grad(loss, argnums=(0, 1)))(inputs, make_weights())
    assert np.abs(of_weights.balance).max() > 1e-3
    for other in jax.tree.leaves((of_inputs, of_weights._replace(balance=None))):
        assert not np.asarray(other).any()


def test_the_memory_holds_still_on_padding():
    inputs, mask, _ = make_case()
    weights = make_weights()
    want = memorise(inputs, mask, weights)
    # Two windows side by side, each with padding of its own, and what only the mask hides in between.
    apart = np.concatenate([inputs[:, :2], np.full((4, 3, D), 7, np.float32), inputs[:, 2:]], 1)
    real = np.concatenate([mask[:, :2], np.zeros((4, 3), np.float32), mask[:, 2:]], 1)
    jax.tree.map(np.testing.assert_array_equal, memorise(apart, real, weights), want)
    empty = jax.tree.map(lambda x: np.asarray(x)[1], want)
    np.testing.assert_array_equal(empty.slots, weights.initial)
    assert not any(np.any(part) for name, part in empty._asdict().items() if name != 'slots')


def test_a_memory_is_carried_on_from_where_it_stood():
    inputs, mask, _ = make_case()
    weights = make_weights()
    older = memorise(inputs[:, :2], mask[:, :2], weights)
    got = memorise(inputs[:, 2:], mask[:, 2:], weights, start=older)
    want = memorise(inputs, mask, weights)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), got, want)


def test_no_history_at_all_is_the_memory_at_the_start():
    inputs, mask, candidate = make_case()
    weights = make_weights()
    memory = memorise(inputs[:, :0], mask[:, :0], weights)
    np.testing.assert_array_equal(memory.slots, np.stack([weights.initial] * 4))
    assert np.isfinite(recall(memory, candidate, weights)).all()


def test_candidates_do_not_mix():
    inputs, mask, candidate = make_case()
    weights = make_weights()
    memory = memorise(inputs, mask, weights)
    apart = [recall(memory, candidate[:, c : c + 1], weights) for c in range(3)]
    together = recall(memory, candidate, weights)
    np.testing.assert_allclose(together, np.concatenate(apart, 1), rtol=1e-5, atol=1e-6)


def test_between_slots_read_alike_the_first_is_moved():
    inputs, mask, _ = make_case()
    weights = make_weights()
    alike = weights._replace(keys=weights.keys * 0 + 1, initial=weights.initial * 0 + 1)
    alike = alike._replace(balance=alike.balance * 0)
    channels = np.asarray(memorise(inputs, mask, alike, 2).channels)
    assert (np.abs(channels).max(-1) > 0).tolist() == [[True, True, False] if n else [False] * 3 for n in LENGTHS]


def test_slots_of_zeros_have_a_gradient():
    inputs, mask, candidate = make_case()
    weights = make_weights()
    weights = weights._replace(initial=np.zeros((M, D), np.float32))
    ours, _ = make_loss()
    of = jax.jit(jax.grad(ours, argnums=(0, 1, 2)))(inputs, candidate, weights, mask)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(of))


def test_the_balance_turns_from_slots_that_are_used():
    usage = np.array([[6.0, 2.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    got = np.asarray(ops.balance(usage, np.array([4.0, 0.0]), -np.eye(3)))
    np.testing.assert_allclose(got[0], oracle.softmax(np.array([-1.5, -0.5, 0.0])), rtol=1e-6)
    np.testing.assert_allclose(got[1], [1 / 3] * 3, rtol=1e-6)
    twice = ops.balance(2 * usage, np.array([8.0, 0.0]), -np.eye(3))
    np.testing.assert_allclose(twice, got, rtol=1e-6)  # of a history twice as long and of the same habits


def test_the_utilisation_loss_is_the_loop():
    rng = np.random.default_rng(0)
    usage, count = rng.uniform(size=(4, M)) * LENGTHS[:, None], LENGTHS.astype(np.float64)
    for counts in (np.ones(4), np.array([1.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0, 0.0])):
        want = oracle.utilisation_loss(usage, count, counts)
        np.testing.assert_allclose(ops.utilisation_loss(usage, count, counts), want, rtol=1e-5)
        slope = jax.grad(ops.utilisation_loss)(jnp.asarray(usage, jnp.float32), count, counts)
        direction = rng.normal(size=usage.shape)
        ends = [oracle.utilisation_loss(usage + e * direction, count, counts) for e in (1e-6, -1e-6)]
        got = (np.asarray(slope) * direction).sum()
        np.testing.assert_allclose(got, (ends[0] - ends[1]) / 2e-6, rtol=1e-3, atol=1e-6)
    even = np.ones((2, M))
    assert ops.utilisation_loss(even, np.ones(2), np.ones(2)) == 0


@pytest.mark.parametrize('axis_type', slow_but_for((AxisType.Auto,), (AxisType.Auto, AxisType.Explicit)))
def test_a_batch_cut_over_a_mesh_stays_cut(axis_type):
    mesh = make_mesh((2, 2), axis_type=axis_type)
    inputs, mask, candidate = make_case()
    weights = jax.tree.map(jnp.asarray, make_weights())

    def loss(inputs, candidate, mask, weights):
        memory = ops.memorise(inputs, mask, weights, 2)
        return (ops.recall(memory, candidate, weights) ** 2).sum() + (memory.channels**2).sum()

    grad = jax.jit(jax.grad(loss, argnums=(0, 1)))
    want = grad(jnp.asarray(inputs), jnp.asarray(candidate), jnp.asarray(mask), weights)
    with jax.set_mesh(mesh):
        by_example = jax.NamedSharding(mesh, jax.P(('data', 'model')))
        sent = jax.device_put((inputs, candidate, mask), by_example)
        compiled = grad.lower(*sent, weights).compile()
        got = compiled(*sent, weights)
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
        assert {shard.data.shape for shard in ours.addressable_shards} == {(1, *ours.shape[1:])}
    assert 'all-' not in compiled.as_text()


@pytest.mark.parametrize(
    'change',
    [
        lambda x, m, w: (x[..., :-1], m, w),
        lambda x, m, w: (x, m[:1], w),
        lambda x, m, w: (x, m, w._replace(keys=w.keys[:-1])),
        lambda x, m, w: (x, m, w._replace(heads=w.heads[:, :-1])),
        lambda x, m, w: (x, m, w._replace(balance=w.balance[:-1])),
        lambda x, m, w: (x, m, w._replace(channel=w.controller)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change):
    inputs, mask, _ = make_case()
    with pytest.raises(AssertionError, match='shape'):
        ops.memorise(*change(inputs, mask, make_weights()))
