"""Fusion by hand; what perfect maps hold and what they cannot; whose part is where."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxrec.models.sms import make_task
from jaxrec.models.sms.network.fusion import Entities, box_masks, find_triplets, part_masks
from jaxrec.models.sms.network.heads import RelationRead
from jaxrec.models.sms.oracle import perfect_predictions
from jaxrec.ops.segmentation.heatmaps import Peaks
from tests.models.sms.scenes import WORDS, make_batch, triplets, truth

BATCH = make_batch()
TINY = {'size': 'tiny'}


JOINED = ('entity/box', 'triplet/subject', 'triplet/object', 'triplet/relation', 'triplet/score')


def compiled(keys, **options):
    task = make_task(TINY | options, WORDS)
    # What is not asked for is not compiled either.
    return jax.jit(
        lambda batch: {key: x for key, x in perfect_predictions(task.network, task.names, batch).items() if key in keys}
    )


def sets(predictions):
    return [set(x) for x in triplets(predictions)]


def joined(**options):
    return sets(compiled(JOINED, **options)(BATCH))


@pytest.fixture(scope='module')
def run_shifted():
    return compiled((*JOINED, 'entity/score', 'entity/category', 'entity/mask', 'triplet/parts', 'part'))


@pytest.fixture(scope='module')
def shifted(run_shifted):
    return jax.device_get(run_shifted(BATCH))


def test_perfect_maps_give_every_relation_its_entities(shifted):
    found, want = triplets(shifted), truth(BATCH)
    assert [sorted(x) for x in found] == [sorted(x) for x in want]
    assert len(want[0]) == 3  # the mirrored pair in both directions


def test_perfect_maps_give_masks_boxes_and_parts(shifted):
    for b, count in enumerate((3, 2)):
        score = shifted['entity/score'][b]
        assert (score > 0.99).sum() == count and not score[count:].any()
        for n in range(count):
            mask = BATCH['entity/mask'][b, n]
            whole = np.kron(mask, np.ones((4, 4))) > 0
            fit = [(whole & (m > 0)).sum() / (whole | (m > 0)).sum() for m in shifted['entity/mask'][b]]
            k = int(np.argmax(fit))
            assert fit[k] > 0.6 and shifted['entity/category'][b, k] == BATCH['entity/category'][b, n]
            rows, columns = np.nonzero(whole)
            box = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
            np.testing.assert_allclose(shifted['entity/box'][b, k], box, atol=1e-4)
    known = shifted['part'][:, 2::4, 2::4]  # hardly mixed with the next cell
    np.testing.assert_array_equal(known, BATCH['part'])
    kick = list(shifted['triplet/relation'][0][:3]).index(0)
    np.testing.assert_allclose(shifted['triplet/parts'][0, kick], [0, 1], atol=1e-6)
    foot = np.asarray(part_masks(shifted, [kick]))[0, 0]
    kicker = shifted['entity/mask'][0, shifted['triplet/subject'][0, kick]] > 0
    np.testing.assert_array_equal(foot, kicker & (shifted['part'][0] == 2))
    assert 0 < foot.sum() < kicker.sum()
    half = shifted | {'triplet/parts': np.full_like(shifted['triplet/parts'], 0.5)}  # from one half on
    every = np.asarray(part_masks(half, [kick]))[0, 0]
    np.testing.assert_array_equal(every, kicker & (shifted['part'][0] > 0))


def test_the_plain_midpoint_loses_one_of_a_mirrored_pair_and_nothing_else():
    want = truth(BATCH)
    found = joined(relation_point='midpoint')
    lost = want[0] - found[0]
    assert len(lost) == 1 and found[0] < want[0] and found[1] == want[1]
    assert next(iter(lost))[2] == WORDS.relations.index('next to')
    assert joined(relation_point='midpoint', both_directions=True) == want


def test_a_point_on_the_subject_holds_one_object_of_each_subject():
    run = compiled((*JOINED, 'triplet/parts'), relation_point='subject', parts_by_relation=True)
    want, found = truth(BATCH), sets(run(BATCH))
    (lost,) = want[0] - found[0]  # of the person that is next to another and kicks a ball
    assert lost[2] == WORDS.relations.index('next to') and found[1] == want[1]
    # Where each relation of a point has ends of its own, it holds both.
    own = {'ends_by_relation': True, 'object_class': True}
    assert joined(relation_point='subject', **own) == want
    # Two relations of one pair, each with parts of its own.
    batch = {key: x.copy() for key, x in BATCH.items()}
    batch['relation/valid'][0, 2:] = False
    for row, parts in enumerate(((1, 0), (0, 1))):
        batch['relation/subject'][0, row], batch['relation/object'][0, row] = 0, 2
        batch['relation/category'][0, row], batch['relation/parts'][0, row] = row, parts
    two = jax.device_get(run(batch))
    assert {x[2] for x in sets(two)[0]} == {0, 1}
    order = np.argsort(two['triplet/relation'][0, :2])
    np.testing.assert_allclose(two['triplet/parts'][0, order], [[1, 0], [0, 1]], atol=1e-6)


def test_those_that_fit_next_best_come_behind():
    """Each relation of the truth stays first; behind come other pairs, each once and for less."""
    once, more = (jax.device_get(compiled((*JOINED,), tries=tries)(BATCH)) for tries in (1, 2))
    for b, want in enumerate(truth(BATCH)):
        first, all_ = triplets(once)[b], triplets(more)[b]
        assert set(first) == want and all_[: len(first)] == first and len(set(all_)) == len(all_)
        kinds = {relation for _, _, relation in first}
        assert b or len(all_) > len(first)  # the second image has one pair alone
        assert {relation for _, _, relation in all_} == kinds
        assert all(subject != target for subject, target, _ in all_)


@pytest.mark.parametrize('tries', [1, 3])
def test_of_all_that_was_tried_the_symmetric_pairs_of_people_are_given_in_both_directions(tries):
    options = {'relation_point': 'midpoint', 'points': 24, 'triplets': 24, 'tries': tries}
    one, both = (joined(both_directions=turned, **options) for turned in (False, True))
    next_to, person = WORDS.relations.index('next to'), WORDS.entities.index('person')
    for b, (found, turned) in enumerate(zip(one, both, strict=True)):
        centres = BATCH['entity/middle'][b][BATCH['entity/category'][b] == person]
        people = {tuple(place) for place in (4 * centres).astype(int).tolist()}
        back = {(y, x, relation) for x, y, relation in found if relation == next_to and y in people}
        assert turned == found | back and (b or back)


def test_boxes_stand_in_for_masks_and_nothing_for_parts():
    asked = 'entity/mask', 'entity/box', 'part'
    found = compiled(asked, masks=False, parsing=False, read_stride=2)(BATCH)
    assert found['entity/mask'].shape == (2, 8, 24, 24) and not found['part'].any()
    for k in range(3):
        top, left, bottom, right = (int(x) // 2 for x in found['entity/box'][0, k])
        want = np.zeros((24, 24))
        want[top:bottom, left:right] = 1
        np.testing.assert_array_equal(found['entity/mask'][0, k], want)
    part_of_box = box_masks(np.array([[[0.4, 0.6, 1.5, 2.4]]]), (3, 3))
    np.testing.assert_array_equal(part_of_box[0, 0], [[0, 1, 0], [0, 0, 0], [0, 0, 0]])


def test_three_points_by_hand():
    """Entities: a person at (2, 2), a ball at (2, 8), a person at (9, 2)."""
    task = make_task(TINY | {'points': 4, 'triplets': 4}, WORDS)
    entities = Entities(
        np.array([[0.9, 0.8, 0.5]], np.float32),
        np.array([[1, 0, 1]], np.int32),
        np.array([[[2, 2], [2, 8], [9, 2]]], np.int32),
        np.zeros((1, 3, 4), np.float32),
        None,
    )
    cell = np.array([[[2, 4], [2, 5], [2, 4], [5, 2]]], np.int32)
    points = Peaks(np.array([[0.7, 0.6, 0.4, 0.0]], np.float32), cell, np.array([[0, 0, 1, 1]], np.int32))
    # The first point means (2, 2) and (2, 8); the second the ball as a subject, to which the first person is
    # nearest; the third the first person both times, of which it cannot be the object.
    subject = cell - np.array([[[2, 2], [2, 7], [2, 2], [2, 2]]], np.float32)
    target = cell - np.array([[[2, 8], [2, 8], [3, 2], [9, 2]]], np.float32)
    parts = np.array([[[0, 50], [0, 0], [-50, 0], [0, 0]]], np.float32)
    run = jax.jit(lambda *read: find_triplets(task.network, task.names, entities, points, RelationRead(*read)))
    found = jax.device_get(run(subject, target, parts))
    kept = found.score[0] > 0
    np.testing.assert_array_equal(kept, [True, True, False, False])
    # The second point repeats the first: the ball is no person.
    np.testing.assert_allclose(found.score[0, :2], [0.9 * 0.8 * 0.7, 0.9 * 0.5 * 0.4], rtol=1e-6)
    np.testing.assert_array_equal(found.subject[0, :2], [0, 0])
    np.testing.assert_array_equal(found.target[0, :2], [1, 2])
    np.testing.assert_array_equal(found.relation[0, :2], [0, 1])
    np.testing.assert_allclose(found.parts[0, :2], [[0.5, 1], [0, 0.5]], atol=1e-6)
    # A relation's score counts more, and the class of its object sends the first point to the other person.
    squared = dataclasses.replace(task.network, relation_power=2.0)
    category = np.zeros((1, 4, 3), np.float32)
    category[0, 0, WORDS.entities.index('person')] = 50
    run = jax.jit(lambda *read: find_triplets(squared, task.names, entities, points, RelationRead(*read)))
    found = run(subject, target, parts, category)
    np.testing.assert_array_equal(found.target[0, :3], [1, 2, 2])
    want = [0.9 * 0.8 * 0.6**2, 0.9 * 0.5 * 0.7**2, 0.9 * 0.5 * 0.4**2]
    np.testing.assert_allclose(found.score[0, :3], want, rtol=1e-6)
    anything = dataclasses.replace(task.network, any_subject=True)
    run = jax.jit(lambda *read: find_triplets(anything, task.names, entities, points, RelationRead(*read)))
    found = run(subject, target, parts)
    assert int(found.subject[0, 1]) == 1 and int(found.target[0, 1]) != 1


def test_an_image_without_people_has_no_triplet(run_shifted):
    batch = BATCH | {'entity/category': np.where(BATCH['entity/category'] == 1, 2, BATCH['entity/category'])}
    found = run_shifted(batch)
    assert not np.asarray(found['triplet/score']).any() and np.asarray(found['entity/score']).any()


@pytest.mark.parametrize(
    ('sizes', 'message'),
    [
        ({'keep': 10**5}, r'model\.keep = 100000 of \d+ x \d+ x \d+, which are \d+: lower it, or give'),
        ({'points': 10**5}, r'model\.points = 100000 of \d+ x \d+ x \d+, which are \d+'),
    ],
)
def test_more_than_a_map_has_places_is_refused_by_its_name(sizes, message):
    task = make_task(TINY | sizes, WORDS)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda batch: perfect_predictions(task.network, task.names, batch), BATCH)
