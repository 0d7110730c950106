"""Each rule of relation segmentation on a case made by hand."""

import dataclasses
import math

import numpy as np
import pytest

from jaxrec.evaluation.relation_segmentation import (
    Found,
    Ranked,
    RelationEvaluator,
    agree,
    causes,
    evaluate_challenge,
    first_ranks,
    group_recall,
    mask_ap,
    mask_ious,
    mean_recall,
    part_counts,
    part_miou,
    recall,
    strict_ranks,
)
from jaxrec.evaluation.segmentation.errors import CAUSES
from jaxrec.evaluation.segmentation.matching import NEVER
from tests.evaluation.segmentation.cases import (
    BALL,
    CHAIR,
    FOOT,
    HAND,
    HOLD,
    KICK,
    NEXT_TO,
    ON,
    PERSON,
    VOCABULARY,
    box,
    found,
    scene,
)

ANNA, BEN, THE_BALL = (PERSON, box(0, 0, 4, 4)), (PERSON, box(0, 4, 4, 4)), (BALL, box(4, 0, 2, 2))
ENTITIES = [ANNA, BEN, THE_BALL]
HOLDS = (0, 2, HOLD, HAND)


def figures(*pairs, **arguments):
    evaluator = RelationEvaluator(VOCABULARY, **arguments)
    for truth, guess in pairs:
        evaluator.add_image(truth, guess)
    return evaluator.compute()


def test_everything_right():
    truth = scene(ENTITIES, [HOLDS, (0, 1, NEXT_TO, set())])
    result = figures((truth, found(ENTITIES, [(*HOLDS, 0.9), (0, 1, NEXT_TO, set(), 0.8)])))
    ones = ('recall_G_75_parts', 'mean_recall_100_75', 'challenge', 'challenge_strict', 'entity_ap', 'error_right')
    assert [result[key] for key in ones] == [1] * 6
    assert (result['wholly_right'], result['relations'], result['entities']) == (2, 2, 3)
    assert math.isnan(result['part_miou'])  # no pixel is of a part


@pytest.mark.parametrize(
    ('ball', 'iou', 'found_at'),
    [
        (box(4, 0, 2, 2), 1, {25, 50, 75}),
        (box(4, 0, 2, 4), 0.5, {25, 50}),
        (box(4, 0, 2, 8), 0.25, {25}),
        (box(4, 0, 3, 6), 4 / 18, set()),
        (box(6, 6, 2, 2), 0, set()),
    ],
)
def test_the_smaller_iou_must_reach_the_threshold_and_one_at_it_does(ball, iou, found_at):
    truth, guess = scene(ENTITIES, [HOLDS]), found([ANNA, BEN, (BALL, ball)], [(*HOLDS, 1)])
    assert agree(truth, guess).overlap.item() == iou
    result = figures((truth, guess))
    assert {t for t in (25, 50, 75) if result[f'recall_100_{t}']} == found_at


@pytest.mark.parametrize('broken', ['subject class', 'object class', 'kind', 'subject mask', 'direction'])
def test_classes_kind_masks_and_direction_all_count(broken):
    subject = {'subject class': (CHAIR, ANNA[1]), 'subject mask': (PERSON, box(4, 4, 4, 4))}.get(broken, ANNA)
    ball = (CHAIR, THE_BALL[1]) if broken == 'object class' else THE_BALL
    kind = KICK if broken == 'kind' else HOLD
    pair = (2, 0) if broken == 'direction' else (0, 2)
    guess = found([subject, BEN, ball], [(*pair, kind, HAND, 1)])
    assert figures((scene(ENTITIES, [HOLDS]), guess))['recall_100_25'] == 0


def test_mirrored_pairs_are_two_relations():
    both = [(0, 1, NEXT_TO, set()), (1, 0, NEXT_TO, set())]
    result = figures((scene(ENTITIES, both), found(ENTITIES, [(*both[0], 1)])))
    assert result['recall_100_50'] == 0.5 and result['error_wrong_pair'] == 0.5
    result = figures((scene(ENTITIES, both), found(ENTITIES, [(*both[0], 1), (*both[1], 1)])))
    assert result['recall_G_50'] == result['challenge_strict_geometric_50'] == 1


def test_one_prediction_may_find_several_true_relations_but_not_strictly():
    twins = [ANNA, THE_BALL, (BALL, box(4, 0, 2, 3))]
    truth = scene(twins, [(0, 1, HOLD, HAND), (0, 2, HOLD, HAND), (0, 1, ON, set())])
    guess = found(twins, [(0, 2, HOLD, HAND, 0.9), (0, 2, HOLD, HAND, 0.8), (0, 1, ON, set(), 0.7)])
    agreement = agree(truth, guess)
    hits = agreement.hits(0.5)
    assert first_ranks(hits).tolist() == [0, 0, 2]
    assert strict_ranks(hits, agreement.overlap).tolist() == [1, 0, 2]  # the better overlap first
    scores = evaluate_challenge([(truth, guess)], {NEXT_TO, ON}, 4, limit=1)
    assert scores['official'].other[0.5] == 1 and scores['strict'].other[0.5] == 0.5


