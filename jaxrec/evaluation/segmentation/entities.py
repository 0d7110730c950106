"""Entities and human parts alone: mask AP as COCO defines it (pycocotools), and mean IoU of parts.

Scenes hold no crowds, for which COCO ignores predictions: here these are wrong, so on V-COCO the AP is a little lower
than COCO's own. Masks are kept as run lengths, a few hundred bytes each, so a whole data set fits in memory.

H, W pixels, N true and K found entities, P kinds of human part.
"""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxrec.data.images.pixels import rle_encode
from jaxrec.data.images.scene import UNKNOWN_PART, Scene
from jaxrec.evaluation.segmentation.found import Found


class EncodedImage(NamedTuple):
    """The entities of one image as run lengths."""

    size: tuple[int, int]  # (H, W)
    truth: list[tuple[int, dict[str, Any]]]  # (class, run lengths) of each true entity with pixels, and of skipped ones
    found: list[tuple[int, float, dict[str, Any]]]  # (class, score, run lengths) of each one with pixels


def encode_entities(scene: Scene, found: Found, missed: Sequence[int] | NDArray = ()) -> EncodedImage:
    """What `mask_ap` needs of an image, without empty masks; `missed` are classes of true entities not in the scene."""
    nothing = rle_encode(np.zeros(scene.masks.shape[1:], bool))
    true, guessed = scene.masks.any((1, 2)), found.masks.any((1, 2))
    classes, scores = found.categories[guessed].tolist(), found.scores[guessed].tolist()
    return EncodedImage(
        scene.masks.shape[1:],
        [
            *zip(scene.categories[true].tolist(), map(rle_encode, scene.masks[true]), strict=True),
            *((int(category), nothing) for category in missed),
        ],
        list(zip(classes, scores, map(rle_encode, found.masks[guessed]), strict=True)),
    )


def mask_ap(images: Sequence[EncodedImage], limits: Sequence[int] = (1, 10, 100)) -> dict[str, float]:
    """Computes `entity_ap` of masks (mean over IoU .50 to .95), `entity_ap_50` and `entity_ap_75` by pycocotools.

    Args:
      images: encoded entities; classes without a true entity do not enter the mean.
      limits: how many entities of a class count in an image (COCO's maxDets); the largest holds.

    Raises:
      ValueError: no image holds a true entity.
    """
    if not any(image.truth for image in images):
        raise ValueError('no image holds a true entity: evaluate a larger part of the data')
    if not any(image.found for image in images):  # which COCO's own reader of results refuses
        return {'entity_ap': 0.0, 'entity_ap_50': 0.0, 'entity_ap_75': 0.0}
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        truth = _coco(images, [[(c, 1.0, runs) for c, runs in image.truth] for image in images])
        evaluation = COCOeval(truth, _coco(images, [image.found for image in images]), 'segm')
        evaluation.params.maxDets = list(limits)
        evaluation.evaluate()
        evaluation.accumulate()
    # [IoU, recall, class, area, limit]; -1 where a class has no true entity
    precision = evaluation.eval['precision'][..., 0, -1]
    mean = lambda values: float(values[values > -1].mean())
    return {'entity_ap': mean(precision), 'entity_ap_50': mean(precision[0]), 'entity_ap_75': mean(precision[5])}


def _coco(images: Sequence[EncodedImage], entities: Sequence[Sequence[tuple[int, float, dict]]]) -> Any:
    """One side of an evaluation as pycocotools wants it; its ids start at 1, for it takes 0 for no match."""
    from pycocotools import mask as masks
    from pycocotools.coco import COCO

    annotations: list[dict[str, Any]] = []
    for number, of_image in enumerate(entities, 1):
        for category, score, runs in of_image:
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': number,
                    'category_id': category,
                    'score': score,
                    'segmentation': runs,
                    'area': float(masks.area(runs)),
                    'iscrowd': 0,
                }
            )
    classes = sorted({c for image in images for c in (*(t[0] for t in image.truth), *(f[0] for f in image.found))})
    coco = COCO()
    coco.dataset = {
        'images': [{'id': n, 'height': i.size[0], 'width': i.size[1]} for n, i in enumerate(images, 1)],
        'categories': [{'id': c, 'name': str(c)} for c in classes],
        'annotations': annotations,
    }
    coco.createIndex()
    return coco


def part_counts(truth: NDArray, found: NDArray, parts: int) -> NDArray:
    """Counts pixels that part maps share and cover; counts of several images add up.

    Args:
      truth: uint8 [H, W], part + 1, 0 none; pixels that are `UNKNOWN_PART` are not counted.
      found: uint8 [H, W], part + 1 or 0.
      parts: P.

    Returns:
      int64 [3, P + 1]: pixels that are truly each part, that are found as it, and both; none comes first.

    Raises:
      ValueError: sizes differ or a map holds an unknown part.
    """
    if truth.shape != found.shape:
        raise ValueError(f'a part map of {found.shape} against a truth of {truth.shape}: bring both to one size')
    counted = truth != UNKNOWN_PART
    true, guessed = truth[counted], found[counted]
    for name, values in (('the truth', true), ('the predictions', guessed)):
        if values.size and values.max() > parts:
            raise ValueError(f'the part map of {name} holds {values.max()}; {parts} parts are known')
    count = lambda values: np.bincount(values, minlength=parts + 1)
    return np.stack([count(true), count(guessed), count(true[true == guessed])])


def part_miou(counts: NDArray) -> float:
    """Mean IoU over the parts of the ground truth, from sums int64 [3, P + 1]; a ValueError says if it has none."""
    true, guessed, both = counts[:, 1:].astype(np.float64)
    held = true > 0
    if not held.any():
        raise ValueError('no image has a labelled human part: evaluate images whose parts are labelled')
    return float((both[held] / (true + guessed - both)[held]).mean())
