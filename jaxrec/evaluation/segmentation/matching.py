"""Where the predictions and the ground truth of one image agree, as ranks from which every recall follows.

A predicted triplet hits a true relation if both classes and the kind of relation are the same and the masks of the
subjects and of the objects each have an IoU of at least a threshold; with parts, if also the two sets of parts are
equal (`PART_OVERLAP` = 1, our choice: no rule is published). A relation's rank is that of the best prediction that hits
it.

H, W pixels, N true and K found entities, R true relations, T predicted triplets, P kinds of human part.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxrec.data.images.scene import UNKNOWN_PART, Scene
from jaxrec.evaluation.segmentation.found import NOTHING, Found

NEVER = int(np.iinfo(np.int32).max)  # the rank of a true relation that nothing hits
PART_OVERLAP = 1.0  # IoU of the sets of parts from which on they agree: 1 asks for equal sets


class Agreement(NamedTuple):
    """How far each prediction agrees with each true relation; predictions by falling score."""

    order: NDArray  # int [T], rows of the predicted triplets; of equal scores the earlier row comes first
    same: NDArray  # bool [R, T], whether the kinds of relation are the same
    overlap: NDArray  # float64 [R, T], the smaller IoU of subjects and of objects; 0 where a class differs
    parts: NDArray  # float64 [R, T], IoU of the sets of parts; 1 where both are empty
    entities: NDArray  # float64 [N, K], IoU of true and found entities; 0 where the classes differ

    def hits(self, threshold: float, part_overlap: float | None = None) -> NDArray:
        """Marks which prediction hits which true relation: bool [R, T].

        Args:
          threshold: the least IoU of both masks, in (0, 1].
          part_overlap: the least IoU of the sets of parts; None ignores them.
        """
        found = self.same & (self.overlap >= threshold)
        return found if part_overlap is None else found & (self.parts >= part_overlap)


def mask_ious(first: NDArray, second: NDArray) -> NDArray:
    """Exact IoUs float64 [N, K] of bool [N, H, W] and [K, H, W], 0 of empty pairs; a ValueError refuses other sizes."""
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(f'masks of {first.shape[1:]} against masks of {second.shape[1:]}: bring both to one size')
    a, b = _words(first), _words(second)
    both = np.zeros((len(a), len(b)), np.float64)
    for row, mask in enumerate(a):  # a row at a time: all pairs at once would take gigabytes
        both[row] = np.bitwise_count(mask & b).sum(1, dtype=np.int64)
    sizes = [np.bitwise_count(each).sum(1, dtype=np.int64) for each in (a, b)]
    either = sizes[0][:, None] + sizes[1] - both
    return both / np.maximum(either, 1)


def _words(masks: NDArray) -> NDArray:
    """The bits of masks [N, H, W] as uint64 [N, words], 64 pixels each, filled up with zeros."""
    bits = np.packbits(masks.reshape(len(masks), int(np.prod(masks.shape[1:]))), axis=1)
    return np.ascontiguousarray(np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8)))).view(np.uint64)


def agree(scene: Scene, found: Found) -> Agreement:
    """Compares the predictions for an image with its ground truth; other sizes or numbers of parts are a ValueError."""
    if scene.relation_parts.shape[1] != found.triplet_parts.shape[1]:
        raise ValueError(
            f'{scene.name!r} has {scene.relation_parts.shape[1]} kinds of part, its predictions '
            f'{found.triplet_parts.shape[1]}: use one vocabulary'
        )
    entities = mask_ious(scene.masks, found.masks)
    entities *= scene.categories[:, None] == found.categories
    order = np.argsort(-found.triplet_scores, kind='stable')
    subject, target, relation = found.triplets[order].T
    # A column of zeros stands for the object that is none.
    padded = np.pad(entities, ((0, 0), (0, 1)))
    overlap = np.minimum(
        entities[scene.relations[:, :1], subject],
        padded[scene.relations[:, 1:2], np.where(target == NOTHING, len(found.masks), target)],
    )
    true = scene.relation_parts.astype(np.int64)
    guessed = found.triplet_parts[order].astype(np.int64)
    both = true @ guessed.T
    either = true.sum(1)[:, None] + guessed.sum(1) - both
    parts = np.where(either == 0, 1.0, both / np.maximum(either, 1))
    return Agreement(order, scene.relations[:, 2:] == relation, overlap, parts, entities)


def first_ranks(hits: NDArray) -> NDArray:
    """The first column of bool [R, T] that hits each relation, int32 [R], or `NEVER`: the challenge's rule."""
    if not hits.shape[1]:
        return np.full(len(hits), NEVER, np.int32)
    return np.where(hits.any(1), hits.argmax(1), NEVER).astype(np.int32)


def strict_ranks(hits: NDArray, overlap: NDArray) -> NDArray:
    """Computes ranks int32 [R], `NEVER` without a hit, where a prediction may hit one true relation only.

    By falling score each prediction takes, of the true relations it hits, `hits` bool [R, T], that are still free, the
    one with the largest `overlap` [R, T], of equal ones the first. So these ranks too give the recall at every k.
    """
    ranks = np.full(len(hits), NEVER, np.int32)
    for column in np.flatnonzero(hits.any(0)):
        free = hits[:, column] & (ranks == NEVER)
        if free.any():
            ranks[np.where(free, overlap[:, column], -1).argmax()] = column
    return ranks


def parts_are_labelled(scene: Scene) -> bool:
    """Whether any part of an image is labelled, in its part map or of a relation; else no metric asks for parts."""
    drawn = scene.relation_parts.shape[1] and (scene.parts != UNKNOWN_PART).any()
    return bool(drawn or scene.relation_parts.any())
