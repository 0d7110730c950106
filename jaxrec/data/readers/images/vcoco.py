"""V-COCO: what people do to things in COCO's images, with COCO's masks in place of boxes.

A relation is an action with one role, such as 'cut instr' and 'cut obj'. Two kinds of file are read: the published one
(a list of actions, each with `ann_id`, `image_id`, `label` and `role_object_id`, which name COCO's annotations by id),
and its form as pairs (boxes of person and object, joined here to the annotation of that class whose box overlaps most).
COCO's images, annotations and these files are placed by hand.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxrec.configurable import configurable
from jaxrec.data.images.agents import UNSEEN, Agents
from jaxrec.data.images.log import SceneLog, absolute, compile_annotated
from jaxrec.data.images.pixels import how_it_lies, read_picture
from jaxrec.data.images.scene import UNKNOWN_PART, Scene, Vocabulary
from jaxrec.data.readers.files import read_json
from jaxrec.data.readers.images.annotated_images import AnnotatedImages
from jaxrec.data.readers.images.coco_masks import CocoMasks, Listing, is_box

PERSON = 'person'
PARTS = ('train', 'validation', 'test')
REMEDY = 'take it from https://github.com/s-gupta/v-coco, or as pairs from https://github.com/fredzzhang/vcoco'
LEAST_IOU = 0.5  # of a pair's box with that of an annotation
NO_MASKS = 'images whose masks are not there'
_UNJOINED, _SELF = 'relations of an entity without mask', 'relations of an entity with itself'
_TWICE, _OF_CROWDS = 'relations listed twice', 'relations of crowds left out'
_CROWDS, _CLASSES, _EMPTY = 'crowds left out', 'entities of classes left out', 'entities without pixels'

# What a deed names: an annotation by its id, or a class and a box; none for an object out of the image.
Named = int | tuple[str, tuple[float, ...]] | None


@configurable('reader')
class VcocoScenes(AnnotatedImages):
    """The images of a V-COCO file whose masks are there, as scenes; no human part is labelled.

    Example:
      scenes = VcocoScenes('vcoco_test.json', 'instances_val2014.json', 'val2014', irregular='drop')
      scene, agents = scenes.with_agents(0)
    """

    def __init__(
        self, annotations: str | Path | Mapping[str, str | Path], masks: str | Path | Sequence[str | Path],
        images: str | Path | Sequence[str | Path], *, pngs: str | Path | None = None, irregular: str = 'refuse',
    ):  # fmt: skip
        """Reads the annotations; pixels are read image by image.

        Args:
          annotations: V-COCO's file, as published or as pairs, which is 'train'; or {part of `PARTS`: file} of one
            form.
          masks: COCO's instances or panoptic JSON, or several; the published form needs instances, whose ids it names.
          images: the folder of the images, or several; under their names in COCO's file or the newer ones (the id
            alone).
          pngs: for a panoptic JSON, the folder of its PNGs.
          irregular: 'refuse' or 'drop' images without masks or that cannot be read, entities without pixels, and
            relations of an entity without mask or with itself. Crowds, classes that V-COCO does not have, and duplicate
            relations are left out in either mode.

        Raises:
          ValueError: files are missing or malformed.
        """
        super().__init__(irregular)
        files = annotations if isinstance(annotations, Mapping) else {PARTS[0]: annotations}
        if unknown := [part for part in files if part not in PARTS]:
            raise ValueError(f'annotations of the part {unknown[0]!r}: the parts are {", ".join(PARTS)}')
        self.files = {PARTS.index(part): Path(file) for part, file in files.items()}
        self.folders = [Path(images)] if isinstance(images, str | Path) else [Path(each) for each in images]
        self.coco = CocoMasks([masks] if isinstance(masks, str | Path) else masks, pngs)
        self.ids: list[int] = []
        self._deeds: Deeds = {}
        self._people: dict[int, set[int]] = {}
        splits: list[int] = []
        for part, file in self.files.items():
            found = self._take(file)
            self.ids += found
            splits += [part] * len(found)
        self.coco.keep(self.ids)  # a twelfth of COCO's
        self.splits = np.array(splits, np.int8)
        self.names = [self.coco.file_name(image) for image in self.ids]

    def sources(self) -> list[Path]:
        """The files of V-COCO and of COCO's annotations."""
        return [*self.files.values(), *self.coco.paths]

    def _take(self, file: Path) -> list[int]:
        """Takes in one file of V-COCO; returns its images whose masks are there."""
        data = read_json(file, REMEDY)
        parse = _pairs if isinstance(data, dict) else _published
        try:
            entities, relations, deeds, people = parse(data, self.coco.names)
        except (KeyError, TypeError, IndexError, ValueError, OverflowError) as error:
            raise ValueError(f'{file} is no V-COCO file ({error!r}): {REMEDY}') from None
        if PERSON not in entities:
            raise ValueError(f'{file} with {self.coco.where}: no class is named {PERSON!r}: {REMEDY}')
        vocabulary = Vocabulary(entities, relations, person=PERSON)
        if getattr(self, 'vocabulary', vocabulary) != vocabulary:
            raise ValueError(f'{file} has other classes or actions than the other files: give files of one form')
        self.vocabulary, self._place = vocabulary, {name: n for n, name in enumerate(entities)}
        kept = []
        for image in deeds:
            if image in self._deeds:
                raise ValueError(f'{file} names image {image}, which another part has: take it out of one')
            if image in self.coco:
                kept.append(image)
            else:
                message = f'{file} names image {image}, of which {self.coco.where} has no masks: give its file'
                self.refuse_or_count(self._listed, NO_MASKS, message)
        self._deeds |= deeds
        self._people |= people
        return kept

    def read(self, index: int) -> tuple[Scene, Counter[str]]:
        """The scene of an image, and what was left out of it; see `AnnotatedImages`."""
        scene, _, counts = self._read(index, crowds=False)
        return scene, counts

    def with_agents(self, index: int) -> tuple[Scene, Agents]:
        """The scene of an image, and who does what in it, also to unseen objects: the ground truth of role AP.

        In the published file those people are known whom it names. Pairs do not say whose actions are annotated, so all
        are known there, and deeds without an object in the image are absent. Crowds, which scenes leave out, are
        entities here, as in the official script: a deed may be done to one, and predictions for a crowd of people are
        ignored.
        """
        return self._read(index, crowds=True)[:2]

    def _read(self, index: int, crowds: bool) -> tuple[Scene, Agents, Counter[str]]:
        image, counts = self.ids[index], Counter[str]()
        listing, kept = self._kept(image, counts, crowds)
        masks = self.coco.masks(image)
        empty = kept & ~masks.any((1, 2)) & ~listing.crowd  # a crowd is no entity of scenes
        for row in np.flatnonzero(empty).tolist():
            where = f'{self.coco.where}: annotation {listing.ids[row]} of image {image}'
            self.refuse_or_count(counts, _EMPTY, f'{where} has no pixel: draw it')
        rows = np.flatnonzero(kept & masks.any((1, 2)))
        deeds = self._joined(image, listing, rows, counts)
        relations = deeds[deeds[:, 1] != UNSEEN]
        categories = np.array([self._place[listing.names[row]] for row in rows], np.int32)
        parts, taking = np.full(self.coco.size(image), UNKNOWN_PART, np.uint8), np.zeros((len(relations), 0), bool)
        scene = Scene(self._picture(image), masks[rows], categories, parts, relations, taking, self.names[index])
        people = np.flatnonzero(scene.categories == self._place[PERSON]).astype(np.int32)
        named = self._people.get(image)
        of_all = lambda row: bool(~listing.crowd[row])  # of pairs
        known = [of_all(row) if named is None else int(listing.ids[row]) in named for row in rows[people]]
        return scene, Agents(people, np.array(known, bool), deeds), counts

    def _kept(self, image: int, counts: Counter[str], crowds: bool) -> tuple[Listing, NDArray]:
        """What is listed of an image, and bool [N], which entities are of V-COCO's classes, and no crowds."""
        listing = self.coco.listing(image)
        known = np.array([name in self._place for name in listing.names], bool)
        counts[_CLASSES] += int((~known).sum())
        if crowds:
            return listing, known
        counts[_CROWDS] += int((known & listing.crowd).sum())
        return listing, known & ~listing.crowd

    def _joined(self, image: int, listing: Listing, rows: NDArray, counts: Counter[str]) -> NDArray:
        """int32 [D, 3]: the deeds of an image as rows of its entities, `UNSEEN` for no object."""
        found: dict[tuple[int, int, int], None] = {}
        for subject, target, kind in self._deeds[image]:
            # Whose box is told is one person, though a crowd's box may fit it as well.
            ends = [self._row(listing, rows, subject, crowds=False), self._row(listing, rows, target)]
            where = f'V-COCO: image {image}, relation {self.vocabulary.relations[kind]!r}'
            if ends[0] is None or ends[1] is None:
                named = subject if ends[0] is None else target
                if self._row(listing, np.flatnonzero(listing.crowd), named) is not None:
                    counts[_OF_CROWDS] += 1
                    continue
                self.refuse_or_count(counts, _UNJOINED, f'{where} names {named}, which has no mask: mend it')
            elif ends[0] == ends[1]:
                self.refuse_or_count(counts, _SELF, f'{where} joins entity {subject} with itself: mend it')
            elif (key := (ends[0], ends[1], kind)) in found:
                counts[_TWICE] += 1
            else:
                found[key] = None
        return np.array(list(found), np.int32).reshape(-1, 3)

    def _row(self, listing: Listing, rows: NDArray, named: Named, crowds: bool = True) -> int | None:
        """The place of an entity among `rows`, `UNSEEN` for none, None if absent; boxes match crowds if `crowds`."""
        if named is None:
            return UNSEEN
        if isinstance(named, int):
            places = np.flatnonzero(listing.ids[rows] == named)
            return int(places[0]) if len(places) else None
        name, box = named
        same = np.array([listing.names[row] == name for row in rows], bool) & (crowds | ~listing.crowd[rows])
        overlaps = np.where(same, _box_ious(np.array(box), listing.boxes[rows]), 0)
        best = int(overlaps.argmax()) if len(overlaps) else 0
        return best if len(overlaps) and overlaps[best] >= LEAST_IOU else None

    def _picture(self, image: int) -> NDArray:
        """The picture, found under either of its names."""
        names = (self.coco.file_name(image), f'{image:012d}.jpg')
        places = [folder / name for folder in self.folders for name in names]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            folders = ', '.join(map(str, self.folders))
            raise ValueError(f'{folders} has no {" nor ".join(names)}: fetch the images of COCO there')
        picture = read_picture(path)
        if picture.shape[:2] != self.coco.size(image):
            raise ValueError(
                f'{path} is {picture.shape[:2]}{how_it_lies(path)} but its masks are '
                f'{self.coco.size(image)}: fetch both again, or save it without EXIF'
            )
        return picture


