"""What a network that errs nowhere can find of one image, by loops over its entities and relations.

One entity's mask and one pair of displacements can be read at a cell: where several fall together, those of
the last one. Masks are read at the stride that they are learnt at.
"""

import math

import numpy as np


def cells(scene, stride):
    """(row, column) of the cell that holds each entity's mass centre."""
    found = []
    for mask in scene.masks:
        rows, columns = np.nonzero(mask)
        found.append(tuple(math.floor((axis.mean() + 0.5) / stride) for axis in (rows, columns)))
    return found


def point(subject, target, shift):
    """The cell so far on the way from subject to object, cut towards the subject; at one half, down."""
    way = [(t - s) * shift for s, t in zip(subject, target, strict=True)]
    cut = [math.floor(w) if shift == 0.5 else math.copysign(math.floor(abs(w) + 1e-3), w) for w in way]
    return tuple(int(s + c) for s, c in zip(subject, cut, strict=True))


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


def found_relations(scene, person, threshold, stride=4, mask_stride=2, shift=1 / 3):
    """bool [R], which relations are found with both masks at an IoU of a threshold.

    Raises:
      ValueError: two classes in a cell where a relation has its object, of which either may be taken.
    """
    place = cells(scene, stride)
    last = {cell: row for row, cell in enumerate(place)}
    masks = {cell: read_mask(scene.masks[row], mask_stride) for cell, row in last.items()}
    told = {}
    for row, (subject, target, _) in enumerate(scene.relations.tolist()):
        if scene.categories[subject] == person:
            told[point(place[subject], place[target], shift)] = row
    right = []
    for subject, target, _ in scene.relations.tolist():
        if scene.categories[subject] != person:
            right.append(False)
            continue
        at = point(place[subject], place[target], shift)
        read = scene.relations[told[at]].tolist()  # whose displacements stand there
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
