"""A user's own images: a folder of pictures, masks, human parts and relations, read, checked and written.

The folder holds `annotations.json` and the files that it names, by paths relative to it:

    {"format": "jaxrec.images", "version": 1,
     "entities": ["person", "ball", "book"], "person": "person",
     "relations": ["hold", "kick", "next to"], "geometric": ["next to"], "symmetric": ["next to"],
     "parts": ["head", "left hand", "right hand", "left foot", "right foot"],
     "mirrored": [["left hand", "right hand"], ["left foot", "right foot"]],
     "images": [
       {"file": "images/park.jpg", "split": "train",
        "instances": "masks/park.png", "parts": "parts/park.png",
        "entities": [{"id": 1, "class": "person"}, {"id": 2, "class": "ball"},
                     {"id": 3, "class": "book", "mask": {"size": [480, 640], "counts": "..."}}],
        "relations": [{"subject": 1, "object": 3, "relation": "hold", "parts": ["left hand"]}]}]}

An entity's mask is either the pixels of its id in the PNG `instances` (grey of 8 or 16 bits, or a palette; 0
is nobody), or, where masks overlap, COCO's run lengths, compressed or not, in `mask`. The PNG `parts` holds
each pixel's human part as its place in the list, counted from 1; 0 is no part and 255 unknown. Without it
nothing is known of pixels; relations may name parts all the same, and of an image in which none does and no
pixel's part is known, nothing is asked or learned of parts. `split` is 'train' (also where it is
left out), 'validation' or 'test'. `parts`, `geometric`, `symmetric` and `mirrored` may be left out or empty.

H, W image size, N entities, R relations, P parts.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.images.entries import read_entry
from jaxrec.data.images.pixels import is_turned, read_numbers
from jaxrec.data.images.scene import Scene, Vocabulary
from jaxrec.data.readers.files import read_json
from jaxrec.data.sources.splits import PARTS

ANNOTATIONS = 'annotations.json'
FORMAT, VERSION = 'jaxrec.images', 1
_LISTS = ('entities', 'relations', 'parts', 'geometric', 'symmetric', 'mirrored')
SPLITS = tuple(PARTS)
COUNTED = (
    'images', 'broken', 'without people', 'without relations', 'turned', *SPLITS, 'entities', 'people',
    'relations', 'of others', 'of validation', 'unlisted', 'entities in one image at most',
    'relations in one image at most',
)  # fmt: skip
KEYS = {'format', 'version', 'person', 'images', *_LISTS}


@configurable('reader')
class ImageFolder:
    """The scenes of a folder in the format above.

    Attributes:
      folder, vocabulary: where it is, and its names.
      entries: the entries of its images, as the file has them.
      splits: int8 [number of images], as `jaxrec.data.sources.splits.PARTS` numbers them.
      dropped: empty; broken images are refused, see `check_folder`.
    """

    def __init__(self, folder: str | Path):
        """Reads the annotations; a ValueError says if they are missing, no JSON, of another format, or inconsistent."""
        self.folder = Path(folder)
        path = self._path = self.folder / ANNOTATIONS
        content = read_json(path, 'write it as jaxrec.data.images.records says', mend='mend it there')
        if not isinstance(content, dict) or (content.get('format'), content.get('version')) != (FORMAT, VERSION):
            raise ValueError(f'{path} is not of this format: begin it with "format": "{FORMAT}", "version": {VERSION}')
        if unknown := sorted(set(content) - KEYS):
            raise ValueError(f'{path} has the unknown key {unknown[0]!r}: use {", ".join(sorted(KEYS))}')
        if not isinstance(content.get('images'), list):
            raise ValueError(f'{path} has no list "images": give one, with an entry for each picture')
        self.vocabulary = _read_vocabulary(content, path)
        self.entries: list[Any] = content['images']
        splits = [read_split(entry, f'{path} images[{i}]') for i, entry in enumerate(self.entries)]
        self.splits = np.array(splits, np.int8)
        self.dropped: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def sources(self) -> list[Path]:
        """The files whose content makes it another data set."""
        return [self.folder / ANNOTATIONS]

    def usable(self) -> list[int]:
        """Numbers of all images; reads each, and raises a ValueError for the first that is broken."""
        for index in range(len(self)):
            self.scene(index)
        return list(range(len(self)))

    def scene(self, index: int) -> Scene:
        """Reads one scene, or raises a ValueError with everything that is wrong with it."""
        scene, problems = self.read(index)
        if scene is None:
            raise ValueError('\n'.join(problems))
        return scene

    def read(self, index: int) -> tuple[Scene | None, list[str]]:
        """Reads one scene, None where it has problems; and its problems, each naming file and place."""
        return read_entry(self.folder, self.vocabulary, self.entries[index], f'{self._path} images[{index}]')


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a check of a folder found.

    Attributes:
      problems: each naming file and place; empty for a sound folder.
      counts: 'images' in all and 'broken' ones; of the others those 'without people', 'without relations', 'turned' (by
        a mark of the camera) and of each split, their 'entities', 'people' and 'relations', relations 'of others' than
        people, and 'unlisted' ids of their PNGs, which no entity has.
      broken: the images with problems, by number.
      vocabulary: the folder's names.
      uses: {'entities', 'relations', 'parts': {name: how often the sound images have it}}; parts are those of
        relations.
    """

    problems: list[str]
    counts: dict[str, int]
    broken: list[int]
    vocabulary: Vocabulary
    uses: dict[str, dict[str, int]]