@configurable('log')
def compile_vcoco(
    folder: str | Path, annotations: str | Path | Mapping[str, str | Path], masks: str | Path | Sequence[str | Path],
    images: str | Path | Sequence[str | Path], *, pngs: str | Path | None = None, irregular: str = 'refuse',
) -> SceneLog:  # fmt: skip
    """Compiles the log of V-COCO in `folder`, `config.data.log` for it; other arguments are those of `VcocoScenes`.

    Raises:
      ValueError: as `VcocoScenes`, or an image cannot be used and irregular is 'refuse'.
    """
    arguments = {
        'annotations': absolute(annotations), 'masks': absolute(masks), 'images': absolute(images),
        'pngs': None if pngs is None else absolute(pngs), 'irregular': irregular,
    }  # fmt: skip
    return compile_annotated(folder, 'jaxrec.data.readers.images.vcoco:VcocoScenes', arguments)


Deeds = dict[int, list[tuple[Named, Named, int]]]
Parsed = tuple[tuple[str, ...], tuple[str, ...], Deeds, dict[int, set[int]]]


def _pairs(data: dict[str, Any], names: tuple[str, ...]) -> Parsed:
    """Classes, relations, deeds by image and no people from the form as pairs."""
    del names
    objects: list[str] = data['objects']
    if wrong := [name for name in (*objects, *data['classes']) if not isinstance(name, str)]:
        raise ValueError(f'{wrong[0]!r} is no name of an object or action')
    deeds: Deeds = {}
    for image, each in zip(data['images'], data['annotations'], strict=True):
        columns = (each['boxes_h'], each['boxes_o'], each['objects'], each['actions'])
        deeds[image] = []
        for person, thing, category, action in zip(*columns, strict=True):
            if not (0 <= action < len(data['classes']) and 0 < category < len(objects)):
                raise ValueError(f'image {image} has action {action} and object {category}')
            if wrong := [box for box in (person, thing) if not is_box(box)]:
                raise ValueError(f'image {image} has {wrong[0]!r} for a box of 4 numbers')
            target = (objects[category], tuple(thing))
            deeds[image].append(((PERSON, tuple(person)), target, int(action)))
    return tuple(objects[1:]), tuple(data['classes']), deeds, {}


