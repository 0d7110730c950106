"""Recalls of relations: per image, then averaged over images, in any groups.

R@K is the mean over images of the share of an image's true relations that its K best predictions hit; mR@K the mean
over kinds of relation of the same within one kind. With K = 'G' an image has as many predictions as true relations.
Images that hold nothing of a group do not enter it, nor do kinds that no image holds.

M images, R true relations of one image, A of all.
"""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

OWN = 'G'  # K = the image's own number of true relations


@dataclasses.dataclass(frozen=True)
class Ranked:
    """The true relations of images end to end, with the rank at which each was hit."""

    image: NDArray  # int [A], number of the image
    kind: NDArray  # int [A], relation
    rank: NDArray  # int [A], from 0; `matching.NEVER` where nothing hits
    count: NDArray  # int [A], number of true relations of the image

    @classmethod
    def of(cls, kinds: Sequence[NDArray], ranks: Sequence[NDArray]) -> 'Ranked':
        """Puts images end to end: their kinds int [R] each, and ranks int [R]."""
        sizes = np.asarray([len(each) for each in kinds], np.int64)
        empty = [np.zeros(0, np.int64)]
        return cls(
            image=np.repeat(np.arange(len(sizes)), sizes),
            kind=np.concatenate([*empty, *kinds]),
            rank=np.concatenate([*empty, *ranks]),
            count=np.repeat(sizes, sizes),
        )

    def hit(self, limit: int | str) -> NDArray:
        """Which of them are among the hits of the best `limit` predictions (a number or 'G'): bool [A]."""
        if limit != OWN and not (isinstance(limit, int) and limit > 0):
            raise ValueError(f'K = {limit!r}: give a number of predictions from 1 on, or {OWN!r}')
        return self.rank < (self.count if limit == OWN else limit)


def image_recall(image: NDArray, group: NDArray, hit: NDArray) -> dict[int, float]:
    """{group: recall in [0, 1]}: per image that holds it, then averaged over these; all arguments are [A]."""
    images = int(image.max()) + 1 if len(image) else 1
    keys, inverse = np.unique(group.astype(np.int64) * images + image, return_inverse=True)
    each = np.bincount(inverse, hit, len(keys)) / np.bincount(inverse, minlength=len(keys))
    groups = keys // images
    return {g: float(each[groups == g].mean()) for g in np.unique(groups).tolist()}


def recall(ranked: Ranked, limit: int | str) -> float:
    """Computes R@K in [0, 1]; `limit` is K or 'G'.

    Raises:
      ValueError: there is no true relation, or K is invalid.
    """
    _need_some(ranked)
    return image_recall(ranked.image, np.zeros_like(ranked.kind), ranked.hit(limit))[0]


def mean_recall(ranked: Ranked, limit: int | str) -> float:
    """mR@K, the mean over the kinds of relation that occur; arguments as `recall`."""
    _need_some(ranked)
    return float(np.mean(list(image_recall(ranked.image, ranked.kind, ranked.hit(limit)).values())))


def group_recall(ranked: Ranked, limit: int | str, kinds: Collection[int]) -> float | None:
    """Recall of some kinds of relation taken together, per image that holds any, then averaged; None without any.

    `limit` is K or 'G': K counts predictions of every kind, and 'G' true relations of every kind.
    """
    inside = np.isin(ranked.kind, list(kinds))
    hit = ranked.hit(limit)[inside]
    return image_recall(ranked.image[inside], np.zeros(int(inside.sum()), int), hit).get(0)


def _need_some(ranked: Ranked) -> None:
    if not len(ranked.kind):
        raise ValueError('no image holds a true relation: evaluate a larger part of the data')
