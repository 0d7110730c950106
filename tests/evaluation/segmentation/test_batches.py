"""The evaluator on host batches and predictions in the form that sources and tasks give them."""

import numpy as np
import pytest

from jaxrec.evaluation.relation_segmentation import RelationEvaluator, found_of
from jaxrec.evaluation.segmentation.found import NOTHING
from tests.evaluation.segmentation.cases import CHAIR, NEXT_TO, VOCABULARY, box, found, random_image, scene
from tests.evaluation.segmentation.test_rules import ENTITIES, HOLDS

SIZE, ENTITY_CAP, RELATION_CAP, KEPT, TRIPLETS = (4, 10), 6, 5, 8, 12


def padded(rows, cap, value=0):
    rows = np.asarray(rows)
    full = np.full((cap, *rows.shape[1:]), value, rows.dtype)
    full[: len(rows)] = rows
    return full


def batch_row(truth, event=0, dropped=(0, 0)):
    """One image as a row of a host batch; the unused rows hold numbers that must not matter."""
    bits = np.packbits(truth.masks, axis=-1)
    return {
        'image': truth.image,
        'valid': np.float32(1),
        'host/event': np.int64(event),
        'entity/category': padded(truth.categories, ENTITY_CAP, 1),
        'entity/valid': padded(np.ones(len(truth.masks), bool), ENTITY_CAP),
        'relation/subject': padded(truth.relations[:, 0], RELATION_CAP, 5),
        'relation/object': padded(truth.relations[:, 1], RELATION_CAP, 5),
        'relation/category': padded(truth.relations[:, 2], RELATION_CAP, 3),
        'relation/parts': padded(truth.relation_parts.astype(np.uint8), RELATION_CAP, 1),
        'relation/valid': padded(np.ones(len(truth.relations), bool), RELATION_CAP),
        'host/mask': padded(bits, ENTITY_CAP, 255),
        'host/part': truth.parts,
        'host/dropped': np.asarray(dropped, np.int32),
    }


def prediction_row(guess):
    """One image's predictions as a row; fillers have the score 0."""
    triplets = guess.triplets
    return {
        'entity/score': padded(guess.scores, KEPT),
        'entity/category': padded(guess.categories, KEPT, 1),
        'entity/mask': padded(guess.masks.astype(np.uint8), KEPT, 1),
        'triplet/subject': padded(triplets[:, 0], TRIPLETS, 7),
        'triplet/object': padded(triplets[:, 1], TRIPLETS, 7),
        'triplet/relation': padded(triplets[:, 2], TRIPLETS, 3),
        'triplet/score': padded(guess.triplet_scores, TRIPLETS),
        'triplet/parts': padded(np.where(guess.triplet_parts, np.float32(0.5), np.float32(0.49)), TRIPLETS, 1),
        'part': guess.parts,
    }


