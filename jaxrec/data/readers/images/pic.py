"""Person in Context (PIC): images whose entities are masks and whose relations join two of them.

Two layouts are read, wherever the set was unpacked:

    image/{split}/X.jpg                                    image/X.jpg or image/{split}/X.jpg
    segmentation/{split}/{instance,semantic}/X.png         {instance,semantic}/X.png or .../{split}/X.png
    relation/relations_{split}.json                        relations_{split}.json
    categories_list/label_categories.json                  (as before, where they are there)
    categories_list/relation_categories.json

`pic_files` describes the files. They are placed by hand (academic use only; people can be recognised).

R relations.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jaxrec.configurable import configurable
from jaxrec.data.images.geometry import resize_labels
from jaxrec.data.images.log import SceneLog, absolute, compile_annotated
from jaxrec.data.images.pixels import how_it_lies, read_picture
from jaxrec.data.images.scene import UNKNOWN_PART, Scene, Vocabulary
from jaxrec.data.readers.images.annotated_images import AnnotatedImages
from jaxrec.data.readers.images.pic_files import REMEDY, read_classes, read_entities, read_relations, require_edition
from jaxrec.data.readers.images.pic_lists import (
    BROKEN,
    GEOMETRIC,
    MIRRORED_PARTS,
    PEOPLE,
    RELATIONS,
    SYMMETRIC,
    published_classes,
)

LABELS, KINDS = 'categories_list/label_categories.json', 'categories_list/relation_categories.json'
FOLDERS = ('PIC_2.0', 'PIC_v2', 'PIC', 'pic')
_IMAGES = ('images known to be broken', 'images listed twice')
_RELATIONS = (
    'relations of an entity without pixels',
    'relations of an entity with itself',
    'relations of a kind that there is not',
)
_TWICE, _CLASSES = 'relations listed twice', 'entities of classes left out'
_KINDS, _JOINED = 'relations of kinds left out', 'relations of entities left out'


def pic_vocabulary(
    edition: int = 2, entities: Sequence[str] | None = None, relations: Sequence[str] | None = None,
    labels: Sequence[str] | None = None, parts: Sequence[str] = (),
) -> Vocabulary:  # fmt: skip
    """The names of PIC, or a choice of them.

    Args:
      edition: 1 (2018) or 2 (2019).
      entities, relations: those to keep, all by default; `pic_lists.CHOSEN_RELATIONS` are 23.
      labels: names of classes by their number, 0 included; those of the edition by default.
      parts: of people; the set labels none, `pic_lists.CHOSEN_PARTS` are 25.

    Raises:
      ValueError: for an unknown name or edition.
    """
    labels = published_classes(edition) if labels is None else labels
    for chosen, known in ((entities, labels), (relations, RELATIONS[edition])):
        if unknown := [name for name in chosen or () if name not in known]:
            raise ValueError(f'{unknown[0]!r} is no name of PIC, edition {edition}: choose of {tuple(known)}')
    kept = tuple(RELATIONS[edition] if relations is None else relations)
    return Vocabulary(
        entities=tuple(labels if entities is None else entities),
        relations=kept,
        parts=tuple(parts),
        mirrored=tuple(pair for pair in MIRRORED_PARTS if set(pair) <= set(parts)),
        person=next((name for name in PEOPLE if name in labels), PEOPLE[0]),
        geometric=tuple(name for name in GEOMETRIC[edition] if name in kept),
        symmetric=tuple(name for name in SYMMETRIC[edition] if name in kept),
    )


@configurable('reader')
class PicScenes(AnnotatedImages):
    """The scenes of a split of PIC, or of both; no human part is labelled.

    `category_of` int32 and `kind_of` give the place of a class number (from 0) and of a relation number (from 1) in the
    vocabulary, -1 and None where it is left out.

    Example:
      scenes = PicScenes('data/PIC_2.0', 'val', irregular='drop')
      scenes[0].masks, scenes.vocabulary.relations
    """

    def __init__(
        self, data_dir: str | Path, split: str = 'train', edition: int = 2, *, entities: Sequence[str] | None = None,
        relations: Sequence[str] | None = None, parts: Sequence[str] = (), size: tuple[int, int] | None = None,
        category: str = 'max', images: bool = True, irregular: str = 'refuse', skip: Sequence[str] | None = None,
        every: bool = False,
    ):  # fmt: skip
        """Finds the files and reads the relations; pixels are read image by image.

        Args:
          data_dir: the folder of the set, or one that holds it under a name of `FOLDERS`.
          split: 'train', 'val' or 'trainval'; the labels of the test images are not published.
          edition: 1 (2018) or 2 (2019), by which relations are numbered; either may be in either layout.
          entities, relations: names to keep, all by default; relations of other entities are left out.
          parts: names of parts of people, for a network that learns them elsewhere; none is labelled.
          size: (height, width) to which masks are resized by the nearest neighbour, and images with them; the
            challenge's metric asks for (480, 640).
          category: 'max' or 'majority', see `read_entities`.
          images: whether to read the JPEGs; without, images are black, which is enough for the metric.
          irregular: 'refuse' or 'drop' images that cannot be read, and relations that name an entity without pixels, an
            entity twice, or an unknown kind. Images of `skip`, and duplicates, are left out in either mode.
          skip: names of images, without their ending, that are left out; None for those known to be broken.
          every: keep each relation as it is listed, as the challenge's script counts them: duplicates count twice, one
            of an entity with itself stays, and an entity without pixels has an empty mask.

        Raises:
          ValueError: files are missing or malformed, or an argument is wrong.
        """
        super().__init__(irregular)
        self.size = None if size is None else (size[0], size[1])
        self.category, self.images, self.every = category, images, every
        skipped = BROKEN.get(edition, ()) if skip is None else skip
        chosen = ('train', 'val') if split == 'trainval' else (split,)
        self.root, self._listings = _find(Path(data_dir), chosen)
        kinds = ('instance', 'semantic', 'image')
        self._folders = {part: {kind: _folder(self.root, kind, part) for kind in kinds} for part in chosen}
        labels = _labels(self.root / LABELS, edition)
        self.vocabulary = pic_vocabulary(edition, entities, relations, labels, parts)
        require_edition(self.root / KINDS, edition)
        places = {name: n for n, name in enumerate(self.vocabulary.entities)}
        self.category_of = np.array([places.get(name, -1) for name in labels], np.int32)
        numbers = {name: n for n, name in enumerate(self.vocabulary.relations)}
        self.kind_of = [numbers.get(name) for name in RELATIONS[edition]]
        self._relations: dict[str, list[dict[str, int]]] = {}
        self._part: list[str] = []
        for part, listing in zip(chosen, self._listings, strict=True):
            self._list(part, listing, skipped)
        self.names = list(self._relations)
        self.splits = np.array([part == 'val' for part in self._part], np.int8)

    def _list(self, part: str, listing: Path, skipped: Sequence[str]) -> None:
        """Takes in the images of one list."""
        for entry in read_relations(listing):
            if Path(entry['name']).stem in skipped:
                self._listed[_IMAGES[0]] += 1
            elif entry['name'] in self._relations:
                self._listed[_IMAGES[1]] += 1
                if self.every:  # the challenge's script counts the last
                    self._relations[entry['name']] = entry['relations']
            else:
                self._relations[entry['name']] = entry['relations']
                self._part.append(part)

    def sources(self) -> list[Path]:
        """The lists of relations, and that of classes where it is there."""
        labels = self.root / LABELS
        return [*self._listings, *([labels] if labels.is_file() else [])]

    def places(self) -> list[Path]:
        """All files and folders that are read."""
        return [*self.sources(), *(folder for part in self._folders.values() for folder in part.values())]

    def read(self, index: int) -> tuple[Scene, Counter[str]]:
        """The scene of an image, and what was left out of it; see `AnnotatedImages`."""
        name, counts = self.names[index], Counter[str]()
        folders = self._folders[self._part[index]]
        files = {kind: folder / f'{Path(name).stem}.png' for kind, folder in folders.items()}
        entities = read_entities(files['instance'], files['semantic'], self.size, self.category)
        numbers, masks, classes, size = entities
        if len(classes) and classes.max() >= len(self.category_of):
            raise ValueError(
                f'{files["semantic"]} holds class {classes.max()}; there are 1 to '
                f'{len(self.category_of) - 1}: mend it, or read the edition that it is of'
            )
        image = self._picture(folders['image'] / name, files['instance'], size)
        rows = {int(number): row for row, number in enumerate(numbers)}
        if self.every:
            listed = [each for one in self._relations[name] for each in (one['subject'], one['object'])]
            absent = [number for number in dict.fromkeys(listed) if number not in rows]
            rows |= {number: len(rows) + n for n, number in enumerate(absent)}
            masks = np.concatenate([masks, np.zeros((len(absent), *masks.shape[1:]), bool)])
            classes = np.append(classes, np.zeros(len(absent), classes.dtype))  # nothing is hit by it
        relations = self._usable_relations(name, rows, counts)
        places = self.category_of[classes] if len(classes) else classes
        kept = places >= 0
        counts[_CLASSES] += int((~kept).sum())
        joined = kept[relations[:, :2]].all(1)
        counts[_JOINED] += int((~joined).sum())
        relations = relations[joined]
        relations[:, :2] = (np.cumsum(kept) - 1)[relations[:, :2]]
        parts = np.full(masks.shape[1:], UNKNOWN_PART, np.uint8)
        taking = np.zeros((len(relations), len(self.vocabulary.parts)), bool)
        return Scene(image, masks[kept], places[kept], parts, relations, taking, name), counts

    def _picture(self, path: Path, instance: Path, size: tuple[int, int]) -> NDArray:
        """The image, as large as its masks become."""
        if not self.images:
            return np.zeros((*(self.size or size), 3), np.uint8)
        image = read_picture(path)
        if image.shape[:2] != size:
            raise ValueError(
                f'{path} is {image.shape[:2]}{how_it_lies(path)} but its mask {instance} is {size}: '
                'fetch both again, or save the picture without EXIF'
            )
        return np.moveaxis(resize_labels(np.moveaxis(image, -1, 0), self.size), 0, -1) if self.size else image

    def _usable_relations(self, name: str, rows: Mapping[int, int], counts: Counter[str]) -> NDArray:
        """int32 [R, 3] of rows and kinds, without what cannot be used and kinds that are not wanted."""
        found: list[tuple[int, int, int]] = []
        seen: set[tuple[int, int, int]] = set()
        for n, relation in enumerate(self._relations[name]):
            subject, target, number = (relation[key] for key in ('subject', 'object', 'relation'))
            where = f'{name}: relation {n}'
            absent = [each for each in (subject, target) if each not in rows]
            if absent:
                message = f'{where} names entity {absent[0]}, which has no pixel in the instance PNG: redraw it'
                self.refuse_or_count(counts, _RELATIONS[0], message)
            elif subject == target and not self.every:
                self.refuse_or_count(counts, _RELATIONS[1], f'{where} joins entity {subject} with itself: mend it')
            elif not 1 <= number <= len(self.kind_of):
                message = f'{where} is of kind {number}; there are 1 to {len(self.kind_of)}: mend it'
                self.refuse_or_count(counts, _RELATIONS[2], message)
            elif (kind := self.kind_of[number - 1]) is None:
                counts[_KINDS] += 1
            elif (key := (rows[subject], rows[target], kind)) in seen and not self.every:
                counts[_TWICE] += 1
            else:
                found.append(key)
                seen.add(key)
        return np.array(found, np.int32).reshape(-1, 3)


@configurable('log')
def compile_pic(
    folder: str | Path, data_dir: str | Path, split: str = 'trainval', edition: int = 2, *,
    entities: Sequence[str] | None = None, relations: Sequence[str] | None = None, parts: Sequence[str] = (),
    size: tuple[int, int] | None = None, category: str = 'max', irregular: str = 'refuse',
) -> SceneLog:  # fmt: skip
    """Compiles the log of PIC in `folder`, `config.data.log` for it; see `compile_annotated`.

    The other arguments are those of `PicScenes`; the images of 'val' are the validation part.

    Raises:
      ValueError: as `PicScenes`, or an image cannot be used and irregular is 'refuse'.
    """
    arguments = {
        'data_dir': absolute(data_dir), 'split': split, 'edition': edition, 'entities': entities,
        'relations': relations, 'parts': parts, 'size': size, 'category': category, 'irregular': irregular,
    }  # fmt: skip
    return compile_annotated(folder, 'jaxrec.data.readers.images.pic:PicScenes', arguments)


def _labels(listed: Path, edition: int) -> list[str]:
    """The classes that a set lists, those of its edition where it has no list."""
    if not listed.is_file():
        return list(published_classes(edition))
    labels = read_classes(listed)
    if not set(PEOPLE) & set(labels):
        raise ValueError(f'{listed} names no class {" or ".join(map(repr, PEOPLE))}: {REMEDY}')
    return labels


def _find(data_dir: Path, splits: Sequence[str]) -> tuple[Path, list[Path]]:
    """The folder of the set and its relations files."""
    roots = [data_dir, *(data_dir / folder for folder in FOLDERS)]
    names = [f'relations_{split}.json' for split in splits]
    for root in roots:
        for folder in (root / 'relation', root):
            if all((folder / name).is_file() for name in names):
                return root, [folder / name for name in names]
    more = '; the labels of test images are not published' if 'test' in splits else ''
    name = ' with '.join(names)
    raise ValueError(f'{name} is in none of {", ".join(map(str, roots))} nor in relation/ there{more}: {REMEDY}')


def _folder(root: Path, kind: str, split: str) -> Path:
    """Where the files of a kind lie."""
    places = [root / kind / split, root / kind]
    if kind != 'image':
        places.insert(0, root / 'segmentation' / split / kind)
    for place in places:
        if place.is_dir():
            return place
    raise ValueError(f'{root} has no folder of {kind} files; looked for {", ".join(map(str, places))}: {REMEDY}')
