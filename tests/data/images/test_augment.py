"""Augmentation: mirrored parts, windows, colours, and that the seed says all."""

import dataclasses

import numpy as np
import pytest

from jaxrec.data.images.augment import Augmentation, augment, flip, mirror_parts, read_augmentation, recolour
from tests.data.images.worlds import VOCABULARY, assert_same, random_scene

NOTHING = Augmentation(flip=0.0, smallest=1.0, largest=1.0, shift=0.0, colour=0.0)


def test_a_mirror_swaps_left_and_right_everywhere():
    scene = random_scene(0)
    mirrored = flip(scene, VOCABULARY)
    swap = {0: 0, 1: 1, 2: 3, 3: 2, 4: 5, 5: 4, 255: 255}
    for row in range(24):
        for column in range(32):
            other = 31 - column
            assert mirrored.parts[row, column] == swap[int(scene.parts[row, other])]
            np.testing.assert_array_equal(mirrored.image[row, column], scene.image[row, other])
            np.testing.assert_array_equal(mirrored.masks[:, row, column], scene.masks[:, row, other])
    for before, after in zip(scene.relation_parts, mirrored.relation_parts, strict=True):
        taking = {VOCABULARY.parts[p] for p in np.flatnonzero(before)}
        swapped = {part.replace('left', '?').replace('right', 'left').replace('?', 'right') for part in taking}
        assert {VOCABULARY.parts[p] for p in np.flatnonzero(after)} == swapped
    np.testing.assert_array_equal(mirrored.relations, scene.relations)
    mirrored.check(VOCABULARY)
    assert_same(flip(mirrored, VOCABULARY), scene)
    assert mirror_parts(VOCABULARY).tolist() == [0, 2, 1, 4, 3]


def test_no_change_is_no_change():
    scene = random_scene(1)
    assert augment(scene, VOCABULARY, NOTHING, 0, 0, 0) is scene


def test_seed_epoch_and_example_say_all():
    scene, options = random_scene(2), Augmentation()
    first = augment(scene, VOCABULARY, options, 5, 1, 7)
    assert_same(augment(scene, VOCABULARY, options, 5, 1, 7), first)
    others = [augment(scene, VOCABULARY, options, *key) for key in ((6, 1, 7), (5, 2, 7), (5, 1, 8))]
    for other in others:
        assert other.image.shape != first.image.shape or (other.image != first.image).any()


def test_windows_keep_scenes_sound_and_have_the_drawn_size():
    options = dataclasses.replace(NOTHING, smallest=0.5, largest=3.0, shift=0.5)
    lost, sizes = 0, []
    for example in range(60):
        changed = augment(random_scene(3), VOCABULARY, options, 0, 0, example)
        changed.check(VOCABULARY)
        lost += 5 - len(changed.masks)
        sizes.append(changed.image.shape[0] / 24)
        assert abs(changed.image.shape[1] / 32 - sizes[-1]) < 0.05
    assert lost > 0
    assert 1 / 3 - 0.03 < min(sizes) < 0.5 and 1.5 < max(sizes) < 2.03


def test_half_of_all_are_mirrored():
    scene, options = random_scene(4), dataclasses.replace(NOTHING, flip=0.5)
    turned = sum(augment(scene, VOCABULARY, options, 0, e, 3) is not scene for e in range(200))
    assert 75 < turned < 125


def test_colours_are_multiplied():
    grey = np.full((4, 4, 3), 100, np.uint8)
    assert recolour(grey, 1.3, 1.0, 1.0).tolist() == np.full((4, 4, 3), 130).tolist()
    assert recolour(grey, 0.5, 1.0, 1.0)[0, 0].tolist() == [50, 50, 50]
    colour = np.array([[[200, 40, 60], [20, 200, 90]]], np.uint8)
    np.testing.assert_array_equal(recolour(colour, 1.0, 1.0, 1.0), colour)
    assert np.ptp(recolour(colour, 1.0, 1.0, 0.0), axis=2).max() == 0
    assert np.ptp(recolour(colour, 1.0, 0.0, 1.0).reshape(-1, 3), axis=0).max() == 0
    scene = augment(random_scene(5), VOCABULARY, dataclasses.replace(NOTHING, colour=0.4), 0, 0, 0)
    assert_same(scene, random_scene(5), but=('image',))
    assert (scene.image != random_scene(5).image).any()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'flip': 1.5}, r'augment.flip = 1.5: it lies between 0 and 1'),
        ({'shift': -0.1}, r'augment.shift = -0.1'),
        ({'colour': 2.0}, r'augment.colour = 2.0'),
        ({'smallest': 0.0}, r'augment.smallest = 0.0 and largest = 1.3: between .1 and 10'),
        ({'smallest': 1e-3}, r'augment.smallest = 0.001 and'),
        ({'largest': float('inf')}, r'augment.smallest = 0.7 and largest = inf'),
        ({'smallest': 2.0}, r'augment.smallest = 2.0'),
        ({'colours': 0.1}, r"augment.colours is not an option; did you mean 'colour'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        read_augmentation(options)
