"""Scenes of another size or cut: resized, cropped, fitted to the size a network takes.

H, W image size, h, w another one, N entities, R relations.
"""

import dataclasses

import numpy as np

from jaxrec.data.images.pixels import resize_picture
from jaxrec.data.images.scene import UNKNOWN_PART, Scene

FILL = (124, 116, 104)  # of pixels beyond the picture: the mean colour of photographs


def nearest(length: int, wanted: int) -> np.ndarray:
    """int [wanted]: the pixel under the middle of each pixel of a resized axis."""
    return ((np.arange(wanted) + 0.5) * length / wanted).astype(np.int64)


def resize(scene: Scene, size: tuple[int, int]) -> Scene:
    """Resizes a scene to `size` (height, width); masks and parts take the nearest pixel and may become empty."""
    if scene.image.shape[:2] == size:
        return scene
    return dataclasses.replace(
        scene,
        image=resize_picture(scene.image, size),
        masks=resize_nearest(scene.masks, size),
        parts=resize_nearest(scene.parts, size),
    )


def resize_nearest(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps [..., H, W] at another size (h, w): each pixel shows the one under its middle."""
    return _taken(maps, nearest(maps.shape[-2], size[0]), nearest(maps.shape[-1], size[1]))


def resize_labels(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes label maps [..., H, W] to [..., h, w] as the relation challenge does: by OpenCV's nearest neighbour.

    Row i shows row floor(i / (h / H)), columns likewise: the upper left one of an area, and where the quotient is
    rounded just below a whole number, the one before it.

    Raises:
      ValueError: a size below 1 x 1, or maps without a pixel.
    """
    height, width = maps.shape[-2:]
    if min(height, width, *size) < 1:
        raise ValueError(f'maps of {height} x {width} to {size}: both sizes must be at least 1 x 1')
    return _taken(maps, _upper_left(height, size[0]), _upper_left(width, size[1]))


def _upper_left(source: int, target: int) -> np.ndarray:
    """Which of so many rows each of `target` shows; in double precision, as OpenCV has it."""
    return np.minimum(np.floor(np.arange(target) * (1 / (target / source))).astype(int), source - 1)


def _taken(maps: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The rows [h] and columns [w] of maps [..., H, W], in the order given: [..., h, w]."""
    return maps.take(rows, -2).take(columns, -1)


def crop(scene: Scene, top: int, left: int, height: int, width: int) -> Scene:
    """Cuts a window out of a scene; outside the image it is filled, without entities and of unknown part.

    Args:
      scene: the scene.
      top, left: of the window, negative outside the image.
      height, width: of the window, at least 1; a ValueError refuses less.

    Returns:
      The scene, including entities that lost all pixels, see `without_empty`.
    """
    if height < 1 or width < 1:
        raise ValueError(f'a window of {height} x {width} of scene {scene.name!r} is empty: give at least 1 x 1')
    tall, wide = scene.image.shape[:2]
    rows = slice(max(top, 0), max(min(top + height, tall), 0))
    columns = slice(max(left, 0), max(min(left + width, wide), 0))
    inside = (rows.start - top, columns.start - left)
    image = np.empty((height, width, 3), np.uint8)
    image[:] = np.array(FILL, np.uint8)
    masks = np.zeros((len(scene.masks), height, width), bool)
    parts = np.full((height, width), UNKNOWN_PART, np.uint8)
    seen = scene.image[rows, columns]
    if seen.size:
        there = slice(inside[0], inside[0] + seen.shape[0]), slice(inside[1], inside[1] + seen.shape[1])
        image[there] = seen
        masks[:, there[0], there[1]] = scene.masks[:, rows, columns]
        parts[there] = scene.parts[rows, columns]
    return dataclasses.replace(scene, image=image, masks=masks, parts=parts)


def fit(scene: Scene, size: tuple[int, int]) -> Scene:
    """Resizes a scene as large as fits `size` (height, width), its proportions kept, and fills below or right of it."""
    height, width = scene.image.shape[:2]
    inner = inner_size((height, width), size)
    scene = resize(scene, inner)
    return scene if inner == size else crop(scene, 0, 0, *size)


def inner_size(sides: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Height and width that a picture of such sides has once it is fitted to a size, at its top left."""
    scale = min(size[0] / sides[0], size[1] / sides[1])
    height, width = (max(1, round(side * scale)) for side in sides)
    return min(height, size[0]), min(width, size[1])


def fit_picture(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`fit` of a picture alone: uint8 [H, W, 3] -> [*size, 3]."""
    fitted = np.empty((*size, 3), np.uint8)
    fitted[:] = np.array(FILL, np.uint8)
    height, width = inner = inner_size((pixels.shape[0], pixels.shape[1]), size)
    fitted[:height, :width] = resize_picture(pixels, inner)
    return fitted


def unfit(maps: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """Brings maps [..., h, w] of a fitted image to the image's own size [..., *sides], by the nearest pixel."""
    height, width = inner_size(sides, (maps.shape[-2], maps.shape[-1]))
    return resize_nearest(maps[..., :height, :width], sides)


def keep_entities(scene: Scene, kept: np.ndarray) -> Scene:
    """Keeps the entities of bool [N] `kept` in their order, and the relations among them."""
    if kept.all():
        return scene
    place = np.cumsum(kept, dtype=np.int32) - 1
    ends = scene.relations[:, :2]
    stays = kept[ends].all(1)
    relations = scene.relations[stays].copy()
    relations[:, :2] = place[relations[:, :2]]
    return dataclasses.replace(
        scene,
        masks=scene.masks[kept],
        categories=scene.categories[kept],
        relations=relations,
        relation_parts=scene.relation_parts[stays],
    )


def seen_entities(masks: np.ndarray) -> np.ndarray:
    """bool [N], which masks have a pixel."""
    count, height, width = masks.shape
    return np.asarray(masks.reshape(count, height * width).any(1))


def without_empty(scene: Scene) -> Scene:
    """Leaves out entities without a pixel, and their relations."""
    return keep_entities(scene, seen_entities(scene.masks))