def stacked(rows):
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def equal(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert value == pytest.approx(second[key], abs=1e-12, nan_ok=True), key


def test_batches_give_what_scenes_give():
    draw, images = np.random.default_rng(3), []
    while len(images) < 6:
        truth, guess, _ = random_image(draw, SIZE)
        if (guess.triplets[:, 1] >= 0).all():  # a network always names an object
            images.append((truth, guess))
    plain, batched = RelationEvaluator(VOCABULARY), RelationEvaluator(VOCABULARY)
    for truth, guess in images:
        plain.add_image(truth, guess)
    for part in (images[:3], images[3:]):
        rows = [batch_row(truth, n, (1, 2)) for n, (truth, _) in enumerate(part)]
        rows.append({**rows[0], 'valid': np.float32(0)})
        predictions = [prediction_row(guess) for _, guess in part]
        batched.add(stacked(rows), stacked([*predictions, predictions[0]]))
    expected = plain.compute() | {'dropped_entities': 6, 'dropped_relations': 12}
    equal(batched.compute(), expected)
    assert [image['name'] for image in batched.images()] == [f'event {n}' for n in (0, 1, 2, 0, 1, 2)]


def test_relations_that_did_not_fit_the_batch_are_missed():
    """As they are where the whole truth is judged and nothing is found of them."""
    chair = (CHAIR, box(6, 6, 2, 2))
    far = (0, len(ENTITIES), NEXT_TO, set())
    guess = found(ENTITIES, [(*HOLDS, 0.9), (0, 1, NEXT_TO, set(), 0.8)])
    whole, cut = RelationEvaluator(VOCABULARY), RelationEvaluator(VOCABULARY)
    whole.add_image(scene([*ENTITIES, chair], [HOLDS, far]), guess)
    row = batch_row(scene(ENTITIES, [HOLDS]), dropped=(1, 1)) | {
        'host/missed': np.bincount([NEXT_TO], minlength=4),
        'host/missed_entities': np.bincount([CHAIR], minlength=3),
    }
    cut.add(stacked([row]), stacked([prediction_row(guess)]))
    got, want = cut.compute(), whole.compute()
    assert got['recall_100_50'] == got['recall_100_50_parts'] == got['error_missed_entity'] == 0.5
    apart = {'entities', 'dropped_entities', 'dropped_relations'}
    assert got['entity_ap'] == pytest.approx(2 / 3)  # of three classes the chair is missed
    equal({k: v for k, v in got.items() if k not in apart}, {k: v for k, v in want.items() if k not in apart})
    assert got['dropped_relations'] == 1 and got['relations'] == 2 and cut.images()[0]['relations'] == 2


def test_where_all_true_entities_did_not_fit_their_ap_is_nothing():
    evaluator = RelationEvaluator(VOCABULARY)
    evaluator.add_image(scene([], []), found(ENTITIES, []), (2, 1), [0], [0, 1])
    got = evaluator.compute()
    assert got['entity_ap'] == got['recall_100_50'] == 0 and got['dropped_entities'] == 2


def test_masks_read_at_a_stride_are_enlarged():
    masks = np.kron(np.stack([mask for _, mask in ENTITIES]), np.ones((2, 2), bool)).astype(bool)
    categories = [category for category, _ in ENTITIES]
    truth = scene(list(zip(categories, masks, strict=True)), [HOLDS], size=(16, 16))
    evaluator = RelationEvaluator(VOCABULARY)
    evaluator.add(stacked([batch_row(truth)]), stacked([prediction_row(found(ENTITIES, [(*HOLDS, 1)]))]))
    assert evaluator.compute()['recall_G_75_parts'] == 1


def test_fillers_are_no_predictions():
    truth = scene(ENTITIES, [HOLDS])
    anna, ball = ENTITIES[0], ENTITIES[2]
    wrong, right = (0, 1, 2, set(), 0.5), (*HOLDS, 0.5)
    predictions = stacked([prediction_row(found([anna, ball, ball], [wrong, right]))])
    for key, at, expected in ((None, 0, 1), ('triplet/score', 1, 0), ('entity/score', 2, 0)):
        changed = {name: value.copy() for name, value in predictions.items()}
        if key:
            changed[key][0, at] = 0  # the right triplet, and the object of it
        evaluator = RelationEvaluator(VOCABULARY)
        evaluator.add(stacked([batch_row(truth)]), changed)
        assert evaluator.compute()['recall_100_50'] == expected


def test_an_object_that_was_not_seen_is_the_last_of_none():
    guess = found(ENTITIES, [(*HOLDS, 0.5)])
    predictions = prediction_row(guess)
    predictions['triplet/object'][0] = NOTHING
    for filled in (KEPT, len(ENTITIES)):  # with fillers behind the entities, and without
        rows = {'entity': filled, 'triplet': 1, 'part': None}
        cut = {key: x[: rows[key.split('/')[0]]] for key, x in predictions.items()}
        triplets = found_of(stacked([cut]), 0, guess.parts.shape).triplets
        assert triplets.tolist() == [[HOLDS[0], NOTHING, HOLDS[2]]]


def test_the_part_threshold_is_an_option():
    truth, guess = scene(ENTITIES, [HOLDS]), found(ENTITIES, [(*HOLDS, 1)])
    for threshold, expected in ((0.5, 1), (0.4, 0), (0.6, 0)):  # the others have .49, so .4 takes them in
        evaluator = RelationEvaluator(VOCABULARY, part_threshold=threshold)
        evaluator.add(stacked([batch_row(truth)]), stacked([prediction_row(guess)]))
        assert evaluator.compute()['recall_100_50_parts'] == expected


def spoiled(change):
    batch = stacked([batch_row(scene(ENTITIES, [HOLDS]))])
    predictions = stacked([prediction_row(found(ENTITIES, [(*HOLDS, 1)]))])
    change(batch, predictions)
    RelationEvaluator(VOCABULARY).add(batch, predictions)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda batch, _: batch.pop('host/mask'),
            "no 'host/mask': evaluate host batches, .* of a source that does not shuffle",
        ),
        (
            lambda _, found: found['entity/score'].__setitem__((0, 1), np.nan),
            "predictions of 'event 0': scores holds a NaN, usually of a model that diverged",
        ),
        (lambda _, found: found['triplet/score'].fill(np.nan), "predictions of 'event 0': triplet_scores holds a NaN"),
        (
            lambda _, found: found['triplet/subject'].__setitem__((0, 0), -1),
            rf"predictions of 'event 0': triplet 0 joins entities \[-1, \d\] of {KEPT}",
        ),
        (
            lambda _, found: found['triplet/object'].__setitem__((0, 0), KEPT),  # none, if it were an index
            rf"predictions of 'event 0': triplet 0 joins entities \[\d, {KEPT}\] of {KEPT}",
        ),
        (
            lambda _, found: found['triplet/object'].__setitem__((0, 0), NOTHING - 1),
            rf"predictions of 'event 0': triplet 0 joins entities \[\d, {NOTHING - 1}\] of {KEPT}",
        ),
        (lambda _, found: found.update(part=np.zeros((1, 3, 3), np.uint8)), 'choose a read_stride that divides'),
        (
            lambda batch, _: batch['entity/valid'].__setitem__((0, 2), False),
            'image 0 of the batch: a valid relation names an entity that is not valid',
        ),
    ],
)
def test_batches_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        spoiled(change)


