"""Losses at points against loops, which logits are a relation's own, and what relations and boxes aim at."""

import math

import jax
import numpy as np

from jaxrec.models.sms import make_task
from jaxrec.models.sms.losses import (
    entity_targets,
    mean_distance,
    parsing_losses,
    part_loss,
    relation_losses,
    relation_targets,
    see_entities,
)
from jaxrec.models.sms.network.heads import EntityRead, Maps, RelationRead, of_relation
from jaxrec.ops.segmentation.grids import fold
from tests.models.sms.scenes import SIZE, WORDS, make_batch
from tests.oracles.heatmaps import highest_near
from tests.oracles.masks import part_cross_entropy

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
    found = jax.jit(lambda *x: of_relation(*x, parts))(logits, category)
    for b, r in np.ndindex(2, 4):
        start = category[b, r] * parts
        np.testing.assert_array_equal(found[b, r], logits[b, r, start : start + parts])
    np.testing.assert_array_equal(of_relation(logits[..., :parts], category, parts), logits[..., :parts])


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


def test_peaks_have_a_neighbourhood_of_a_least_radius():
    batch, cells = make_batch(), (SIZE // 4, SIZE // 4)

    def run(batch, least):
        entities = entity_targets(batch, cells, least)
        return entities.radius, relation_targets(batch, entities, 1 / 3, None, least).radius

    plain, wide = (jax.jit(run, static_argnums=1)(batch, least) for least in (0, 1))
    for before, after in zip(plain, wide, strict=True):
        assert (np.asarray(before) == 0).any()
        np.testing.assert_array_equal(after, np.maximum(before, 1))


def maps_of(batch):
    """Heatmaps of noise: their highest cells lie anywhere."""
    shape = (len(batch['image']), SIZE // 4, SIZE // 4)
    heat = lambda classes: RNG.normal(size=(*shape, classes)).astype(np.float32)
    return Maps(*[np.zeros((*shape, 1), np.float32)] * 2, heat(3), heat(3), None, None)


def test_entities_are_read_near_and_their_targets_move_along():
    batch = make_batch()
    maps = maps_of(batch)
    read = lambda _, cell: EntityRead(cell.astype(np.float32), np.zeros((*cell.shape[:2], 4)), None)
    see = {}
    for near in (False, True):
        network = make_task({'size': 'tiny', 'read_near': near}, WORDS).network
        run = jax.jit(lambda maps, batch, network=network: see_entities(network, maps, read, batch))
        see[near] = run(maps, batch)
    exact, moved, heat = see[False].true, see[True].true, np.asarray(see[True].heat)
    np.testing.assert_array_equal(heat, see[False].heat)
    for b, valid in enumerate(batch['entity/valid']):
        want = highest_near(maps.entity[b], np.asarray(exact.cell[b]), batch['entity/category'][b], heat[b] == 1)
        np.testing.assert_array_equal(np.asarray(moved.cell[b])[valid], np.array(want)[valid])
    assert (np.asarray(moved.cell) != exact.cell).any(-1)[batch['entity/valid']].sum() > 2
    np.testing.assert_array_equal(see[True].found.offset, moved.cell)  # that is where they are read
    np.testing.assert_allclose(moved.cell + moved.offset, batch['entity/centre'], rtol=1e-6)
    np.testing.assert_array_equal(moved.size, exact.size)


def test_relations_are_read_near_and_lead_to_the_same_entities():
    batch = make_batch()
    maps, entities = maps_of(batch), entity_targets(batch, (SIZE // 4, SIZE // 4))
    at = lambda key: np.take_along_axis(np.asarray(entities.cell), batch[key][..., None], 1)
    subject, target = at('relation/subject'), at('relation/object')
    exact = np.asarray(relation_targets(batch, entities, 1 / 3).cell)
    for near in (False, True):
        task = make_task({'size': 'tiny', 'read_near': near}, WORDS)

        def run(maps, batch, task=task):
            asked = []

            def read(_, place, relation):
                assert relation is batch['relation/category']
                asked.append(place)
                return RelationRead(*((place - x).astype(np.float32) for x in (subject, target)), None)

            return relation_losses(task.network, maps, read, batch), asked[0]

        losses, cell = jax.jit(run)(maps, batch)
        assert losses['displacement'] == 0
        valid = batch['relation/valid']
        assert (np.asarray(cell) != exact).any(-1)[valid].any() == near
        assert np.abs(np.asarray(cell) - exact)[valid].max() == near


def test_points_tell_the_class_of_their_object():
    """Value and gradient against a loop; points that do not count say nothing."""
    batch, network = make_batch(), make_task({'size': 'tiny', 'class_weight': 0.7}, WORDS).network
    logits = RNG.normal(size=(2, 4, 3)).astype(np.float32)
    still = np.zeros((2, 4, 2), np.float32)

    def run(logits):
        read = lambda *_: RelationRead(still, still, None, logits)
        return relation_losses(network, maps_of(batch), read, batch)['class']

    value, slope = jax.jit(jax.value_and_grad(run))(logits)
    counts = batch['relation/valid'] * batch['valid'][:, None]
    want, total = np.zeros_like(logits), 0.0
    for b, r in zip(*np.nonzero(counts), strict=True):
        which = batch['entity/category'][b, batch['relation/object'][b, r]]
        chance = np.exp(logits[b, r].astype(float))
        chance /= chance.sum()
        total -= math.log(chance[which])
        want[b, r] = chance - (np.arange(3) == which)
    assert 0 < counts.sum() < counts.size
    np.testing.assert_allclose(value, 0.7 * total / counts.sum(), rtol=1e-5)
    np.testing.assert_allclose(slope, 0.7 * want / counts.sum(), atol=1e-6)


def test_part_maps_are_compared_where_they_are_folded():
    network = make_task({'size': 'tiny', 'mask_stride': 2}, WORDS).network
    logits = RNG.normal(size=(2, 6, 8, 3)).astype(np.float32)
    part, valid = RNG.integers(0, 3, (2, 6, 8)).astype(np.uint8), np.array([1, 1], np.float32)
    part[0, 1, 2:] = 255
    maps = Maps(None, None, None, None, None, fold(logits, 2))
    found = jax.jit(lambda maps, batch: parsing_losses(network, maps, batch))(maps, {'part': part, 'valid': valid})
    want = part_cross_entropy(logits.astype(np.float64), part, valid)
    np.testing.assert_allclose(found['parsing'], network.parsing_weight * want, rtol=1e-5)
