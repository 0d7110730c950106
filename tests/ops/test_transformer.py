"""The parts of a transformer against loops, value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops import transformer as ops
from tests.oracles import onerec as oracle


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_rms_norm_by_hand_in_its_own_dtype():
    x, scale = draw(3, 4), draw(4, seed=1)
    want = np.stack([oracle.norm(row.astype(np.float64), scale) for row in x])
    np.testing.assert_allclose(ops.rms_norm(x, scale), want, rtol=1e-5)
    half = ops.rms_norm(jnp.asarray(x, jnp.bfloat16), scale)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), want, atol=0.05)


def slow_attention(query, key, value, mask):
    out = np.zeros(query.shape[:3] + value.shape[3:])
    for b, q, h in np.ndindex(*query.shape[:3]):
        seen = np.flatnonzero(mask[b, h, q])
        if len(seen):
            weights = oracle.softmax(key[b, seen, h] @ query[b, q, h] / np.sqrt(query.shape[3]))
            out[b, q, h] = weights @ value[b, seen, h]
    return out


def test_attention_is_the_loop_and_nothing_without_keys():
    query, key, value = draw(2, 3, 2, 4), draw(2, 5, 2, 4, seed=1), draw(2, 5, 2, 6, seed=2)
    mask = np.random.default_rng(3).random((2, 2, 3, 5)) < 0.6
    mask[0, 0, 1] = False
    wide = [x.astype(np.float64) for x in (query, key, value)]
    np.testing.assert_allclose(ops.attend(query, key, value, mask), slow_attention(*wide, mask), rtol=1e-4, atol=1e-5)
    whole = ops.attend(query, key, value)
    np.testing.assert_allclose(whole, ops.attend(query, key, value, np.ones_like(mask)), rtol=1e-5, atol=1e-6)
    grads = jax.grad(lambda *x: ops.attend(*x, mask)[0, 1, 0].sum(), (0, 1, 2))(query, key, value)
    assert all(np.isfinite(g).all() and not np.asarray(g).any() for g in grads)


def test_beams_attend_each_to_its_own():
    query, key, value = draw(2, 3, 2, 2, 4), draw(2, 3, 5, 2, 4, seed=1), draw(2, 3, 5, 2, 4, seed=2)
    seen = np.arange(5) <= np.array([2, 3])[:, None]
    got = ops.attend_own(query, key, value, seen)
    for k in range(3):
        one = ops.attend(query[:, k], key[:, k], value[:, k], seen)
        np.testing.assert_allclose(got[:, k], one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('activation', ['relu', 'swiglu'])
def test_feed_forward_is_the_loop(activation):
    x, down = draw(3, 4), draw(5, 4, seed=2)
    up = draw(4, 10 if activation == 'swiglu' else 5, seed=1)
    got = ops.feed_forward(x, up, down, activation)
    weights = {'up': up.astype(np.float64), 'down': down.astype(np.float64)}
    want = [oracle.feed(weights, row.astype(np.float64), activation) for row in x]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_drops_follow_layer_and_place_and_keep_the_mean():
    drop = ops.Drop(jnp.array([1, 2], jnp.uint32), 0.25)
    x = jnp.ones((100, 100))
    masks = [np.asarray(m) for m in (drop(x, 0), drop(x, 1), drop.of_layer(0)(x, 0), drop.of_layer(1)(x, 0))]
    for mask in masks:
        np.testing.assert_allclose((mask == 0).mean(), 0.25, atol=0.02)
        np.testing.assert_allclose(mask.mean(), 1, atol=0.03)
    for i in range(4):
        assert all((masks[i] != masks[j]).any() for j in range(i))
    np.testing.assert_array_equal(drop(x, 0), masks[0])
    assert ops.Drop(drop.words, 0.0)(x, 0) is x


def test_a_place_sees_itself_and_what_came_before():
    np.testing.assert_array_equal(ops.causal_mask(3), [[1, 0, 0], [1, 1, 0], [1, 1, 1]])


@pytest.mark.parametrize('shape', [(3, 5), (5, 3), (4, 4)])
def test_projections_are_products_with_the_gradients_of_products(shape):
    x, weights = draw(2, 3, shape[0]), draw(*shape, seed=1)
    ahead = draw(2, 3, shape[1], seed=2)
    value, pull = jax.vjp(jax.jit(ops.project), x, weights)
    of_x, of_weights = pull(ahead)
    np.testing.assert_allclose(value, x @ weights, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(of_x, ahead @ weights.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(of_weights, np.einsum('btx,btf->xf', x, ahead), rtol=1e-5, atol=1e-5)
