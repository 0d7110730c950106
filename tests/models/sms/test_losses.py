"""Losses at points against loops, which logits are a relation's own, and what relations and boxes aim at."""

import math

import jax
import numpy as np

from jaxrec.models.sms.heads import Counts
from jaxrec.models.sms.losses import (
    entity_targets,
    mean_distance,
    part_loss,
    parts_of,
    relation_targets,
)
from tests.models.sms.scenes import SIZE, WORDS, make_batch

RNG = np.random.default_rng(0)
COUNTS = np.array([[1, 0, 1], [0, 1, 0]], np.float32)


def test_distances_are_means_over_the_coordinates_of_points_that_count():
    found, true = RNG.normal(size=(2, 2, 3, 4)).astype(np.float32)
    value, slope = jax.jit(jax.value_and_grad(mean_distance))(found, true, COUNTS)
    each = [abs(found[b, n] - true[b, n]) for b, n in np.argwhere(COUNTS)]
    np.testing.assert_allclose(value, np.mean(each), rtol=1e-4)
    want = np.sign(found - true) * COUNTS[..., None] / (4 * len(each))
    np.testing.assert_allclose(slope, want, rtol=1e-4)
    assert mean_distance(found, true, 0 * COUNTS) == 0


def test_parts_are_judged_one_by_one_where_relations_count():
    logits, parts = RNG.normal(size=(2, 3, 5)).astype(np.float32), RNG.integers(0, 2, (2, 3, 5), np.uint8)
    value, slope = jax.jit(jax.value_and_grad(part_loss))(logits, parts, COUNTS)
    each, want = [], np.zeros(logits.shape)
    for b, r in np.argwhere(COUNTS):
        for p in range(5):
            chance = 1 / (1 + math.exp(-logits[b, r, p]))
            each.append(-math.log(chance if parts[b, r, p] else 1 - chance))
            want[b, r, p] = (chance - parts[b, r, p]) / (5 * COUNTS.sum())
    np.testing.assert_allclose(value, np.mean(each), rtol=1e-5)
    np.testing.assert_allclose(slope, want, rtol=1e-5)
    assert part_loss(logits, parts, 0 * COUNTS) == 0


def test_a_point_has_the_parts_of_its_relation():
    relations, parts = 3, 2
    logits = np.arange(2 * 4 * relations * parts, dtype=np.float32).reshape(2, 4, -1)
    category = RNG.integers(0, relations, (2, 4)).astype(np.int32)
    counts = Counts(3, relations, parts)
    found = jax.jit(lambda *x: parts_of(*x, counts))(logits, category)
    for b, r in np.ndindex(2, 4):
        start = category[b, r] * parts
        np.testing.assert_array_equal(found[b, r], logits[b, r, start : start + parts])
    np.testing.assert_array_equal(parts_of(logits[..., :parts], category, counts), logits[..., :parts])


def test_boxes_have_their_own_middles_however_coarse_masks_are():
    batch, cells = make_batch(), (SIZE // 4, SIZE // 4)
    batch['entity/middle'] = batch['entity/centre'] + np.float32([0.3, -0.2])
    found = jax.jit(entity_targets, static_argnums=1)(batch, cells)
    np.testing.assert_allclose(found.size[..., 2:], np.broadcast_to([0.3, -0.2], (2, 5, 2)), atol=1e-6)
    np.testing.assert_array_equal(found.size[..., :2], batch['entity/size'])


def test_relations_of_subjects_that_may_be_none_do_not_count():
    batch, cells = make_batch(), (SIZE // 4, SIZE // 4)
    batch['relation/subject'][0, 2], batch['relation/object'][0, 2] = 2, 0  # the ball's
    run = jax.jit(
        lambda batch, subjects: relation_targets(batch, entity_targets(batch, cells), 1 / 3, subjects).counts,
        static_argnums=1,
    )
    people = run(batch, WORDS.entities.index('person'))
    np.testing.assert_array_equal(people, [[1, 1, 0, 0], [1, 0, 0, 0]])
    np.testing.assert_array_equal(run(batch, None), [[1, 1, 1, 0], [1, 0, 0, 0]])
