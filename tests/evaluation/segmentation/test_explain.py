"""True relations explained: by which prediction each is found, and why the others are not."""

import numpy as np
import pytest

from jaxrec.data.images.scene import UNKNOWN_PART
from jaxrec.evaluation.segmentation.explain import describe_triplet, explain_relations
from jaxrec.evaluation.segmentation.found import NOTHING
from tests.evaluation.segmentation.cases import (
    BALL,
    CHAIR,
    FOOT,
    HAND,
    HOLD,
    KICK,
    NEXT_TO,
    PERSON,
    VOCABULARY,
    box,
    found,
    scene,
)  # fmt: skip

LEFT, RIGHT, LOW = box(0, 0, 4, 4), box(0, 4, 4, 4), box(4, 0, 4, 8)
TRUE = scene(
    [(PERSON, LEFT), (BALL, RIGHT), (CHAIR, LOW)],
    [(0, 1, KICK, FOOT), (0, 1, HOLD, HAND), (0, 2, NEXT_TO, set()), (1, 2, NEXT_TO, set())],
)
# No chair; a person three quarters of whose pixels are seen; the best prediction has the wrong parts.
FOUND = found(
    [(BALL, RIGHT), (PERSON, box(0, 0, 3, 4))],
    [(1, 0, HOLD, FOOT, 0.3), (1, 0, KICK, FOOT, 0.24), (1, 0, NEXT_TO, set(), 0.6)],
    scores=[0.8, 0.5],
)


def test_each_relation_has_its_cause_and_the_prediction_that_finds_it():
    kick, hold, *chair = explain_relations(TRUE, FOUND, VOCABULARY)
    assert kick.relation == 'person 0 (foot) kick ball 1' and kick.cause == 'right' and kick.rank == 3
    assert kick[3:] == pytest.approx((0.24, 0.5, 0.8, 0.6, 0.75), rel=1e-6)
    assert str(kick) == ('person 0 (foot) kick ball 1: right, rank 3, score 0.240 = 0.50 * 0.80 * 0.60, IoU 0.75')
    assert (hold.cause, hold.rank) == ('wrong_part', 2)
    assert [each.cause for each in chair] == ['missed_entity'] * 2
    assert str(chair[0]) == 'person 0 next to chair 2: missed_entity' and chair[0][2:] == (0, 0, 0, 0, 0, 0)


def test_a_stricter_threshold_finds_less():
    assert [each.rank for each in explain_relations(TRUE, FOUND, VOCABULARY, 0.8)] == [0] * 4


def test_without_labelled_parts_none_are_asked_for():
    bare = scene([(PERSON, LEFT), (BALL, RIGHT)], [(0, 1, HOLD, set())], parts=np.full((8, 8), UNKNOWN_PART, np.uint8))
    (each,) = explain_relations(bare, FOUND, VOCABULARY)
    assert (each.cause, each.rank) == ('right', 2)


def test_without_predictions_entities_are_missed():
    assert [each.cause for each in explain_relations(TRUE, found([], []), VOCABULARY)] == ['missed_entity'] * 4


def test_a_triplet_without_an_object_has_words():
    text = describe_triplet(VOCABULARY, TRUE.categories, np.array([0, NOTHING, KICK]), np.array([True, True]))
    assert text == 'person 0 (hand and foot) kick nothing'
