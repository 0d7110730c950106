"""The files of Person in Context (PIC): label maps and lists of relations, true or predicted.

The PNGs have one channel of 8 bits: `instance` numbers the entities of an image from 1, people and things alike,
`semantic` gives classes, and 0 is unlabelled in both. A relations file lists {"name": "X.jpg", "image_id": 1,
"relations": [{"subject": 2, "object": 5, "relation": 3}]}, subject and object being numbers of the instance PNG;
predictions have a "score" in each relation.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxrec.data.images.geometry import resize_labels
from jaxrec.data.images.pixels import read_numbers
from jaxrec.data.readers.files import read_json
from jaxrec.data.readers.images.pic_lists import RELATIONS, UNLABELLED

REMEDY = 'ask for the set at http://picdataset.com (academic use only) and place its folders there'
CATEGORIES = ('max', 'majority')


class Entities(NamedTuple):
    """The N entities of two label maps."""

    numbers: NDArray  # int32 [N], ascending, in the instance map
    masks: NDArray  # bool [N, H, W]; empty where a resize left no pixel
    classes: NDArray  # int32 [N], numbers of the semantic map
    size: tuple[int, int]  # (H, W) of the files


def read_entities(
    instance: Path, semantic: Path, size: tuple[int, int] | None = None, category: str = 'max'
) -> Entities:
    """Reads the entities of an image from its two PNGs.

    Args:
      instance, semantic: the files.
      size: (height, width) to which both are resized first, by the nearest neighbour; None leaves them.
      category: the class of an entity: 'max', the largest semantic value inside its mask, as in the challenge, or
        'majority', that of most pixels. One that a resize left without a pixel keeps its class.

    Raises:
      ValueError: a file is missing, truncated or in colours, or the two differ in size.
    """
    if category not in CATEGORIES:
        raise ValueError(f'category={category!r}: the class of an entity is by {" or ".join(CATEGORIES)}')
    maps = [read_numbers(path) for path in (instance, semantic)]
    if maps[0].shape != maps[1].shape:
        raise ValueError(f'{instance} is {maps[0].shape} and {semantic} {maps[1].shape}: both must be of one size')
    full = maps[0].shape
    numbers = np.unique(maps[0][maps[0] > 0]).astype(np.int32)
    classes = _classes(maps[0], maps[1], numbers, category)
    if size is not None:
        maps = [resize_labels(each, size) for each in maps]
        left = np.isin(numbers, maps[0])
        classes[left] = _classes(maps[0], maps[1], numbers[left], category)
    return Entities(numbers, maps[0] == numbers[:, None, None], classes, full)


def _classes(instance: NDArray, semantic: NDArray, numbers: NDArray, category: str) -> NDArray:
    """int32 [N]: the class of each entity."""
    row = np.searchsorted(numbers, instance)
    inside = np.isin(instance, numbers)
    width = int(semantic.max(initial=0)) + 1
    counts = np.bincount(row[inside] * width + semantic[inside], minlength=len(numbers) * width)
    counts = counts.reshape(len(numbers), width)
    if category == 'majority':
        return counts.argmax(1).astype(np.int32)
    return (width - 1 - (counts[:, ::-1] > 0).argmax(1)).astype(np.int32)


def read_relations(path: Path, scored: bool = False) -> list[dict[str, Any]]:
    """Reads the entries of a relations file, `scored` ones with finite scores; a ValueError for malformed ones."""
    entries = read_json(path, REMEDY)
    if not isinstance(entries, list):
        raise ValueError(f'{path} holds a {type(entries).__name__} and no list of images: {REMEDY}')
    whole = lambda value: isinstance(value, int) and not isinstance(value, bool)
    most = sys.float_info.max
    number = lambda value: (whole(value) or isinstance(value, float)) and -most <= value <= most
    for n, entry in enumerate(entries):
        named = isinstance(entry, dict) and isinstance(entry.get('name'), str)
        if not named or not isinstance(entry.get('relations'), list):
            raise ValueError(f'{path}: entry {n} has no "name" with a list of "relations": repair it')
        for m, relation in enumerate(entry['relations']):
            keys = ('subject', 'object', 'relation')
            if not isinstance(relation, dict) or not all(whole(relation.get(key)) for key in keys):
                raise ValueError(
                    f'{path}: relation {m} of {entry["name"]} is {relation}: give whole numbers for {", ".join(keys)}'
                )
            if scored and not number(relation.get('score')):
                raise ValueError(
                    f'{path}: relation {m} of {entry["name"]} has the score {relation.get("score")}: '
                    'give each prediction a finite one'
                )
    return entries


def read_classes(path: Path) -> list[str]:
    """The names of classes by number, 0 included, from a list of {"name", "id"}; a ValueError refuses others."""
    listed = read_json(path, REMEDY)
    try:
        names = {int(each['id']): str(each['name']) for each in listed}
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(f'{path} is no list of {{"name", "id"}} ({error!r}): {REMEDY}') from None
    names.setdefault(0, UNLABELLED)
    if sorted(names) != list(range(len(names))):
        gap = next(number for number in range(len(names)) if number not in names)
        raise ValueError(f'{path} names no class {gap}: each number from 1 to the largest needs a name')
    return [names[number] for number in range(len(names))]


def require_edition(path: Path, edition: int) -> None:
    """Refuses relations that are numbered as another edition numbers them, if the list at `path` exists.

    Raises:
      ValueError: more of its numbers have the names of another edition than of this one, or it is no list.
    """
    if not path.is_file():
        return
    spelled = lambda name: name.casefold().replace('-', ' ').replace('_', ' ')
    listed = {number: spelled(name) for number, name in enumerate(read_classes(path))}
    agreeing = {
        each: sum(listed.get(number) == spelled(name) for number, name in enumerate(names, 1))
        for each, names in RELATIONS.items()
    }
    other = max(agreeing, key=lambda each: agreeing[each])
    if agreeing[other] > agreeing[edition]:
        raise ValueError(
            f'{path} numbers relations as edition {other} does, and they are read as of {edition}: give edition={other}'
        )
