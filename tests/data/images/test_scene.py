"""Tests of scenes: what a truth must be before anything is made of it."""

import dataclasses

import numpy as np
import pytest

from jaxrec.data.images.scene import UNKNOWN_PART, Scene, Vocabulary

VOCABULARY = Vocabulary(('ball', 'person'), ('hold', 'next to'), ('left hand', 'right hand'))


def scene(**changes) -> Scene:
    """Two entities side by side in an image of 4 x 6, one relation; fields are replaced by `changes`."""
    masks = np.zeros((2, 4, 6), bool)
    masks[0, :, :2], masks[1, :, 3:] = True, True
    parts = np.zeros((4, 6), np.uint8)
    parts[0, 3], parts[3, 0] = 2, UNKNOWN_PART
    fields = {
        'image': np.zeros((4, 6, 3), np.uint8),
        'masks': masks,
        'categories': np.array([0, 1], np.int32),
        'parts': parts,
        'relations': np.array([[1, 0, 0]], np.int32),
        'relation_parts': np.array([[False, True]]),
        'name': 'made up',
    }
    return Scene(**fields | changes)


def test_a_right_scene_passes():
    scene().check(VOCABULARY)


def test_a_scene_without_entities_passes():
    nothing = scene(
        masks=np.zeros((0, 4, 6), bool),
        categories=np.zeros(0, np.int32),
        relations=np.zeros((0, 3), np.int32),
        relation_parts=np.zeros((0, 2), bool),
    )
    nothing.check(VOCABULARY)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'image': np.zeros((4, 6, 3), np.float32)}, 'image is float32'),
        ({'masks': np.zeros((2, 4, 5), bool)}, r'masks is bool \(2, 4, 5\), not bool \(2, 4, 6\)'),
        ({'parts': np.zeros((4, 7), np.uint8)}, 'parts is uint8'),
        ({'relations': np.zeros((1, 2), np.int32)}, 'relations is int32'),
        # A predicted triplet may have no object, a true relation has one.
        ({'relations': np.array([[0, -1, 0]], np.int32)}, r'relation 0 joins entities \[0, -1\] of 2'),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=f"scene 'made up': {message}"):
        scene(**changes)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'categories': np.array([0, 2], np.int32)}, 'entity 1 is of class 2; there are 2'),
        ({'masks': np.zeros((2, 4, 6), bool)}, 'entity 0 has no pixel'),
        ({'relations': np.array([[1, 2, 0]], np.int32)}, r'relation 0 joins entities \[1, 2\] of 2: give two'),
        ({'relations': np.array([[1, 1, 0]], np.int32)}, 'relation 0 joins entity 1 to itself; give two'),
        ({'relations': np.array([[1, 0, 2]], np.int32)}, 'relation 0 is of kind 2, of 2'),
        ({'relation_parts': np.zeros((1, 3), bool)}, 'relation_parts has 3 columns, not 2'),
        ({'parts': np.full((4, 6), 3, np.uint8)}, 'the part map holds 3; 2 parts are known'),
    ],
)
def test_numbers_without_a_name_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        scene(**changes).check(VOCABULARY)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'entities': ('person', 'ball', 'ball')}, "entities name 'ball' twice"),
        ({'person': 'human'}, "person 'human' is no entity class"),
        ({'geometric': ('above',)}, "geometric names the relation 'above'"),
        ({'symmetric': ('kick',)}, "symmetric names the relation 'kick'"),
        ({'mirrored': (('left hand', 'right foot'),)}, "mirrored names the part 'right foot'"),
        ({'mirrored': (('left hand', 'left hand'),)}, "mirrored names the part 'left hand' twice: a part"),
        ({'mirrored': (('left hand', 'right hand'),) * 2}, "mirrored names the part 'left hand' twice"),
        ({'parts': tuple(map(str, range(255)))}, '255 parts do not fit a part map'),
    ],
)
def test_a_vocabulary_is_of_one_piece(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(VOCABULARY, **changes)