def test_many_more_than_fit_are_all_missed():
    row = batch_row(scene(ENTITIES, [HOLDS]), dropped=(0, 149)) | {'host/missed': np.array([100, 49])}
    evaluator = RelationEvaluator(VOCABULARY)
    evaluator.add(stacked([row]), stacked([prediction_row(found(ENTITIES, [(*HOLDS, 0.9)]))]))
    told = evaluator.compute()
    assert told['relations'] == 150 and told['recall_100_50'] == pytest.approx(1 / 150)


@pytest.mark.parametrize(
    ('rules', 'message'),
    [
        ({'thresholds': (50,)}, 'thresholds holds 50: give shares, above 0 and up to 1'),
        ({'thresholds': (0.5, 0.504)}, 'figures are named in per cent, give each its own'),
        ({'part_overlap': 5.0}, 'part_overlap holds 5.0: give shares'),
        ({'part_threshold': 0.0}, 'part_threshold holds 0.0: give shares'),
        ({'cuts': (100, 0)}, "cuts holds 0: give numbers from 1, or 'G'"),
        ({'cuts': ('g',)}, "cuts holds 'g': give numbers from 1, or 'G'"),
    ],
)
def test_rules_that_judge_nothing_are_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        RelationEvaluator(VOCABULARY, **rules)


def test_a_kind_of_relation_without_a_name_is_refused():
    with pytest.raises(ValueError, match="scene 'made up' has a relation of kind 4; there are 4"):
        RelationEvaluator(VOCABULARY).add_image(scene(ENTITIES, [(0, 2, 4, set())]), found(ENTITIES, []))