def _published(data: list[dict[str, Any]], names: tuple[str, ...]) -> Parsed:
    """Classes, relations, deeds by image and annotated people by image from the published form."""
    relations: list[str] = []
    deeds: Deeds = {}
    people: dict[int, set[int]] = {}
    for action in data:
        roles, count = action['role_name'][1:], len(action['ann_id'])
        ids = np.array(action['role_object_id'], np.int64).reshape(1 + len(roles), count)
        kinds = range(len(relations), len(relations) + len(roles))
        relations += [f'{action["action_name"]} {role}' for role in roles]
        for n, person, image, label in _columns(action, count):
            deeds.setdefault(image, [])
            people.setdefault(image, set()).add(person)
            if label == 1:
                deeds[image] += [(person, int(ids[1 + r, n]) or None, kind) for r, kind in enumerate(kinds)]
    return names, tuple(relations), deeds, people


def _columns(action: dict[str, Any], count: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, person, image, label) of the entries of an action."""
    columns = (action['ann_id'], action['image_id'], action['label'])
    for n, (person, image, label) in enumerate(zip(*columns, strict=True)):
        yield n, int(person), int(image), int(label)


def _box_ious(box: NDArray, boxes: NDArray) -> NDArray:
    """float64 [N]: IoU of a box with N others, all of (left, top, right, bottom)."""
    area = lambda b: np.prod(np.maximum(b[..., 2:] - b[..., :2], 0), axis=-1)
    shared = np.concatenate([np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])], 1)
    either = area(box) + area(boxes) - area(shared)
    return area(shared) / np.maximum(either, 1e-9)
