"""Role AP on cases made by hand: scenarios, unannotated people, doubles, and the area under the envelope."""

import numpy as np
import pytest

from jaxrec.data.images.agents import Agents
from jaxrec.evaluation.segmentation.role_ap import average_precision, judge_roles, role_ap
from tests.evaluation.segmentation.cases import BALL, HAND, HOLD, KICK, PERSON, box, found, scene

ENTITIES = [(PERSON, box(0, 0, 4, 4)), (PERSON, box(0, 4, 4, 4)), (BALL, box(4, 0, 2, 2)), (BALL, box(6, 6, 2, 2))]
ROWS = np.array([0, 1])


def ap(deeds, triplets, known=(True, True), entities=ENTITIES):
    """AP of holding in scenarios 1 and 2."""
    agents = Agents(ROWS, np.array(known), np.array(deeds, np.int32).reshape(-1, 3))
    guess = found(entities, [(*t[:3], HAND, t[3]) for t in triplets])
    judged = judge_roles(scene(ENTITIES, []), agents, guess, PERSON)
    return tuple(float(role_ap([judged], 4, scenario)[HOLD]) for scenario in (1, 2))


def test_an_unseen_object_asks_for_none_in_scenario_1_only():
    assert ap([(0, -1, HOLD)], [(0, -1, HOLD, 1)]) == (1, 1)
    assert ap([(0, -1, HOLD)], [(0, 2, HOLD, 1)]) == (0, 1)
    assert ap([(0, 2, HOLD)], [(0, -1, HOLD, 1)]) == (0, 0)


def test_agent_action_and_object_must_be_right():
    assert ap([(0, 2, HOLD)], [(0, 2, HOLD, 1)]) == (1, 1)
    assert ap([(0, 2, HOLD)], [(1, 2, HOLD, 1)]) == (0, 0)
    assert ap([(0, 2, HOLD)], [(0, 3, HOLD, 1)]) == (0, 0)
    assert ap([(0, 2, HOLD)], [(0, 2, KICK, 1)]) == (0, 0)
    assert ap([(0, 2, HOLD)], [(2, 2, HOLD, 1)]) == (0, 0)  # a ball is no agent


def test_a_second_prediction_of_a_deed_is_wrong_and_of_equal_scores_the_earlier_counts():
    assert ap([(0, 2, HOLD)], [(0, 2, HOLD, 0.9), (0, 2, HOLD, 0.8)]) == (1, 1)
    both = [(0, 2, HOLD), (1, 3, HOLD)]
    assert ap(both, [(0, 2, HOLD, 0.9), (0, 2, HOLD, 0.8), (1, 3, HOLD, 0.7)])[0] == pytest.approx((1 + 2 / 3) / 2)
    assert ap([(0, 2, HOLD)], [(0, 3, HOLD, 0.5), (0, 2, HOLD, 0.5)]) == (0.5, 0.5)


def test_people_nobody_annotated_count_in_no_way():
    assert ap([(0, 2, HOLD)], [(1, 3, HOLD, 0.9), (0, 2, HOLD, 0.8)], known=(True, False)) == (1, 1)
    assert ap([(0, 2, HOLD)], [(1, 3, HOLD, 0.9), (0, 2, HOLD, 0.8)]) == (0.5, 0.5)


def test_an_agent_with_two_objects_has_two_deeds():
    both = [(0, 2, HOLD), (0, 3, HOLD)]
    assert ap(both, [(0, 3, HOLD, 0.9), (0, 2, HOLD, 0.8)]) == (1, 1)


def test_absent_relations_have_no_ap():
    judged = judge_roles(
        scene(ENTITIES, []), Agents(ROWS, np.ones(2, bool), np.array([[0, 2, HOLD]])), found([], []), PERSON
    )
    values = role_ap([judged], 4, 1)
    assert values[HOLD] == 0 and np.isnan(values[[1, 2, 3]]).all()


def test_the_area_is_under_the_envelope_of_precision():
    assert average_precision(np.array([0, 1, 1, 0], bool), 4) == pytest.approx((2 / 3 + 2 / 3) / 4)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: role_ap([], 4, 3), 'scenario 3 of role AP: there are'),
        (lambda: role_ap([], 4, 1), 'no image holds a deed: evaluate a larger part'),
        (lambda: Agents(ROWS, np.ones(1, bool), np.zeros((0, 3), int)), 'give one each'),
        (lambda: Agents(ROWS, np.ones(2, bool), np.array([[2, 0, 0]])), 'entity 2, which is no agent that is known'),
        (lambda: Agents(ROWS, np.array([False, True]), np.array([[0, 2, 0]])), 'entity 0, which is no agent'),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
