"""Directions, uncertainties, gates and steps against loops over candidates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops import exploration as ops
from tests.oracles import exploration as oracle

B, C, E, H, N = 2, 3, 6, 4, 5


@pytest.fixture(scope='module')
def case():
    """Inputs [B, C, E] in two leaves, and the net of the oracle with its gradient."""
    rng = np.random.default_rng(0)
    h, matrix, vector = rng.normal(size=(B, C, E)), rng.normal(size=(E, H)), rng.normal(size=H)
    h[1, 2] = 0
    split = lambda x: {'one': x[..., :2], 'two': x[..., 2:].reshape(B, C, 2, 2)}
    join = lambda tree: jnp.concatenate([tree['one'], tree['two'].reshape(B, C, 4)], -1)

    def gradient_at(delta):
        logit = lambda d: (jnp.tanh((join(split(jnp.asarray(h, jnp.float32))) + join(d)) @ matrix) @ vector).sum()
        return jax.grad(logit)(delta)

    zeros = jax.tree.map(jnp.zeros_like, split(jnp.asarray(h, jnp.float32)))
    return h, matrix, vector, join, gradient_at, zeros


def predictions(seed=1):
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.02, 0.2, (B, C))
    return base, base + 0.01 * rng.normal(size=(N, B, C))


def test_the_unit_gradient_is_the_oracles(case):
    h, matrix, vector, join, gradient_at, zeros = case
    got = join(ops.fgm_direction(gradient_at(zeros)))
    for b, c in np.ndindex(B, C):
        want = oracle.unit(oracle.gradient(h[b, c], matrix, vector))
        np.testing.assert_allclose(got[b, c], want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('steps', [1, 2, 5])
def test_gradient_steps_are_the_oracles(case, steps):
    h, matrix, vector, join, gradient_at, zeros = case
    size = jnp.asarray([[2.0, -2.0, 0.5], [0.0, 1.0, -1.0]])
    run = jax.jit(lambda size: ops.pgd_direction(gradient_at(zeros), gradient_at, size, steps))
    got = join(run(size))
    for b, c in np.ndindex(B, C):
        want = oracle.direction(h[b, c], matrix, vector, float(size[b, c]), steps)
        np.testing.assert_allclose(got[b, c], want, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(ops.pair_norm(run(size)), 1, rtol=1e-5)


def test_a_gradient_of_zero_moves_nothing():
    tree = {'a': jnp.zeros((1, 2, 3)).at[0, 1, 0].set(-4.0), 'b': jnp.zeros((1, 2))}
    got = ops.unit(tree)
    np.testing.assert_array_equal(got['a'][0], [[0, 0, 0], [-1, 0, 0]])
    np.testing.assert_array_equal(ops.pair_norm(tree), [[0, 4]])
    still = ops.pgd_direction(tree, lambda delta: jax.tree.map(jnp.zeros_like, tree), jnp.ones((1, 2)), 3)
    assert np.isfinite(still['a']).all() and not np.asarray(still['a'][0, 0]).any()
    slope = jax.grad(lambda x: ops.unit({'a': x})['a'].sum())(jnp.zeros((1, 1, 2)))
    assert np.isfinite(slope).all()


def test_a_flat_tree_is_one_array_a_candidate_and_comes_back():
    tree = {
        'a': jnp.arange(24.0).reshape(2, 3, 4),
        'b': {'c': jnp.arange(36.0).reshape(2, 3, 2, 3)},
        'd': jnp.ones((2, 3)),
    }
    flat, restore = ops.flatten_pairs(tree)
    assert flat.shape == (2, 3, 4 + 6 + 1)
    np.testing.assert_array_equal(flat[1, 2], [*range(20, 24), *range(30, 36), 1])
    jax.tree.map(np.testing.assert_array_equal, restore(flat), tree)


def test_steps_have_the_slope_of_their_value():
    """The unit gradient is a function of the gradient; its Jacobian is (I - g g^T) / norm."""
    rng = np.random.default_rng(0)
    x, up = rng.normal(size=(1, 2, 4)).astype(np.float32), rng.normal(size=(1, 2, 4)).astype(np.float32)
    got = jax.grad(lambda x: (ops.unit(x) * up).sum())(jnp.asarray(x))
    for c in range(2):
        g, norm = oracle.unit(x[0, c]), np.linalg.norm(x[0, c])
        np.testing.assert_allclose(got[0, c], (np.eye(4) - np.outer(g, g)) @ up[0, c] / norm, rtol=1e-4)


@pytest.mark.parametrize('signed', [True, False])
def test_thompson_deltas_are_the_oracles(signed):
    base, samples = predictions()
    got = ops.thompson_delta(jnp.asarray(base), jnp.asarray(samples[0]), signed=signed)
    np.testing.assert_allclose(got, oracle.thompson(base, samples[0], signed), rtol=1e-4, atol=1e-7)
    assert (np.asarray(got) < 0).any() == signed


@pytest.mark.parametrize('spread', ops.SPREADS)
@pytest.mark.parametrize('centre', ops.CENTRES)
def test_confidence_deltas_are_the_oracles(spread, centre):
    base, samples = predictions()
    got = ops.ucb_delta(jnp.asarray(base), jnp.asarray(samples), spread=spread, centre=centre)
    np.testing.assert_allclose(got, oracle.ucb(base, samples, spread, centre), rtol=1e-3)


def test_small_spreads_of_large_predictions_do_not_cancel():
    base = jnp.full((1, 1), 0.9)
    samples = 0.9 + 1e-5 * jnp.asarray([-1.0, 1.0, -1.0, 1.0])[:, None, None]
    np.testing.assert_allclose(ops.ucb_delta(base, samples), 1e-5, rtol=0.02)


def test_gates_open_above_their_threshold_only():
    prediction, threshold = jnp.asarray([[0.1, 0.2, 0.3]]), jnp.asarray([[0.2]])
    np.testing.assert_array_equal(ops.hard_gate(prediction, threshold), [[0, 0, 1]])
    want = 1 / (1 + np.exp(-10 * np.array([[-0.1, 0, 0.1]])))
    np.testing.assert_allclose(ops.soft_gate(prediction, threshold, 10.0), want, rtol=1e-5)


def test_winners_are_of_the_pool_and_changes_are_counted_among_pools():
    pool = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 0]], bool)
    base = np.array([[0.1, 0.2, 0.9], [0.3, 0.3, 0.1], [0.5, 0.1, 0.1]], np.float32)
    explored = np.array([[0.3, 0.2, 0.9], [0.3, 0.2, 0.1], [0.1, 0.5, 0.1]], np.float32)
    np.testing.assert_array_equal(ops.winners(base, pool), [1, 0, 0])
    assert float(ops.changed_share(base, explored, pool)) == 0.5
    assert float(ops.changed_share(base, explored, np.zeros_like(pool))) == 0


def test_a_step_of_nothing_keeps_every_bit_of_the_base():
    base, moved = jnp.asarray([[0.1, 0.2]]), jnp.asarray([[0.3, 0.4]])
    got = ops.keep_unmoved(base, moved, jnp.asarray([[0.0, 1e-9]]))
    np.testing.assert_array_equal(got, np.float32([[0.1, 0.4]]))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'spread': 'sd'}, r"ucb_spread = 'sd' does not exist; choose one of \('std', 'var'\)"),
        ({'centre': 'median'}, r"ucb_centre = 'median' does not exist; choose one of \('base', 'mean'\)"),
    ],
)
def test_unknown_spreads_and_centres_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ops.ucb_delta(jnp.zeros((1, 1)), jnp.zeros((2, 1, 1)), **options)
