"""The predictions for one image, and how they and the ground truth are read from host batches.

B batch, H, W image size, K found and N true entities, T triplets, P kinds of human part, h, w size of predicted masks.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxrec.data.images.scene import Scene, check_arrays
from jaxrec.data.images.targets import unpack_masks

NOTHING = -1  # the object of a triplet whose subject acts on nothing that was seen
PART_THRESHOLD = 0.5  # a part takes part from this probability on


@dataclasses.dataclass(frozen=True)
class Found:
    """The predictions for one image."""

    masks: np.ndarray  # bool [K, H, W]; they may overlap, and be empty
    categories: np.ndarray  # int32 [K], entity classes
    scores: np.ndarray  # float32 [K], confidence
    triplets: np.ndarray  # int32 [T, 3] of (subject, object, relation): rows of `masks`, or `NOTHING` as object
    triplet_scores: np.ndarray  # float32 [T]
    triplet_parts: np.ndarray  # bool [T, P], the parts of the subject that take part
    parts: np.ndarray  # uint8 [H, W], the human part of each pixel plus 1, or 0
    name: str = ''  # for messages

    def __post_init__(self) -> None:
        size, count, triplets = self.parts.shape, len(self.categories), len(self.triplets)
        expected = {
            'masks': (np.bool_, (count, *size)),
            'categories': (np.int32, (count,)),
            'scores': (np.float32, (count,)),
            'triplets': (np.int32, (triplets, 3)),
            'triplet_scores': (np.float32, (triplets,)),
            'triplet_parts': (np.bool_, (triplets, *self.triplet_parts.shape[1:])),
            'parts': (np.uint8, size),
        }
        check_arrays(self, f'predictions of {self.name!r}', expected)
        _check_joined(self.triplets[:, :2], count, self.name)
        for key in ('scores', 'triplet_scores'):
            if np.isnan(getattr(self, key)).any():
                raise ValueError(f'predictions of {self.name!r}: {key} holds a NaN, usually of a model that diverged')


def check_judged(batch: Mapping[str, Any], *keys: str) -> None:
    """Raises a ValueError for a batch that lacks a key which only evaluators read, or one of further keys."""
    if missing := [key for key in (*keys, 'host/mask', 'host/part') if key not in batch]:
        raise ValueError(
            f'the batch has no {missing[0]!r}: evaluate host batches, whose host/ keys are kept, of a source '
            'that does not shuffle'
        )


def truth_of(batch: Mapping[str, NDArray], row: int) -> Scene:
    """Returns the scene of the valid entities and relations of one row of a host batch, at the image's size.

    The batch has `image` uint8 [B, H, W, 3], `entity/category` and `entity/valid` [B, N], `relation/subject`,
    `relation/object`, `relation/category` and `relation/valid` [B, R], `relation/parts` [B, R, P], `host/mask` uint8
    [B, N, H, ceil(W/8)] (bits of the masks) and `host/part` uint8 [B, H, W].

    Raises:
      ValueError: as `check_judged`, or a valid relation names an entity that is not valid.
    """
    check_judged(batch, 'image')
    valid = np.asarray(batch['entity/valid'][row], bool)
    masks = unpack_masks(batch['host/mask'][row][valid], batch['image'].shape[2])
    relations = np.stack([batch[f'relation/{key}'][row] for key in ('subject', 'object', 'category')], -1)
    counted = np.asarray(batch['relation/valid'][row], bool)
    place = np.where(valid, np.cumsum(valid) - 1, -1).astype(np.int32)
    relations = relations[counted].astype(np.int32)
    relations[:, :2] = place[relations[:, :2]]
    if (relations[:, :2] < 0).any():
        raise ValueError(f'image {row} of the batch: a valid relation names an entity that is not valid')
    return Scene(
        image=batch['image'][row],
        masks=masks,
        categories=batch['entity/category'][row][valid].astype(np.int32),
        parts=batch['host/part'][row],
        relations=relations,
        relation_parts=batch['relation/parts'][row][counted].astype(bool),
        name=name_of(batch, row),
    )


def found_of(
    predictions: Mapping[str, NDArray],
    row: int,
    size: tuple[int, int],
    part_threshold: float = PART_THRESHOLD,
    name: str = '',
) -> Found:
    """Returns the predictions for one image of a batch, at the image's size.

    Entities and triplets of score 0 are fillers and skipped, as are triplets that join one.

    Args:
      predictions: of a task: `entity/score`, `entity/category` [B, K], `entity/mask` [B, K, h, w], `triplet/subject`,
        `triplet/object` (perhaps `NOTHING`), `triplet/relation`, `triplet/score` [B, T], `triplet/parts` float [B, T,
        P] and `part` [B, h, w].
      row: of the batch.
      size: (H, W) of the image, multiples of (h, w), by which masks are repeated; else a ValueError, as in `Found`.
      part_threshold: the probability from which on a part takes part.
      name: for messages.
    """
    kept = ~(np.asarray(predictions['entity/score'][row]) <= 0)  # a NaN stays, for `Found` to refuse
    joined = np.stack([predictions[f'triplet/{key}'][row] for key in ('subject', 'object', 'relation')], -1)
    scores = np.asarray(predictions['triplet/score'][row], np.float32)
    filler = NOTHING - 1
    place = np.append(np.where(kept, np.cumsum(kept) - 1, filler), NOTHING)  # the last is that of NOTHING
    real = np.flatnonzero(~(scores <= 0))
    _check_joined(joined[real, :2], len(kept), name)
    joined[real, :2] = place[joined[real, :2]]
    real = real[(joined[real, :2] != filler).all(1)]
    return Found(
        masks=_enlarged(predictions['entity/mask'][row][kept], size).astype(bool),
        categories=predictions['entity/category'][row][kept].astype(np.int32),
        scores=predictions['entity/score'][row][kept].astype(np.float32),
        triplets=joined[real].astype(np.int32),
        triplet_scores=scores[real],
        triplet_parts=predictions['triplet/parts'][row][real] >= part_threshold,
        parts=_enlarged(predictions['part'][row], size).astype(np.uint8),
        name=name,
    )


def name_of(batch: Mapping[str, NDArray], row: int) -> str:
    """What messages call an image of a batch: its event where the batch has it, else its row."""
    return f'event {int(batch["host/event"][row])}' if 'host/event' in batch else f'row {row}'


def _check_joined(joined: NDArray, count: int, name: str) -> None:
    """Refuses subjects and objects [T, 2] that are no rows of so many masks."""
    outside = ((joined >= count) | (joined < np.array([0, NOTHING]))).any(1)
    if outside.any():
        bad = int(outside.argmax())
        raise ValueError(
            f'predictions of {name!r}: triplet {bad} joins entities {joined[bad].tolist()} of '
            f'{count}; name rows of the masks, {NOTHING} for no object'
        )


def _enlarged(maps: NDArray, size: tuple[int, int]) -> NDArray:
    """Repeats the pixels of maps [..., h, w] up to a size that is a whole multiple of theirs."""
    factors = [full // small for full, small in zip(size, maps.shape[-2:], strict=True)]
    if [f * s for f, s in zip(factors, maps.shape[-2:], strict=True)] != list(size):
        raise ValueError(
            f'predicted masks of {maps.shape[-2:]} do not divide an image of {size}: choose a read_stride '
            'that divides its sides'
        )
    return maps.repeat(factors[0], -2).repeat(factors[1], -1)
