"""Relation points, the match with entities and the loss of part maps against loops."""

import jax
import numpy as np
import pytest

from jaxrec.ops.segmentation.matching import (
    best_matches,
    first_of_its_kind,
    matching_scores,
    part_cross_entropy,
    relation_cell,
)
from tests.oracles import masks as oracle


def test_midpoints_are_cut_down_and_shared_by_mirror_images():
    centres = np.random.default_rng(0).integers(0, 128, (500, 2, 2)).astype(np.int32)
    run = jax.jit(relation_cell, static_argnums=2)
    there, back = run(centres[:, 0], centres[:, 1], 0.5), run(centres[:, 1], centres[:, 0], 0.5)
    np.testing.assert_array_equal(there, (centres[:, 0] + centres[:, 1]) // 2)
    np.testing.assert_array_equal(there, back)


def test_shifted_points_tell_mirror_images_apart():
    centres = np.random.default_rng(1).integers(0, 128, (500, 2, 2)).astype(np.int32)
    a, b = centres[:, 0].astype(int), centres[:, 1].astype(int)
    run = jax.jit(relation_cell, static_argnums=2)
    there, back = run(centres[:, 0], centres[:, 1], 1 / 3), run(centres[:, 1], centres[:, 0], 1 / 3)
    np.testing.assert_array_equal(there, a + np.sign(b - a) * (np.abs(b - a) // 3))
    far = np.abs(a - b).max(1) >= 6
    assert far.sum() > 400
    assert (np.abs(np.asarray(there) - back).max(1)[far] >= 2).all()  # beyond one another's neighbourhood
    np.testing.assert_array_equal(run(centres[:, 0], centres[:, 1], 0.0), a)


def test_shifted_points_of_near_pairs_differ_too():
    b = np.stack(np.meshgrid(np.arange(-6, 7), np.arange(-6, 7), indexing='ij'), -1).reshape(-1, 2)
    b = b[b.any(1)].astype(np.int32)  # entities of one cell share all points
    a = np.zeros_like(b)
    run = jax.jit(relation_cell, static_argnums=2)
    for fraction in (0.0, 0.25, 1 / 3, 2 / 3, 0.75, 1.0):
        there, back = np.asarray(run(a, b, fraction)), np.asarray(run(b, a, fraction))
        apart, away = np.abs(there - back), np.abs(b)
        # Each lies as far from the end that is nearer as the other from its own.
        np.testing.assert_array_equal(apart, away - 2 * np.floor(away * min(fraction, 1 - fraction) + 1e-6))
        assert apart.any(1).all()
        # Beyond the middle it is the point of the way back that lies before it.
        np.testing.assert_array_equal(there, run(b, a, 1 - fraction))


def test_the_match_is_the_best_fit_of_those_allowed():
    rng = np.random.default_rng(2)
    wanted = rng.uniform(0, 9, (3, 5, 2)).astype(np.float32)
    centre = rng.uniform(0, 9, (3, 4, 2)).astype(np.float32)
    score = rng.random((3, 4)).astype(np.float32)
    allowed = rng.random((3, 5, 4)) < 0.7
    allowed[0, 0], score[2] = False, 0
    wanted[1, 0], centre[1, 0], centre[1, 1] = 3, (3, 5), (5, 3)  # both as far away
    score[1, :2], allowed[1, 0] = 0.5, (True, True, False, False)
    best = lambda *x, scale=1.0: best_matches(matching_scores(*x[:3], scale), x[3], 1)
    run = jax.jit(best, static_argnames='scale')
    chosen = {}
    for scale in (4.0, 1.0):
        index, share = (x[..., 0] for x in run(wanted, centre, score, allowed, scale=scale))
        exists = share > 0
        for b in range(3):
            # Cells a quarter as large are four times as many.
            want = oracle.match(scale * wanted[b], scale * centre[b], score[b], allowed[b])
            assert [int(i) if e else None for i, e in zip(index[b], exists[b], strict=True)] == want
        chosen[scale] = np.asarray(index)
    assert (chosen[4.0] != chosen[1.0]).any()  # nearer, if less sure
    assert not exists[0, 0] and not np.asarray(exists[2]).any()
    assert index[1, 0] == 0


@pytest.mark.parametrize('count', [1, 2, 4, 6])
def test_the_best_matches_are_those_of_a_loop(count):
    rng = np.random.default_rng(4)
    scores, allowed = rng.random((3, 5, 4)).astype(np.float32), rng.random((3, 5, 4)) < 0.6
    scores[0, 0], allowed[1, 1] = 0.5, False  # all alike; none at all
    which, share = jax.jit(best_matches, static_argnums=2)(scores, allowed, count)
    assert which.shape == share.shape == (3, 5, count)
    for b, r in np.ndindex(3, 5):
        open_to = [k for k in range(4) if allowed[b, r, k] and scores[b, r, k] > 0]
        order = sorted(open_to, key=lambda k: (-scores[b, r, k], k))[:count]
        assert which[b, r, : len(order)].tolist() == order
        want = [scores[b, r, k] / scores[b, r, order[0]] for k in order]
        np.testing.assert_allclose(share[b, r], want + [0] * (count - len(order)), rtol=1e-6)


def test_matching_scores_by_hand_and_their_gradient():
    wanted = np.array([[[2.0, 3.0]]], np.float32)
    centre = np.array([[[2.0, 3.0], [3.0, 5.0]]], np.float32)
    score = np.array([[0.5, 0.9]], np.float32)
    run = jax.jit(lambda *x: (matching_scores(*x), jax.grad(lambda *x: matching_scores(*x)[0, 0, 1], (0, 1, 2))(*x)))
    found, slopes = run(wanted, centre, score)
    np.testing.assert_allclose(found[0, 0], [0.5, 0.9 / 2 / 3], rtol=1e-6)
    exact = [x.astype(np.float64) for x in (wanted, centre, score)]
    fit = lambda w, c, s: s[0, 1] / (abs(w[0, 0] - c[0, 1]) + 1).prod()
    for i in range(3):
        want = oracle.gradient(lambda x, i=i: fit(*[x if j == i else exact[j] for j in range(3)]), exact[i])
        np.testing.assert_allclose(slopes[i], want, rtol=1e-4, atol=1e-6)


def test_repeats_are_known_by_all_three():
    subject = np.array([[0, 0, 1, 0, 0, 1]], np.int32)
    target = np.array([[1, 1, 0, 1, 2, 0]], np.int32)
    relation = np.array([[3, 3, 3, 4, 3, 3]], np.int32)
    found = jax.jit(first_of_its_kind)(subject, target, relation)
    np.testing.assert_array_equal(found, [[True, False, True, True, True, False]])


def test_part_maps_count_labelled_pixels_of_images_that_count():
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (3, 2, 3, 4)).astype(np.float32)
    part = rng.integers(0, 4, (3, 2, 3)).astype(np.uint8)
    part[0, 0] = 255
    weight = np.array([1, 1, 0], np.float32)
    run = jax.jit(jax.value_and_grad(part_cross_entropy))
    value, slope = run(logits, part, weight)
    exact = logits.astype(np.float64)
    np.testing.assert_allclose(value, oracle.part_cross_entropy(exact, part, weight), rtol=1e-5)
    want = oracle.gradient(lambda x: oracle.part_cross_entropy(x, part, weight), exact)
    np.testing.assert_allclose(slope, want, rtol=1e-3, atol=1e-6)
    assert not np.asarray(slope)[0, 0].any() and not np.asarray(slope)[2].any()
    assert run(logits, np.full_like(part, 255), weight)[0] == 0
