"""Gaussian targets, the focal loss and peaks against loops over cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops.segmentation.heatmaps import find_peaks, focal_loss, gaussian_maps, gaussian_radius, highest_near
from tests.oracles import heatmaps as oracle
from tests.oracles.masks import gradient

LOSS = jax.jit(jax.value_and_grad(focal_loss), static_argnames='clamp')


def test_radii_keep_the_slip_of_cornernet():
    sizes = np.random.default_rng(0).uniform(0, 130, (400, 2))
    sizes[:4] = [[0, 0], [0, 7], [1, 1], [128, 128]]
    want = [oracle.gaussian_radius(*size) for size in sizes]
    found = jax.jit(gaussian_radius)(sizes[:, 0].astype(np.float32), sizes[:, 1].astype(np.float32))
    np.testing.assert_array_equal(found, want)
    # The third root is (-28 + sqrt(28^2 + 4 2.8 30)) / 2 = 2.7; divided by 2 2.8 as it should be, .97.
    assert gaussian_radius(jnp.asarray(10.0), jnp.asarray(10.0)) == 2


def test_targets_are_the_highest_of_overlapping_peaks():
    rng = np.random.default_rng(1)
    cell = rng.integers(0, (6, 8), (2, 5, 2)).astype(np.int32)
    cell[0, 1] = cell[0, 0]  # two on one cell, of different radius
    radius = np.array([[0, 3, 2, 1, 2], [4, 1, 0, 2, 3]], np.float32)
    category = rng.integers(0, 3, (2, 5)).astype(np.int32)
    category[0, 1] = category[0, 0]
    valid = np.ones((2, 5), bool)
    valid[0, 3] = valid[1, 0] = False
    category[1, 0] = 99  # of no entity, and anything
    found = jax.jit(gaussian_maps, static_argnums=(4, 5))(cell, radius, category, valid, (6, 8), 3)
    want = oracle.gaussian_maps(cell, radius, category, valid, (6, 8), 3)
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-7)
    points = {(b, *cell[b, n], category[b, n]) for b, n in np.argwhere(valid)}
    assert {tuple(at) for at in np.argwhere(np.asarray(found) == 1)} == points


@pytest.mark.parametrize('clamp', [None, 1e-4])
def test_the_focal_loss_and_its_gradient(clamp):
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 3, (3, 3, 2, 2)).astype(np.float32)
    target = rng.uniform(0, 1, logits.shape).astype(np.float32)
    target[0, 0, 0, 0] = target[1, 2, 1, 1] = target[2, 0, 0, 0] = 1
    weight = np.array([1, 1, 0], np.float32)
    value, slope = LOSS(logits, target, weight, clamp=clamp)
    exact = logits.astype(np.float64)
    np.testing.assert_allclose(value, oracle.focal_loss(exact, target, weight, clamp), rtol=1e-5)
    want = gradient(lambda x: oracle.focal_loss(x, target, weight, clamp), exact)
    np.testing.assert_allclose(slope, want, rtol=1e-3, atol=1e-6)
    assert not np.asarray(slope[2]).any()
    without = LOSS(logits, target * 0.5, weight, clamp=clamp)[0]  # no point: the sum, undivided
    np.testing.assert_allclose(without, oracle.focal_loss(exact, target * 0.5, weight, clamp), rtol=1e-5)


def test_logits_far_out_cost_what_they_should():
    logits = np.zeros((3, 3, 2, 2), np.float32)
    logits[0, 0, 0, 0], logits[0, 1, 1, 1] = -200, 200  # a missed point, and one that is none
    target = np.zeros_like(logits)
    target[0, 0, 0, 0] = 1
    weight = np.array([1, 0, 0], np.float32)
    value, slope = LOSS(logits, target, weight, clamp=None)
    rest = 10 * np.log(2) / 4
    np.testing.assert_allclose(value, 400 + rest, rtol=1e-6)
    np.testing.assert_allclose([slope[0, 0, 0, 0], slope[0, 1, 1, 1]], [-1, 1], rtol=1e-5)
    value, slope = LOSS(logits, target, weight, clamp=1e-4)  # as PPDM: nothing is learnt out there
    np.testing.assert_allclose(value, 2 * -np.log(1e-4) * (1 - 1e-4) ** 2 + rest, rtol=1e-3)
    assert slope[0, 0, 0, 0] == 0 and slope[0, 1, 1, 1] == 0


def test_peaks_are_those_that_no_neighbour_exceeds():
    rng = np.random.default_rng(3)
    logits = rng.permutation(2 * 5 * 7 * 2).reshape(2, 5, 7, 2).astype(np.float32) / 20 - 4
    logits[1, 2, 3:5, 0] = 9  # two neighbours on one level are both peaks
    found = jax.jit(find_peaks, static_argnums=1)(logits, 25)
    for b in range(2):
        want = oracle.find_peaks(logits[b].astype(np.float64), 25)
        count = len(want)
        assert 2 < count
        got = np.column_stack([found.score[b], found.cell[b], found.category[b]])[:count]
        np.testing.assert_allclose(got, want, rtol=1e-5)
        assert not np.asarray(found.score[b])[count:].any()  # fewer peaks than places
    np.testing.assert_array_equal(found.cell[1, :2], [[2, 3], [2, 4]])


def test_what_diverged_is_seen_in_the_scores():
    logits = np.zeros((1, 4, 4, 2), np.float32)
    assert np.isnan(find_peaks(jnp.full_like(logits, jnp.nan), 3).score).all()
    logits[0, 1, 2, 0] = np.nan
    assert np.isnan(find_peaks(logits, 16).score).any()


def test_a_point_is_read_where_its_class_is_highest_near_it():
    rng = np.random.default_rng(4)
    logits = rng.integers(0, 4, (3, 5, 6, 2)).astype(np.float32)  # with many ties
    cell = rng.integers(0, (5, 6), (3, 9, 2)).astype(np.int32)
    cell[:, :4] = [[0, 0], [4, 5], [0, 3], [4, 2]]
    category = rng.integers(0, 2, (3, 9)).astype(np.int32)
    taken = np.zeros(logits.shape, bool)
    for b in range(3):
        taken[b, cell[b, :, 0], cell[b, :, 1], category[b]] = True
    for closed in (taken, np.zeros_like(taken)):
        found = np.asarray(jax.jit(highest_near)(logits, cell, category, closed))
        for b in range(3):
            want = oracle.highest_near(logits[b], cell[b], category[b], closed[b])
            np.testing.assert_array_equal(found[b], want)
        assert (found != cell).any() and np.abs(found - cell).max() == 1
    others = tuple(map(jnp.asarray, (cell, category, taken)))
    slope = jax.jit(jax.grad(lambda x: highest_near(x, *others).sum() + x[0, 0, 0, 0]))(logits)
    assert slope.sum() == 1  # none goes through the choice


def test_more_peaks_than_places_are_refused():
    with pytest.raises(ValueError, match='the 13 largest of 12'):
        find_peaks(jnp.zeros((1, 3, 2, 2)), 13)
