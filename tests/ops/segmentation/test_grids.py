"""Pooling, enlarging and reading at points against loops, and against XLA's own convolutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops.segmentation.grids import (
    bilinear_kernel,
    enlarge_bilinear,
    enlarge_by_kernel,
    fold,
    halve_by_max,
    neighbourhood_max,
    patches_at,
    read_between,
    unfold,
)
from tests.oracles import masks as oracle

X = np.random.default_rng(0).normal(size=(2, 6, 4, 3)).astype(np.float32)


def check(function, slow, x, rtol=1e-3):
    """Value, and the gradient of a weighted sum, in one program."""
    want = slow(x.astype(np.float64))
    weight = np.random.default_rng(1).normal(size=want.shape)
    run = jax.jit(jax.value_and_grad(lambda x: (function(x) * weight).sum()))
    value, slope = run(x)
    np.testing.assert_allclose(jax.jit(function)(x), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(value, (want * weight).sum(), rtol=1e-4)
    numeric = oracle.gradient(lambda x: (slow(x) * weight).sum(), x.astype(np.float64))
    np.testing.assert_allclose(slope, numeric, rtol=rtol, atol=1e-5)


def test_folding_lays_squares_into_channels_and_back():
    want = np.zeros((2, 3, 2, 12), np.float32)
    for (b, y, x, c), value in np.ndenumerate(X):
        want[b, y // 2, x // 2, 6 * (y % 2) + 3 * (x % 2) + c] = value
    both = jax.jit(lambda x: (fold(x, 2), unfold(fold(x, 2), 2)))(X)
    np.testing.assert_array_equal(both[0], want)
    np.testing.assert_array_equal(both[1], X)
    with pytest.raises(ValueError, match='a map of 6 x 4 has no whole squares of 4: pad or resize'):
        fold(X, 4)


def test_halving_takes_the_maximum_of_squares():
    slow = lambda x: np.stack(
        [np.stack([x[:, i : i + 2, j : j + 2].max((1, 2)) for j in (0, 2)], 1) for i in (0, 2, 4)], 1
    )
    check(halve_by_max, slow, X)


def test_an_odd_map_cannot_be_halved():
    with pytest.raises(ValueError, match='a map of 5 x 4 cannot be halved: give images of an even'):
        halve_by_max(jnp.zeros((1, 5, 4, 1)))


@pytest.mark.parametrize(('size', 'stride'), [(4, 1), (4, 2), (3, 2)])
def test_neighbourhoods_end_at_the_edge(size, stride):
    x = X[:1, :5, :size] - 10  # below zero: an edge padded with zeros would show
    check(lambda x: neighbourhood_max(x, stride), lambda x: oracle.neighbourhood_max(x, stride), x)


@pytest.mark.parametrize('factor', [2, 4])
def test_enlarging_is_a_transposed_convolution(factor):
    x = X[:1, :3, :2]
    kernel = np.random.default_rng(2).normal(size=(2 * factor, 2 * factor, 3)).astype(np.float32)
    check(lambda x: enlarge_by_kernel(x, kernel), lambda x: oracle.enlarge_by_kernel(x, kernel), x)
    of_kernel = jax.jit(jax.grad(lambda k: (enlarge_by_kernel(x, k) ** 2).sum()))(kernel)
    slow = lambda k: (oracle.enlarge_by_kernel(x.astype(np.float64), k) ** 2).sum()
    np.testing.assert_allclose(of_kernel, oracle.gradient(slow, kernel.astype(np.float64)), rtol=2e-3, atol=1e-3)


def test_the_bilinear_kernel_keeps_a_level_map_level():
    np.testing.assert_allclose(bilinear_kernel(2)[0], [0.0625, 0.1875, 0.1875, 0.0625])
    level = np.ones((1, 4, 4, 1), np.float32)
    inside = jax.jit(enlarge_by_kernel)(level, np.asarray(bilinear_kernel(4))[..., None])[0, 2:-2, 2:-2]
    np.testing.assert_allclose(inside, 1, rtol=1e-6)


def test_an_odd_factor_is_refused():
    with pytest.raises(ValueError, match=r'enlarges by 3: give an even factor'):
        enlarge_by_kernel(jnp.zeros((1, 2, 2, 1)), jnp.zeros((6, 6, 1)))


@pytest.mark.parametrize(
    ('factor', 'aligned'), [(1, False), (2, False), (3, False), (4, False), (2, True), (3, True), (4, True)]
)
def test_enlarging_reads_between_cells(factor, aligned):
    x = X[0, :3, :, 0]
    fast = lambda x: enlarge_bilinear(x, factor, aligned=aligned)
    check(fast, lambda x: oracle.enlarge_bilinear(x, factor, aligned), x)


def test_enlarging_of_other_axes_and_of_one_cell():
    found = jax.jit(lambda x: enlarge_bilinear(x, 2, (1, 2)))(X)
    want = oracle.enlarge_bilinear(X[1, ..., 2].astype(np.float64), 2)
    np.testing.assert_allclose(found[1, ..., 2], want, rtol=1e-5, atol=1e-6)
    one = jax.jit(enlarge_bilinear, static_argnums=1)(np.full((1, 1), 7.0, np.float32), 4)
    np.testing.assert_array_equal(one, np.full((4, 4), 7))
    with pytest.raises(ValueError, match='cannot be enlarged by 0'):
        enlarge_bilinear(X, 0)


def test_edges_of_masks_stay_where_they_are():
    mask = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]])
    found = jax.jit(enlarge_bilinear, static_argnums=1)(np.where(mask, 1.0, -1.0).astype(np.float32), 4) > 0
    wrong = np.asarray(found) != np.kron(mask, np.ones((4, 4)))
    np.testing.assert_array_equal(np.argwhere(wrong), [[4, 4], [4, 11]])  # its corners inside the map


def test_a_layer_on_patches_is_the_convolution_there():
    kernel = np.random.default_rng(3).normal(size=(3, 3, 3, 5)).astype(np.float32)
    cell = np.array([[[0, 0], [5, 3], [2, 1], [2, 1]], [[5, 0], [0, 3], [4, 2], [1, 1]]], np.int32)

    def both(x):
        here = patches_at(x, cell) @ kernel.reshape(27, 5)
        everywhere = jax.lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
        there = everywhere[jnp.arange(2)[:, None], cell[..., 0], cell[..., 1]]
        return here, there

    here, there = jax.jit(both)(X)
    np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-5)
    slopes = jax.jit(lambda x: [jax.grad(lambda x, i=i: (both(x)[i] ** 2).sum())(x) for i in (0, 1)])(X)
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-3, atol=1e-3)


def test_reading_between_cells_is_reading_an_enlarged_map():
    fine = oracle.enlarge_bilinear(X[1, ..., 2].astype(np.float64), 4)  # pixel i has its middle at (i + 1/2) / 4
    pixel = np.array([[0, 0], [5, 9], [23, 15], [10, 3]])
    place = np.stack([np.zeros_like(pixel), pixel]).astype(np.float32) / 4 + 0.125
    run = jax.jit(lambda x: (read_between(x, place), jax.grad(lambda x: (read_between(x, place) ** 2).sum())(x)))
    found, slope = run(X)
    np.testing.assert_allclose(found[1, :, 2], fine[pixel[:, 0], pixel[:, 1]], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[0], np.tile(X[0, 0, 0], (4, 1)), rtol=1e-6)
    np.testing.assert_allclose(slope[0].sum((0, 1)), 8 * X[0, 0, 0], rtol=1e-5)  # all four read one cell
