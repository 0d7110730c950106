"""Explains the predictions for one image: which of them finds each true relation, or why none does."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxrec.data.images.scene import Scene, Vocabulary
from jaxrec.evaluation.segmentation.challenge import LIMIT
from jaxrec.evaluation.segmentation.errors import CAUSES, causes
from jaxrec.evaluation.segmentation.found import NOTHING, Found
from jaxrec.evaluation.segmentation.matching import PART_OVERLAP, agree, first_ranks, parts_are_labelled


class Explanation(NamedTuple):
    """Explains one true relation; prints as a line of text. All numbers are 0 where no prediction finds it."""

    relation: str  # in words, see `describe_triplet`
    cause: str  # one of `errors.CAUSES`, 'right' where a prediction finds it, parts included
    rank: int = 0  # from 1, of the first prediction among the best `LIMIT` that finds it, parts aside
    score: float = 0.0  # of that prediction, the product of the next three
    subject: float = 0.0  # score of its subject
    target: float = 0.0  # score of its object
    point: float = 0.0  # score of the relation, `score / (subject * target)`
    overlap: float = 0.0  # the smaller IoU of its subject's and its object's mask with the true ones

    def __str__(self) -> str:
        if not self.rank:
            return f'{self.relation}: {self.cause}'
        product = f'{self.score:.3f} = {self.subject:.2f} * {self.target:.2f} * {self.point:.2f}'
        return f'{self.relation}: {self.cause}, rank {self.rank}, score {product}, IoU {self.overlap:.2f}'


def explain_relations(scene: Scene, found: Found, vocabulary: Vocabulary, threshold: float = 0.5) -> list[Explanation]:
    """Explains each true relation of an image by the predictions, in the order of the scene.

    `scene` and `found`, of one size and vocabulary, else a ValueError; `threshold` is the least IoU of both masks.
    """
    agreement = agree(scene, found)
    parts = PART_OVERLAP if parts_are_labelled(scene) else None
    why, ranks = causes(scene.relations, agreement, threshold, LIMIT, parts), first_ranks(agreement.hits(threshold))
    explained = []
    for row, rank in enumerate(ranks.tolist()):
        text = describe_triplet(vocabulary, scene.categories, scene.relations[row], scene.relation_parts[row])
        each = Explanation(text, CAUSES[why[row]])
        if rank < LIMIT:
            place = agreement.order[rank]
            subject, target = found.scores[found.triplets[place, :2]].tolist()
            score, overlap = float(found.triplet_scores[place]), float(agreement.overlap[row, rank])
            point = score / (subject * target)
            each = Explanation(text, each.cause, rank + 1, score, subject, target, point, overlap)
        explained.append(each)
    return explained


def describe_triplet(vocabulary: Vocabulary, categories: NDArray, triplet: NDArray, parts: NDArray) -> str:
    """Writes a relation such as 'person 0 (left hand and right hand) hold book 2', with the entities' rows as numbers.

    Args:
      vocabulary: of the numbers.
      categories: int [N], classes of the entities.
      triplet: int [3] of (subject, object, relation); the object may be `NOTHING`.
      parts: bool [P], the parts of the subject that take part.
    """
    subject, target, relation = np.asarray(triplet).tolist()
    named = ' and '.join(vocabulary.parts[part] for part in np.flatnonzero(parts))
    named = f' ({named})' if named else ''
    ends = [
        'nothing' if end == NOTHING else f'{vocabulary.entities[categories[end]]} {end}' for end in (subject, target)
    ]
    return f'{ends[0]}{named} {vocabulary.relations[relation]} {ends[1]}'
