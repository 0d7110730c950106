"""COCO's masks of either kind of file: instances (polygons, run lengths) and panoptic (PNGs of ids)."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from jaxrec.data.images.pixels import read_picture, rle_decode
from jaxrec.data.readers.files import read_json

REMEDY = 'fetch the annotations from https://cocodataset.org and unpack them there'

LARGEST = 2**63  # which numpy's whole numbers stay below
FARTHEST = 1e6  # of a coordinate: polygons that reach much further are more than pycocotools has room for
# What entries must say: a whole number of at least so much, or (None) a text.
ENTRIES: dict[str, dict[str, int | None]] = {
    'images': {'id': -LARGEST, 'height': 1, 'width': 1},
    'categories': {'id': -LARGEST, 'name': None},
    'annotations': {'image_id': -LARGEST},
}


class Listing(NamedTuple):
    """The annotated entities of an image, without pixels."""

    ids: NDArray  # int64 [N], of the annotations
    names: list[str]  # their classes
    boxes: NDArray  # float64 [N, 4] of (left, top, right, bottom)
    crowd: NDArray  # bool [N], whether a mask covers several entities at once


class CocoMasks:
    """The masks of files of annotations, decoded image by image; `names` are the classes in the order of the file."""

    def __init__(self, paths: Sequence[str | Path], pngs: str | Path | None = None):
        """Reads the annotations of one or more JSONs whose images differ; panoptic ones need the folder `pngs`.

        Raises:
          ValueError: a file is missing or no such JSON, or a panoptic one comes without PNGs.
        """
        self.paths, self._pngs = [Path(path) for path in paths], pngs
        self.where = ', '.join(map(str, self.paths))
        self._images: dict[int, dict[str, Any]] = {}
        self._class: dict[int, str] = {}
        self._of_image: dict[int, list[dict[str, Any]]] = {}
        self._panoptic: dict[int, str] = {}
        for path in self.paths:
            self._take(path)
        self.names = tuple(self._class.values())

    def _take(self, path: Path) -> None:
        """Takes in one file."""
        data = read_json(path, REMEDY)
        if not isinstance(data, dict) or not all(isinstance(data.get(key), list) for key in ENTRIES):
            raise ValueError(f'{path} is no COCO file of "images", "annotations" and "categories": {REMEDY}')
        for kind, known in ENTRIES.items():
            for number, entry in enumerate(data[kind]):
                if not isinstance(entry, dict) or not all(
                    isinstance(entry.get(key), str) if least is None else is_whole(entry.get(key), least)
                    for key, least in known.items()
                ):
                    raise ValueError(f'{path}: {kind}[{number}] has no {", ".join(known)} that can be used: {REMEDY}')
        self._images |= {image['id']: image for image in data['images']}
        self._class |= {category['id']: category['name'] for category in data['categories']}
        for annotation in data['annotations']:
            if 'segments_info' in annotation:
                self._panoptic[annotation['image_id']] = str(annotation.get('file_name'))
            found = self._of_image.setdefault(annotation['image_id'], [])
            segments = annotation.get('segments_info', [annotation])
            if not all(isinstance(each, dict) and is_whole(each.get('id')) for each in segments):
                where = f'an annotation of image {annotation["image_id"]}'
                raise ValueError(f'{path}: {where} has no id, or a segment without one: {REMEDY}')
            found += segments
        if self._panoptic and self._pngs is None:
            raise ValueError(f'{path} is panoptic: give the folder of its PNGs, too')

    def keep(self, images: Collection[int]) -> None:
        """Forgets all images but some."""
        for held in (self._images, self._of_image, self._panoptic):
            for image in held.keys() - set(images):
                held.pop(image)

    def __contains__(self, image: int) -> bool:
        return image in self._images

    def file_name(self, image: int) -> str:
        """The file name of an image; a ValueError reports that the JSON has none."""
        if not isinstance(name := self._images[image].get('file_name'), str):
            raise ValueError(f'{self.where}: image {image} has no file_name: {REMEDY}')
        return name

    def size(self, image: int) -> tuple[int, int]:
        """(H, W)."""
        return int(self._images[image]['height']), int(self._images[image]['width'])

    def listing(self, image: int) -> Listing:
        """The annotated entities of an image; a ValueError reports an unknown class or a missing box."""
        annotations = self._of_image.get(image, [])
        for annotation in annotations:
            if not is_whole(known := annotation.get('category_id')) or known not in self._class:
                raise ValueError(
                    f'{self.where}: annotation {annotation.get("id")} is of category {known}, which is none '
                    'of its categories: mend it'
                )
            if not is_box(annotation.get('bbox')):
                raise ValueError(f'{self.where}: annotation {annotation["id"]} has no bbox of 4 numbers: add it')
        boxes = np.array([annotation['bbox'] for annotation in annotations], np.float64).reshape(-1, 4)
        return Listing(
            np.array([annotation['id'] for annotation in annotations], np.int64),
            [self._class[annotation['category_id']] for annotation in annotations],
            np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
            np.array([bool(annotation.get('iscrowd', 0)) for annotation in annotations], bool),
        )

    def masks(self, image: int) -> NDArray:
        """The masks bool [N, H, W] in the order of `listing`; empty where nothing was drawn.

        Raises:
          ValueError: a mask is of another size than the image, cannot be decoded, or its PNG cannot be read.
        """
        size, annotations = self.size(image), self._of_image.get(image, [])
        if image in self._panoptic:
            path = Path(str(self._pngs)) / self._panoptic[image]
            red, green, blue = np.moveaxis(read_picture(path).astype(np.int64), -1, 0)
            numbers = red + 256 * green + 65536 * blue
            if numbers.shape != size:
                raise ValueError(
                    f'{path} is {numbers.shape} but {self.where} gives image {image} as {size}: fetch them'
                )
            return numbers == np.array([a['id'] for a in annotations], np.int64)[:, None, None]
        masks = [self._decode(annotation, size) for annotation in annotations]
        return np.stack(masks) if masks else np.zeros((0, *size), bool)

    def _decode(self, annotation: dict[str, Any], size: tuple[int, int]) -> NDArray:
        """A mask of polygons or run lengths."""
        drawn, where = annotation.get('segmentation'), f'{self.where}: annotation {annotation["id"]}'
        if isinstance(drawn, dict):
            return rle_decode(drawn, size, where)
        polygons = isinstance(drawn, list) and all(are_places(p) and len(p) >= 6 and len(p) % 2 == 0 for p in drawn)
        if not polygons:
            raise ValueError(f'{where} has no mask of polygons (x, y, three points or more) or run lengths')
        if not drawn:
            return np.zeros(size, bool)
        from pycocotools import mask as coco

        run = coco.merge(coco.frPyObjects(drawn, *size))
        return rle_decode({'size': list(size), 'counts': run['counts'].decode()}, size, where)


def is_whole(given: Any, least: int = -LARGEST) -> TypeGuard[int]:
    """Whether it is a whole number of 64 bits, of `least` or more."""
    return isinstance(given, int) and not isinstance(given, bool) and least <= given < LARGEST


def are_places(given: Any) -> TypeGuard[list[float]]:
    """Whether it is a list of coordinates, as JSON holds them: numbers that a picture's pixels may have."""
    return isinstance(given, list) and all(
        isinstance(each, int | float) and -FARTHEST <= each <= FARTHEST for each in given
    )


def is_box(given: Any) -> TypeGuard[list[float]]:
    """Whether it is a list of four coordinates."""
    return are_places(given) and len(given) == 4