def test_of_equal_scores_the_earlier_prediction_counts():
    truth = scene(ENTITIES, [HOLDS])
    wrong, right = (0, 2, KICK, FOOT, 0.5), (*HOLDS, 0.5)
    assert figures((truth, found(ENTITIES, [wrong, right])))['recall_G_50'] == 0
    assert figures((truth, found(ENTITIES, [right, wrong])))['recall_G_50'] == 1


def test_equal_overlaps_go_to_the_first_true_relation():
    truth = scene(ENTITIES, [HOLDS, (0, 2, HOLD, FOOT)])
    agreement = agree(truth, found(ENTITIES, [(0, 2, HOLD, FOOT, 1)]))
    assert strict_ranks(agreement.hits(0.5), agreement.overlap).tolist() == [0, NEVER]
    assert strict_ranks(agreement.hits(0.5, 1.0), agreement.overlap).tolist() == [NEVER, 0]


def test_beyond_100_predictions_nothing_counts():
    noise = [(0, 2, KICK, set(), 0.9)] * 99
    truth = scene(ENTITIES, [HOLDS, (0, 1, NEXT_TO, set())])
    right = [(*HOLDS, 0.8), (0, 1, NEXT_TO, set(), 0.7)]
    result = figures((truth, found(ENTITIES, noise + right)), cuts=(99, 100, 101))
    assert [result[f'recall_{k}_50'] for k in (99, 100, 101)] == [0, 0.5, 1]
    assert result['challenge_other_50'] == 1 and result['challenge_geometric_50'] == 0
    assert result['error_right'] == 0.5  # the other's pair is joined by no prediction that counts
    assert result['error_wrong_pair'] == 0.5


def test_true_relations_beyond_100_are_all_counted():
    many = [(0, 2, HOLD, set())] * 60 + [(0, 1, NEXT_TO, set())] * 60
    guess = found(ENTITIES, [(0, 2, HOLD, set(), 0.9)] * 100 + [(0, 1, NEXT_TO, set(), 0.5)])
    result = figures((scene(ENTITIES, many), guess))
    assert result['recall_100_50'] == 0.5 and result['recall_G_50'] == 1


def test_images_without_a_group_do_not_enter_it():
    holds = (scene(ENTITIES, [HOLDS]), found(ENTITIES, [(*HOLDS, 1)]))
    both = (scene(ENTITIES, [HOLDS, (0, 1, ON, set())]), found(ENTITIES, []))
    empty = (scene(ENTITIES, []), found(ENTITIES, [(*HOLDS, 1)]))
    result = figures(holds, both, empty)
    assert result['challenge_other_50'] == 0.5 and result['challenge_geometric_50'] == 0
    assert result['challenge_50'] == result['challenge'] == 0.25
    assert (result['images'], result['images_without_relations']) == (3, 1)
    assert result['recall_100_50'] == 0.5  # per image, not per relation
    alone = figures(holds)
    assert math.isnan(alone['challenge_geometric_50']) and math.isnan(alone['challenge'])


def test_the_geometric_group_depends_on_the_edition():
    pair = (scene(ENTITIES, [HOLDS, (0, 1, NEXT_TO, set())]), found(ENTITIES, [(*HOLDS, 1)]))
    assert evaluate_challenge([pair], {NEXT_TO}, 4)['official'].geometric[0.5] == 0
    assert evaluate_challenge([pair], {HOLD}, 4)['official'].geometric[0.5] == 1


def test_relations_are_reported_each():
    truth = scene(ENTITIES, [HOLDS, (1, 2, HOLD, HAND), (0, 1, NEXT_TO, set())])
    score = evaluate_challenge([(truth, found(ENTITIES, [(*HOLDS, 1)]))], {NEXT_TO}, 4)['official']
    assert score.relations[0.75] == {HOLD: 0.5, NEXT_TO: 0}


def test_mean_recall_leaves_absent_kinds_out():
    ranked = Ranked.of([np.array([HOLD, HOLD, KICK]), np.array([HOLD])], [np.array([0, NEVER, 1]), np.array([NEVER])])
    assert mean_recall(ranked, 2) == (0.25 + 1) / 2
    assert recall(ranked, 2) == pytest.approx(1 / 3)
    assert recall(ranked, 1) == pytest.approx(1 / 6) and recall(ranked, 'G') == pytest.approx(1 / 3)
    assert group_recall(ranked, 2, {ON}) is None


