"""Dynamic masks against a loop over entities and places; the dice loss; value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops.segmentation.dynamic_masks import dice_loss, dynamic_masks, number_of_weights, split_weights
from tests.oracles import masks as oracle


@pytest.mark.parametrize(('number', 'channels', 'layers', 'stride'), [(8, 8, 3, 1), (3, 4, 2, 2), (2, 1, 1, 1)])
def test_every_entity_has_a_network_of_its_own(number, channels, layers, stride):
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    features, emitted = draw(2, 3, 2, number), draw(2, 2, number_of_weights(number, channels, layers))
    cell = rng.integers(0, 6, (2, 2, 2)).astype(np.int32)
    weight = draw(2, 2, 3 * stride, 2 * stride)

    def fast(features, emitted):
        found = dynamic_masks(features, emitted, cell, divisor=4.0, channels=channels, layers=layers, stride=stride)
        return (found * weight).sum(), found

    def slow(features, emitted):
        return np.array(
            [
                [
                    oracle.enlarge_bilinear(oracle.dynamic_mask(f, e, c, 4.0, channels, layers, stride), stride)
                    for e, c in zip(emitted[b], cell[b], strict=True)
                ]
                for b, f in enumerate(features)
            ]
        )

    exact = features.astype(np.float64), emitted.astype(np.float64)
    (_, found), slopes = jax.jit(jax.value_and_grad(fast, (0, 1), has_aux=True))(features, emitted)
    np.testing.assert_allclose(found, slow(*exact), rtol=1e-4, atol=1e-4)
    of_features = oracle.gradient(lambda x: (slow(x, exact[1]) * weight).sum(), exact[0])
    np.testing.assert_allclose(slopes[0], of_features, rtol=1e-3, atol=1e-3)
    if layers < 3:  # differences of 169 numbers each would take seconds and say the same
        of_emitted = oracle.gradient(lambda x: (slow(exact[0], x) * weight).sum(), exact[1])
        np.testing.assert_allclose(slopes[1], of_emitted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('divisor', [4.0, 48.0])  # coordinates that bfloat16 holds, and others
def test_coordinates_are_as_fine_in_bfloat16_however_far_the_entity_lies(divisor):
    rng = np.random.default_rng(2)
    draw = lambda *shape: rng.normal(size=shape).astype(jnp.bfloat16)
    features, emitted = draw(1, 1, 192, 1), draw(1, 2, number_of_weights(1, 1, 1))
    cell = np.float32([[[0.5, 180.5], [0, 90]]])
    run = jax.jit(lambda *x: dynamic_masks(*x, divisor=divisor, channels=1, layers=1))
    found = run(features, emitted, cell)
    assert found.dtype == jnp.bfloat16
    for entity in range(2):
        exact = features[0].astype(np.float64), emitted[0, entity].astype(np.float64)
        want = oracle.dynamic_mask(*exact, cell[0, entity], divisor, 1, 1, 1)
        # One rounding, of the result: half a unit in eight places.
        np.testing.assert_allclose(np.float64(found[0, entity]), want, rtol=2**-8, atol=1e-5)


def test_condinst_emits_169_weights():
    assert number_of_weights(8, 8, 3) == 169
    layers = split_weights(jnp.zeros((2, 169)), 8)
    assert [m.shape[1:] for m, _ in layers] == [(8, 10), (8, 8), (1, 8)]
    assert [b.shape[1:] for _, b in layers] == [(8,), (8,), (1,)]
    with pytest.raises(ValueError, match=r'168 weights are emitted for mask networks of 169: 8 features'):
        split_weights(jnp.zeros((2, 168)), 8)


def test_dice_by_definition():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4, 3, 5)).astype(np.float32) * 3
    target = (rng.random((4, 3, 5)) < 0.4).astype(np.uint8)
    target[1], target[2] = 0, 1  # nothing and everything
    run = jax.jit(lambda x: (dice_loss(x, target), jax.grad(lambda x: dice_loss(x, target).sum())(x)))
    found, slope = run(logits)
    exact = logits.astype(np.float64)
    slow = lambda x: np.array([oracle.dice_loss(a, b.astype(np.float64)) for a, b in zip(x, target, strict=True)])
    np.testing.assert_allclose(found, slow(exact), rtol=1e-5)
    np.testing.assert_allclose(slope, oracle.gradient(lambda x: slow(x).sum(), exact), rtol=1e-3, atol=1e-6)
    perfect = dice_loss(np.where(target == 1, 30.0, -30.0).astype(np.float32), target)
    np.testing.assert_allclose(perfect, [0, 1, 0, 0], atol=1e-5)
