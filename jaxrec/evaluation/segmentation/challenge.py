"""The metric of the Person in Context challenge (PIC), and a stricter variant.

Masks are compared at 640 x 480 on request. Of each image the 100 best predictions count. A true relation is found if
one of them has its classes and its kind, and masks with an IoU of at least t for subject and object; one prediction may
find several (the strict variant: one). The recall is taken per image and group of relations, images without a group do
not enter it, and the images are averaged. The score at t is the mean of the geometric and the other group, the final
one the mean over t = .25, .5 and .75. The vocabulary of an edition says which relations are geometric.
"""

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from jaxrec.data.images.geometry import resize_labels
from jaxrec.data.images.scene import Scene
from jaxrec.evaluation.segmentation.found import Found
from jaxrec.evaluation.segmentation.matching import agree, first_ranks, strict_ranks
from jaxrec.evaluation.segmentation.recall import Ranked, group_recall, image_recall

THRESHOLDS = (0.25, 0.5, 0.75)
LIMIT = 100
SIZE = (480, 640)  # height, width at which the challenge compares


@dataclasses.dataclass(frozen=True)
class ChallengeScore:
    """The challenge's figures; NaN where no image holds a true relation of the group."""

    final: float  # mean over thresholds of `at`
    at: Mapping[float, float]  # {threshold: mean of both groups}
    geometric: Mapping[float, float]  # {threshold: recall of the group}
    other: Mapping[float, float]  # {threshold: recall of the other group}
    relations: Mapping[float, Mapping[int, float]]  # {threshold: {relation: recall}} of those that occur


def shrunk(scene: Scene, found: Found, size: tuple[int, int]) -> tuple[Scene, Found]:
    """Brings the masks of both sides to one size (height, width) by the nearest neighbour; classes stay."""
    true = dataclasses.replace(
        scene,
        image=np.zeros((*size, 3), np.uint8),  # of which no metric asks
        masks=resize_labels(scene.masks, size),
        parts=resize_labels(scene.parts, size),
    )
    masks, parts = (resize_labels(maps, size) for maps in (found.masks, found.parts))
    return true, dataclasses.replace(found, masks=masks, parts=parts)


def challenge_score(
    kinds: Sequence[NDArray],
    ranks: Mapping[float, Sequence[NDArray]],
    geometric: Collection[int],
    relations: int,
    limit: int = LIMIT,
) -> ChallengeScore:
    """Computes the metric from the ranks at which true relations are hit.

    Args:
      kinds: int [R] of each image, the kinds of its true relations.
      ranks: {threshold: int [R] of each image}, from `matching`.
      geometric: the relations of the geometric group.
      relations: how many kinds there are; the others are the other group.
      limit: how many predictions of an image count.
    """
    others = set(range(relations)) - set(geometric)
    groups: dict[str, dict[float, float]] = {'geometric': {}, 'other': {}, 'at': {}}
    each: dict[float, Mapping[int, float]] = {}
    for threshold, of_images in ranks.items():
        ranked = Ranked.of(kinds, of_images)
        for name, members in (('geometric', geometric), ('other', others)):
            value = group_recall(ranked, limit, members)
            groups[name][threshold] = math.nan if value is None else value
        groups['at'][threshold] = (groups['geometric'][threshold] + groups['other'][threshold]) / 2
        each[threshold] = image_recall(ranked.image, ranked.kind, ranked.hit(limit))
    return ChallengeScore(final=float(np.mean(list(groups['at'].values()))), relations=each, **groups)


def evaluate_challenge(
    pairs: Iterable[tuple[Scene, Found]],
    geometric: Collection[int],
    relations: int,
    size: tuple[int, int] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    limit: int = LIMIT,
) -> dict[str, ChallengeScore]:
    """Computes the challenge's metric over images: {'official': scores, 'strict': scores}.

    For the official figures both sides are read from files at `SIZE`, where the class of an entity is the largest
    semantic value inside its mask: `PicScenes(..., size=SIZE)` and `PicPredictions(...)`.

    Args:
      pairs: the ground truth and the predictions of each image.
      geometric, relations: the relations of the geometric group, and how many kinds there are.
      size: (height, width) to which masks are brought first; None compares them as they are.
      thresholds: of IoU.
      limit: how many predictions of an image count.
    """
    kinds: list[NDArray] = []
    ranks: dict[str, dict[float, list[NDArray]]] = {
        name: {threshold: [] for threshold in thresholds} for name in ('official', 'strict')
    }
    for scene, found in pairs:
        agreement = agree(*(shrunk(scene, found, size) if size else (scene, found)))
        kinds.append(scene.relations[:, 2])
        for threshold in thresholds:
            hits = agreement.hits(threshold)
            ranks['official'][threshold].append(first_ranks(hits))
            ranks['strict'][threshold].append(strict_ranks(hits, agreement.overlap))
    return {name: challenge_score(kinds, each, geometric, relations, limit) for name, each in ranks.items()}
