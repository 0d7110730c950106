"""The ground truth of one image: its entities' masks, its human parts, and who does what to whom.

H, W image size in pixels, N entities, R relations, P kinds of human part.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

NO_PART = 0  # in a part map; part p of a vocabulary stands as p + 1
UNKNOWN_PART = 255  # in a part map: nobody has labelled this pixel, and no loss or metric counts it


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The names behind the numbers of scenes; their order is their number.

    Attributes:
      entities, relations, parts: classes of entities, kinds of relation, and kinds of human part, left and right apart.
      person: the human class, whose parts and relations count.
      geometric: the relations that a challenge counts as its geometric group.
      symmetric: relations that hold in both directions at once, such as 'next to'.
      mirrored: pairs of parts that change places when an image is flipped.
    """

    entities: tuple[str, ...]
    relations: tuple[str, ...]
    parts: tuple[str, ...] = ()
    person: str = 'person'
    geometric: tuple[str, ...] = ()
    symmetric: tuple[str, ...] = ()
    mirrored: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for kind in ('entities', 'relations', 'parts'):
            names = getattr(self, kind)
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f'{kind} name {twice[0]!r} twice: a name has one number')
        if self.person not in self.entities:
            raise ValueError(f'person {self.person!r} is no entity class: choose one of {self.entities}')
        for kind in ('geometric', 'symmetric'):
            _check_named(kind, getattr(self, kind), 'relation', self.relations)
        sided = [name for pair in self.mirrored for name in pair]
        _check_named('mirrored', sided, 'part', self.parts)
        if twice := sorted({name for name in sided if sided.count(name) > 1}):
            raise ValueError(f'mirrored names the part {twice[0]!r} twice: a part has one mirror image')
        if len(self.parts) >= UNKNOWN_PART:
            raise ValueError(f'{len(self.parts)} parts do not fit a part map: {UNKNOWN_PART - 1} do')


@dataclasses.dataclass(frozen=True)
class Scene:
    """One image and its ground truth.

    Attributes:
      image: uint8 [H, W, 3], RGB.
      masks: bool [N, H, W], the visible pixels of each entity; they may overlap.
      categories: int32 [N], entity classes.
      parts: uint8 [H, W], the human part of each pixel plus 1, `NO_PART`, or `UNKNOWN_PART`; the masks say whose it is.
      relations: int32 [R, 3] of (subject, object, relation); the first two are rows of `masks`.
      relation_parts: bool [R, P], the parts of the subject that take part.
      name: for messages.
    """

    image: np.ndarray
    masks: np.ndarray
    categories: np.ndarray
    parts: np.ndarray
    relations: np.ndarray
    relation_parts: np.ndarray
    name: str = ''

    def __post_init__(self) -> None:
        size, count = self.image.shape[:2], len(self.categories)
        expected = {
            'image': (np.uint8, (*size, 3)),
            'masks': (np.bool_, (count, *size)),
            'categories': (np.int32, (count,)),
            'parts': (np.uint8, size),
            'relations': (np.int32, (len(self.relations), 3)),
            'relation_parts': (np.bool_, (len(self.relations), *self.relation_parts.shape[1:])),
        }
        check_arrays(self, f'scene {self.name!r}', expected)
        ends = self.relations[:, :2]
        if bad := np.flatnonzero(((ends < 0) | (ends >= count)).any(1)).tolist():
            raise ValueError(
                f'scene {self.name!r}: relation {bad[0]} joins entities {ends[bad[0]].tolist()} of '
                f'{count}: give two of them'
            )

    def check(self, vocabulary: Vocabulary) -> None:
        """Refuses numbers that the vocabulary does not have, and entities without pixels, with a ValueError."""
        where = f'scene {self.name!r}'
        if bad := np.flatnonzero((self.categories < 0) | (self.categories >= len(vocabulary.entities))).tolist():
            raise ValueError(
                f'{where}: entity {bad[0]} is of class {self.categories[bad[0]]}; there are '
                f'{len(vocabulary.entities)}: mend its category'
            )
        if empty := np.flatnonzero(~self.masks.any((1, 2))).tolist():
            raise ValueError(f'{where}: entity {empty[0]} has no pixel: draw its mask or leave it out')
        for i, (subject, target, relation) in enumerate(self.relations.tolist()):
            if subject == target:
                raise ValueError(f'{where}: relation {i} joins entity {subject} to itself; give two')
            if not 0 <= relation < len(vocabulary.relations):
                raise ValueError(f'{where}: relation {i} is of kind {relation}, of {len(vocabulary.relations)}')
        width = len(vocabulary.parts)
        if self.relation_parts.shape[1] != width:
            raise ValueError(f'{where}: relation_parts has {self.relation_parts.shape[1]} columns, not {width}')
        labelled = self.parts[self.parts != UNKNOWN_PART]
        if labelled.size and labelled.max() > width:
            raise ValueError(f'{where}: the part map holds {labelled.max()}; {width} parts are known')


def check_arrays(owner: object, where: str, expected: Mapping[str, tuple[type[np.generic], tuple[int, ...]]]) -> None:
    """Raises a ValueError for the first attribute of `owner` that has not its expected {attribute: (dtype, shape)}."""
    for key, (dtype, shape) in expected.items():
        array = getattr(owner, key)
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f'{where}: {key} is {array.dtype} {array.shape}, not {np.dtype(dtype)} {shape}')


def _check_named(field: str, names: Sequence[str], kind: str, known: Sequence[str]) -> None:
    """Refuses names that a vocabulary does not have."""
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f'{field} names the {kind} {unknown[0]!r}, which is none of {tuple(known)}')