def test_parts_must_be_the_same_set():
    truth = scene(ENTITIES, [(0, 2, HOLD, HAND | FOOT)])
    values = [
        figures((truth, found(ENTITIES, [(0, 2, HOLD, parts, 1)])))['recall_100_50_parts']
        for parts in (HAND | FOOT, HAND, set())
    ]
    assert values == [1, 0, 0]
    half = figures((truth, found(ENTITIES, [(0, 2, HOLD, HAND, 1)])), part_overlap=0.5)
    assert half['recall_100_50_parts'] == 1 and half['error_right'] == 1
    neither = scene(ENTITIES, [(0, 1, NEXT_TO, set())])
    assert agree(neither, found(ENTITIES, [(0, 1, NEXT_TO, set(), 1)])).parts.item() == 1


def test_images_whose_parts_nobody_labelled_enter_no_figure_of_parts():
    nowhere = np.full((8, 8), 255, np.uint8)
    unknown = scene(ENTITIES, [(0, 2, HOLD, set())], nowhere)
    guess = found(ENTITIES, [(0, 2, HOLD, FOOT, 1)])
    alone = figures((unknown, guess))
    assert math.isnan(alone['recall_100_50_parts']) and math.isnan(alone['part_miou'])
    assert alone['recall_100_50'] == alone['error_right'] == alone['wholly_right'] == 1
    beside = figures((unknown, guess), (scene(ENTITIES, [HOLDS]), guess))
    assert beside['recall_100_50_parts'] == 0 and beside['error_wrong_part'] == 0.5
    # A relation that names its parts is labelled, whether or not their pixels are.
    named = figures((scene(ENTITIES, [HOLDS], nowhere), guess))
    assert named['recall_100_50_parts'] == 0 and math.isnan(named['part_miou'])


def test_empty_masks_agree_with_nothing():
    nothing = (BALL, np.zeros((8, 8), bool))
    truth = scene([ANNA, nothing], [(0, 1, HOLD, HAND)])
    guess = found([ANNA, nothing], [(0, 1, HOLD, HAND, 1)])
    result = figures((truth, guess))
    assert result['recall_100_25'] == 0 and result['error_missed_entity'] == 1
    assert result['entities'] == 1 and result['entity_ap'] == pytest.approx(1)
    assert mask_ious(truth.masks, guess.masks).tolist() == [[1, 0], [0, 0]]


def test_no_entities_and_no_predictions():
    result = figures((scene([], []), found([], [])))
    assert math.isnan(result['entity_ap']) and math.isnan(result['error_right'])
    missed = figures((scene(ENTITIES, [HOLDS]), found([], [])))
    assert missed['recall_100_25'] == missed['entity_ap'] == 0 and missed['error_missed_entity'] == 1


def test_a_triplet_without_object_finds_no_relation():
    assert figures((scene(ENTITIES, [HOLDS]), found(ENTITIES, [(0, -1, HOLD, HAND, 1)])))['recall_100_25'] == 0


@pytest.mark.parametrize(
    ('entities', 'triplet', 'expected'),
    [
        ([ANNA], (0, -1, HOLD, HAND, 1), 'missed_entity'),
        (ENTITIES, (1, 2, HOLD, HAND, 1), 'wrong_pair'),
        (ENTITIES, (2, 0, HOLD, HAND, 1), 'wrong_pair'),
        (ENTITIES, (0, 2, KICK, HAND, 1), 'wrong_relation'),
        (ENTITIES, (0, 2, HOLD, FOOT, 1), 'wrong_part'),
        (ENTITIES, (0, 2, HOLD, HAND, 1), 'right'),
    ],
)
def test_a_missed_relation_has_one_cause(entities, triplet, expected):
    truth = scene(ENTITIES, [HOLDS])
    agreement = agree(truth, found(entities, [triplet]))
    assert [CAUSES[cause] for cause in causes(truth.relations, agreement)] == [expected]


def test_entity_ap_is_cocos():
    """Two of three people are found, the surest guess is wrong: precision 2/3 at recalls up to 2/3."""
    people = [ANNA, BEN, (PERSON, box(4, 4, 4, 4))]
    guess = found([ANNA, BEN, (PERSON, box(6, 0, 2, 2)), THE_BALL], [], scores=[0.8, 0.7, 0.9, 0.9])
    result = figures((scene(people, []), guess))
    steps = 67 / 101  # recalls 0, .01, ..., .66
    assert [result['entity_ap'], result['entity_ap_50']] == pytest.approx([2 / 3 * steps] * 2, abs=1e-9)


