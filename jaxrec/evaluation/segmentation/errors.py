"""Why true relations are missed: each is counted once, under the first thing that goes wrong with it.

N true and K found entities, R true relations, T predicted triplets.
"""

import numpy as np
from numpy.typing import NDArray

from jaxrec.evaluation.segmentation.matching import PART_OVERLAP, Agreement

MISSED_ENTITY, WRONG_PAIR, WRONG_RELATION, WRONG_PART, RIGHT = range(5)
CAUSES = ('missed_entity', 'wrong_pair', 'wrong_relation', 'wrong_part', 'right')


def causes(
    relations: NDArray,
    agreement: Agreement,
    threshold: float = 0.5,
    limit: int = 100,
    part_overlap: float | None = PART_OVERLAP,
) -> NDArray:
    """Finds the first thing that goes wrong with each true relation.

    Args:
      relations: int32 [R, 3] of (subject, object, relation), the ground truth.
      agreement: from `matching.agree`.
      threshold: the least IoU of masks.
      limit: how many predictions count.
      part_overlap: the least IoU of the sets of parts; None ignores them.

    Returns:
      int8 [R], of `CAUSES`: `missed_entity`, no found entity of its class has such an IoU with the subject, or with the
        object; `wrong_pair`, there are such entities but no counted prediction joins them in this direction;
        `wrong_relation`, one does but calls it something else; `wrong_part`, one is right but for its parts; `right`.
    """
    found = np.any(agreement.entities >= threshold, axis=1)
    joined = agreement.overlap[:, :limit] >= threshold
    right = agreement.hits(threshold)[:, :limit]
    wholly = agreement.hits(threshold, part_overlap)[:, :limit]
    result = np.full(len(relations), MISSED_ENTITY, np.int8)
    result[found[relations[:, :2]].all(1)] = WRONG_PAIR
    result[joined.any(1)] = WRONG_RELATION
    result[right.any(1)] = WRONG_PART
    result[wholly.any(1)] = RIGHT
    return result