def check_folder(
    folder: str | Path, track: Callable[[Iterable[int]], Iterable[int]] = lambda numbers: numbers
) -> Findings:
    """Reads every file of a folder and collects all problems, instead of stopping at the first.

    An image without people is no problem, but counted: nothing in it can be a subject. `track` wraps the numbers of the
    images, to show progress.

    Raises:
      ValueError: the annotations cannot be read at all.
    """
    records = ImageFolder(folder)
    words, uses = records.vocabulary, [Counter[int](), Counter[int](), Counter[int]()]
    person = words.entities.index(words.person)
    counts = Counter(images=len(records))
    problems, broken = [], []
    for index in track(range(len(records))):
        scene, found = records.read(index)
        if scene is None:
            problems += found
            broken.append(index)
            continue
        counts.update(_count(scene, person))
        for name, own in (('entities', scene.categories), ('relations', scene.relations)):
            counts[f'{name} in one image at most'] = max(counts[f'{name} in one image at most'], len(own))
        split = SPLITS[records.splits[index]]
        counts[split] += 1
        counts['of validation'] += len(scene.relations) * (split == 'validation')
        counts['unlisted'] += _unlisted(records.folder, records.entries[index])
        counts['turned'] += is_turned(records.folder / scene.name)
        used = scene.categories, scene.relations[:, 2], np.nonzero(scene.relation_parts)[1]
        for counter, numbers in zip(uses, used, strict=True):
            counter.update(numbers.tolist())
    counts['broken'] = len(broken)
    by_name = {
        kind: {name: counter[number] for number, name in enumerate(getattr(words, kind))}
        for kind, counter in zip(('entities', 'relations', 'parts'), uses, strict=True)
    }
    return Findings(problems, {name: counts[name] for name in COUNTED}, broken, words, by_name)


def _count(scene: Scene, person: int) -> dict[str, int]:
    """What a sound image adds to the counts."""
    people = scene.categories == person
    return {
        'without people': int(not people.any()),
        'without relations': int(not len(scene.relations)),
        'entities': len(people),
        'people': int(people.sum()),
        'relations': len(scene.relations),
        'of others': int((~people[scene.relations[:, 0]]).sum()),
    }


def _unlisted(folder: Path, entry: Mapping[str, Any]) -> int:
    """How many ids of a sound image's PNG are those of no entity."""
    if entry.get('instances') is None:
        return 0
    drawn = np.unique(read_numbers(folder / entry['instances']))
    listed = [entity['id'] for entity in entry.get('entities', ())]
    return len(np.setdiff1d(drawn, [0, *listed]))


def _read_vocabulary(content: Mapping[str, Any], path: Path) -> Vocabulary:
    given = {name: content[name] for name in _LISTS if name in content}
    for name in ('entities', 'relations'):
        if not given.get(name):
            raise ValueError(f'{path} has no {name}: list their names')
    for name, value in given.items():
        if not isinstance(value, list):
            raise ValueError(f'{path}: {name} is {type(value).__name__}: write a list of names')
    pairs = [tuple(pair) if isinstance(pair, list) else pair for pair in given.pop('mirrored', [])]
    if any(not isinstance(pair, tuple) or len(pair) != 2 for pair in pairs):
        raise ValueError(f'{path}: mirrored holds pairs of parts: write [["left hand", "right hand"]]')
    names = {name: tuple(value) for name, value in given.items()}
    if any(not isinstance(name, str) for values in (*names.values(), *pairs) for name in values):
        raise ValueError(f'{path}: a name is no text: write names in quotes')
    try:
        return Vocabulary(**names, person=content.get('person', 'person'), mirrored=tuple(pairs))
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None


def read_split(entry: Any, where: str) -> int:
    """The number of an entry's split, by default that of training; a ValueError refuses any other name."""
    split = entry.get('split', 'train') if isinstance(entry, dict) else 'train'
    if not isinstance(split, str) or split not in PARTS:
        raise ValueError(f'{where} has the split {split!r}: use one of {", ".join(PARTS)}')
    return PARTS[split]