def test_entity_ap_at_its_thresholds():
    guess = found([(PERSON, box(0, 0, 3, 4))], [])  # 12 of 16 pixels, IoU .75
    result = figures((scene([ANNA], []), guess))
    assert result['entity_ap_50'] == result['entity_ap_75'] == pytest.approx(1)
    assert result['entity_ap'] == pytest.approx(0.6)  # .50 to .75 of .50 to .95


def test_entity_ap_prints_nothing(capsys):
    figures((scene([ANNA], []), found([ANNA], [])))
    assert capsys.readouterr().out == ''


def test_part_miou_counts_no_unknown_pixel_and_no_absent_part():
    truth = np.array([[1, 1, 0, 255]], np.uint8)
    counts = part_counts(truth, np.array([[1, 2, 1, 1]], np.uint8), 2)
    assert counts.tolist() == [[1, 2, 0], [0, 2, 1], [0, 1, 0]]
    assert part_miou(counts) == pytest.approx(1 / 3)  # part 2 is found but nowhere true
    assert part_miou(counts + part_counts(truth, truth, 2)) == pytest.approx(3 / 5)


def test_the_challenge_compares_at_its_own_size_on_request():
    """A ball of two pixels in four columns loses one of them when every other column goes."""
    size, ball = (1, 8), (BALL, np.array([[0, 0, 0, 0, 1, 1, 0, 0]], bool))
    anna = (PERSON, np.array([[1, 1, 1, 1, 0, 0, 0, 0]], bool))
    shifted = (BALL, np.array([[0, 0, 0, 0, 1, 0, 0, 0]], bool))
    truth = scene([anna, ball], [(0, 1, HOLD, HAND), (0, 1, ON, set())], size=size)
    guess = found([anna, shifted], [(0, 1, HOLD, HAND, 1), (0, 1, ON, set(), 1)], size=size)
    assert figures((truth, guess))['challenge_75'] == 0
    small = figures((truth, guess), size=(1, 4))
    assert small['challenge_75'] == 1 and small['recall_100_75'] == 0


def test_evaluators_merge():
    draw, parts = np.random.default_rng(0), []
    for score in (0.9, 0.4):
        evaluator = RelationEvaluator(VOCABULARY)
        evaluator.add_image(scene(ENTITIES, [HOLDS]), found(ENTITIES, [(0, 2, int(draw.integers(2)), HAND, score)]))
        parts.append(evaluator)
    merged = parts[0].merge(parts[1])
    assert merged.compute()['images'] == 2 and len(parts[0].images()) == 1
    with pytest.raises(ValueError, match='different rules: make both with the same arguments'):
        merged.merge(RelationEvaluator(VOCABULARY, part_overlap=0.5))


def right(**changes) -> Found:
    return dataclasses.replace(found(ENTITIES, [(*HOLDS, 1)]), **changes)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: right(masks=np.zeros((3, 8, 7), bool)), r'masks is bool \(3, 8, 7\), not bool \(3, 8, 8\)'),
        (lambda: right(scores=np.zeros(3)), 'scores is float64'),
        (lambda: right(triplets=np.array([[0, 3, 0]], np.int32)), r'triplet 0 joins entities \[0, 3\] of 3; name'),
        (lambda: right(triplets=np.array([[-1, 0, 0]], np.int32)), r'joins entities \[-1, 0\]'),
        (lambda: right(triplet_scores=np.array([np.nan], np.float32)), 'triplet_scores holds a NaN, usually'),
        (lambda: mask_ious(np.zeros((1, 2, 2), bool), np.zeros((1, 2, 3), bool)), 'bring both to one size'),
        (
            lambda: agree(scene(ENTITIES, [HOLDS]), right(triplet_parts=np.zeros((1, 3), bool))),
            'has 2 kinds of part, its predictions 3: use one vocabulary',
        ),
        (lambda: recall(Ranked.of([np.array([0])], [np.array([0])]), 0), "K = 0: give a number .* or 'G'"),
        (lambda: recall(Ranked.of([], []), 1), 'no image holds a true relation: evaluate a larger part'),
        (lambda: mean_recall(Ranked.of([], []), 1), 'no image holds a true relation'),
        (lambda: RelationEvaluator(VOCABULARY).compute(), 'no valid image was evaluated'),
        (lambda: mask_ap([]), 'no image holds a true entity'),
        (lambda: part_miou(np.zeros((3, 3), int)), 'no image has a labelled human part'),
        (lambda: part_counts(np.full((1, 1), 3, np.uint8), np.zeros((1, 1), np.uint8), 2), 'the truth holds 3; 2'),
        (lambda: part_counts(np.zeros((1, 1), np.uint8), np.zeros((1, 2), np.uint8), 2), 'bring both to one size'),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
