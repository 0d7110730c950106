"""What a network that errs nowhere can find of one image, by loops over its entities and relations.

One entity's mask and one pair of displacements can be read at a cell: where several fall together, those of
the last one. Of one class's peaks in neighbouring cells that of the first row suppresses the others. Masks
are read at the stride that they are learnt at.
"""

import math

import numpy as np

from tests.oracles.scenes import entity_targets


def cells(scene, stride, centre):
    """(row, column) of the cell that holds each entity's centre."""
    found = [entity_targets(scene, entity, stride, centre)[0] for entity in range(len(scene.masks))]
    return [(math.floor(row), math.floor(column)) for row, column in found]


def point(subject, target, shift):
    """The cell so far on the way from subject to object, cut towards the nearer; at one half, down."""
    if shift > 0.5:
        return point(target, subject, 1 - shift)
    way = [(t - s) * shift for s, t in zip(subject, target, strict=True)]
    cut = [math.floor(w) if shift == 0.5 else math.copysign(math.floor(abs(w) + 1e-3), w) for w in way]
    return tuple(int(s + c) for s, c in zip(subject, cut, strict=True))


def peaks(place, kinds):
    """Which rows' peaks no neighbour of their kind exceeds; rows without a place have none."""
    number = {cell: row for row, cell in enumerate(place) if cell is not None}  # of a cell, that of its last
    seen = []
    for cell, kind in zip(place, kinds, strict=True):
        near = [
            other
            for other, its_kind in zip(place, kinds, strict=True)
            if cell and other and its_kind == kind and max(abs(a - b) for a, b in zip(cell, other, strict=True)) == 1
        ]
        seen.append(cell is not None and all(number[cell] < number[other] for other in near))
    return seen


def read_mask(mask, stride):
    """The mask as the map holds it, enlarged: cells half covered, or else those covered most."""
    height, width = (side // stride for side in mask.shape)
    covered = np.array(
        [
            [mask[r * stride : (r + 1) * stride, c * stride : (c + 1) * stride].sum() for c in range(width)]
            for r in range(height)
        ]
    )
    shown = covered >= stride * stride / 2
    if not shown.any():
        shown = covered == covered.max()
    return np.kron(shown, np.ones((stride, stride))) > 0


def found_relations(
    scene, person, threshold, stride=4, mask_stride=2, shift=1 / 3, centre='mass', ends_by_relation=False
):
    """bool [R], which relations are found with both masks at an IoU of a threshold.

    Raises:
      ValueError: two classes in a cell where a relation has its object, of which either may be taken.
    """
    place = cells(scene, stride, centre)
    last = {cell: row for row, cell in enumerate(place)}
    masks = {cell: read_mask(scene.masks[row], mask_stride) for cell, row in last.items()}
    counted = [scene.categories[subject] == person for subject in scene.relations[:, 0]]
    points = [
        point(place[subject], place[target], shift) if counts else None
        for (subject, target, _), counts in zip(scene.relations.tolist(), counted, strict=True)
    ]
    kind = [relation if ends_by_relation else None for relation in scene.relations[:, 2].tolist()]
    told = {key: row for row, key in enumerate(zip(points, kind, strict=True))}
    seen = peaks(place, scene.categories.tolist())
    pointed = peaks(points, scene.relations[:, 2].tolist())
    right = []
    for row, (subject, target, _) in enumerate(scene.relations.tolist()):
        if not (counted[row] and pointed[row] and seen[subject] and seen[target]):
            right.append(False)
            continue
        read = scene.relations[told[points[row], kind[row]]].tolist()  # whose displacements stand there
        same = [place[end] for end in read[:2]] == [place[subject], place[target]]
        kinds = {int(scene.categories[row]) for row, cell in enumerate(place) if cell == place[target]}
        if len(kinds) > 1:
            raise ValueError(f'entities of classes {kinds} share the cell {place[target]}, an object')
        fits = [
            (masks[place[end]] & scene.masks[end]).sum() / (masks[place[end]] | scene.masks[end]).sum()
            for end in (subject, target)
        ]
        hit = same and place[subject] != place[target] and min(fits) >= threshold
        right.append(bool(hit))
    return np.array(right)
