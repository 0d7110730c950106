"""Stacks of layers: looped, scanned and computed again are one; steps are a whole sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.models.transformer.layers import (
    KeysValues,
    Memory,
    decoder_layer,
    decoder_step,
    encoder_layer,
    feed_dense,
    keys_values,
    layer_of,
    run_layers,
)
from jaxrec.models.transformer.weights import Sizes, decoder_weights, draw_stack, encoder_weights
from jaxrec.ops.transformer import Drop, causal_mask

SIZES = Sizes(width=6, heads=2, head_width=3, hidden=5, gated=True)
NONE = Drop(jnp.zeros(2, jnp.uint32), 0.0)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_weights_are_drawn_by_what_they_sum():
    stack = draw_stack(jax.random.key(0), encoder_weights(Sizes(64, 4, 16, 400, True)), 3)
    assert stack['feed']['up'].shape == (3, 64, 800) and stack['feed']['down'].shape == (3, 400, 64)
    assert stack['self']['query'].shape == (3, 64, 4, 16) and stack['self']['out'].shape == (3, 4, 16, 64)
    np.testing.assert_array_equal(stack['self_norm'], np.ones((3, 64)))
    np.testing.assert_allclose(stack['feed']['up'].std() * 8, 1, atol=0.02)
    np.testing.assert_allclose(stack['feed']['down'].std() * 20, 1, atol=0.02)
    assert (np.asarray(stack['feed']['up'][0]) != np.asarray(stack['feed']['up'][1])).any()


def test_experts_take_the_place_of_the_net():
    layer = decoder_weights(SIZES, experts=4)
    assert layer['feed']['up'].shape == (4, 6, 10) and layer['router'].shape == (6, 4)
    assert 'router' not in decoder_weights(SIZES)


@pytest.mark.parametrize(
    ('scan', 'remat'),
    [(True, True)] + [pytest.param(*case, marks=pytest.mark.slow) for case in ((True, False), (False, True))],
)
def test_a_stack_is_its_layers_in_a_row(scan, remat):
    stack = draw_stack(jax.random.key(1), encoder_weights(SIZES), 3)
    x, mask = draw(2, 4, 6), np.ones((2, 1, 1, 4), bool)

    def run(stack, scan, remat):
        layer = lambda x, w, i: (encoder_layer(w, x, mask, 'swiglu', NONE), i)
        return run_layers(layer, x, stack, scan=scan, remat=remat)

    whole, numbers = run(stack, scan, remat)
    by_hand = x
    for i in range(3):
        by_hand = encoder_layer(layer_of(stack, i), by_hand, mask, 'swiglu', NONE)
    np.testing.assert_allclose(whole, by_hand, rtol=1e-5, atol=5e-6)
    assert numbers.tolist() == [0, 1, 2]
    grad = lambda scan, remat: jax.grad(lambda s: (run(s, scan, remat)[0] ** 2).sum())(stack)
    # Of a small element only what is left of large sums: rounding is of the size of the array.
    near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(b).max()))
    jax.tree.map(near, grad(scan, remat), grad(False, False))


@pytest.mark.parametrize('parts', [(1, 1, 1, 1), (2, 2), pytest.param((1, 3), marks=pytest.mark.slow)])
def test_steps_are_the_whole_sequence(parts):
    weights = layer_of(draw_stack(jax.random.key(2), decoder_weights(SIZES), 1), 0)
    x, memory = draw(2, 4, 6), Memory(draw(2, 3, 6, seed=1), np.array([[1, 1, 0], [0, 0, 0]], bool))
    feed = lambda w, x: (feed_dense(w, x, 'swiglu', None), None)
    whole, _ = decoder_layer(weights, x, memory, causal_mask(4), feed, NONE)
    history = keys_values(weights['cross'], memory.hidden)
    beams = jnp.stack([x, -x], 1)  # two beams that differ
    cache, found, position = KeysValues(*[jnp.zeros((2, 2, 4, 2, 3))] * 2), [], 0
    for size in parts:
        new = beams[:, :, position : position + size]
        out, cache = decoder_step(weights, new, cache, position, history, memory.mask, feed)
        found.append(out)
        position += size
    got = jnp.concatenate(found, 2)
    np.testing.assert_allclose(got[:, 0], whole, rtol=1e-4, atol=1e-5)
    assert not np.allclose(got[:, 1], whole)
