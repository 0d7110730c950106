"""Role AP of V-COCO, with masks in place of boxes.

A prediction is an agent, a kind of relation (an action with one role) and an object or none. By falling score over all
images it is right if the true agent that its agent's mask overlaps most does this, the masks of both agents have an IoU
of at least .5, so have the masks of the objects, and no better prediction was right about that deed. For an agent whose
true object is not in the image, scenario 1 asks for a prediction without object, scenario 2 accepts any. Predictions
whose most overlapped agent is not annotated are ignored. AP is the area under the precision envelope, at every recall.

N entities, A agents, D deeds, T predicted triplets of one image, S of all.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxrec.data.images.agents import UNSEEN, Agents
from jaxrec.data.images.scene import Scene
from jaxrec.evaluation.segmentation.found import NOTHING, Found
from jaxrec.evaluation.segmentation.matching import mask_ious

SCENARIOS = (1, 2)


class Judged(NamedTuple):
    """What one image contributes."""

    relation: NDArray  # int [T], kinds of the predictions that count, by falling score
    score: NDArray  # float [T]
    right: NDArray  # bool [2, T], in scenarios 1 and 2
    deeds: NDArray  # int [D], kinds of the true deeds


def judge_roles(scene: Scene, agents: Agents, found: Found, person: int, threshold: float = 0.5) -> Judged:
    """Evaluates the predictions for one image; those whose subject is not of the class `person` are skipped.

    An agent may have several objects in one deed: each is a deed, and a prediction is compared with the one, still
    free, whose object it overlaps most. `threshold` is the least IoU of agents and of objects.
    """
    order = np.argsort(-found.triplet_scores, kind='stable')
    order = order[found.categories[found.triplets[order, 0]] == person]
    triplets, ious = found.triplets[order], mask_ious(scene.masks, found.masks)
    right, counted = np.zeros((2, len(order)), bool), np.ones(len(order), bool)
    for number, scenario in enumerate(SCENARIOS):
        taken = np.zeros(len(agents.deeds), bool)
        for n, (subject, target, relation) in enumerate(triplets.tolist()):
            overlaps = ious[agents.rows, subject]
            if not len(overlaps):
                continue
            best = int(overlaps.argmax())
            counted[n] = agents.known[best]
            if not agents.known[best] or overlaps[best] < threshold:
                continue
            rows = np.flatnonzero((agents.deeds[:, 0] == agents.rows[best]) & (agents.deeds[:, 2] == relation) & ~taken)
            fits = [_role_iou(ious, true, target, scenario) for true in agents.deeds[rows, 1].tolist()]
            if fits and max(fits) >= threshold:
                taken[rows[int(np.argmax(fits))]] = True
                right[number, n] = True
    return Judged(triplets[counted, 2], found.triplet_scores[order][counted], right[:, counted], agents.deeds[:, 2])


def _role_iou(ious: NDArray, true: int, target: int, scenario: int) -> float:
    """How well a predicted object fits a true one, either of which may be none."""
    if true == UNSEEN:
        return float(scenario == 2 or target == NOTHING)
    return 0.0 if target == NOTHING else float(ious[true, target])


def role_ap(images: Sequence[Judged], relations: int, scenario: int) -> NDArray:
    """Computes the AP of each of the `relations` kinds, float64 [relations]; NaN where nobody does it.

    The mean over the others is the role AP. A scenario other than 1 and 2, or no deed at all, is a ValueError.
    """
    if scenario not in SCENARIOS:
        raise ValueError(f'scenario {scenario} of role AP: there are {SCENARIOS}')
    joined = lambda arrays: np.concatenate([np.zeros(0), *arrays])
    deeds = joined([image.deeds for image in images])
    if not len(deeds):
        raise ValueError('no image holds a deed: evaluate a larger part of the data')
    relation, score = joined([i.relation for i in images]), joined([i.score for i in images])
    right = joined([i.right[scenario - 1] for i in images]).astype(bool)
    found = np.full(relations, math.nan)
    for kind in np.unique(deeds).astype(int):
        chosen = np.flatnonzero(relation == kind)
        hits = right[chosen[np.argsort(-score[chosen], kind='stable')]]
        found[kind] = average_precision(hits, int((deeds == kind).sum()))
    return found


def average_precision(hits: NDArray, positives: int) -> float:
    """Area under the envelope of precision over recall, of bool [S] by falling score and the number of positives."""
    if not len(hits):
        return 0.0
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / positives)
