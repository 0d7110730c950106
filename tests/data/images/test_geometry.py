"""Resizing, cropping, fitting: pixels, masks and parts stay together."""

import itertools
import math

import numpy as np
import pytest

from jaxrec.data.images.geometry import FILL, crop, fit, keep_entities, nearest, resize, resize_labels, without_empty
from jaxrec.data.images.scene import UNKNOWN_PART
from tests.data.images.worlds import VOCABULARY, assert_same, random_scene


@pytest.mark.parametrize('window', [(2, 3, 9, 11), (-4, -5, 40, 50), (20, 28, 9, 9), (-3, 5, 6, 60), (30, 2, 4, 4)])
def test_a_window_shows_what_lies_there(window):
    scene, (top, left, height, width) = random_scene(0), window
    cut = crop(scene, *window)
    for row in range(height):
        for column in range(width):
            y, x = row + top, column + left
            if 0 <= y < 24 and 0 <= x < 32:
                np.testing.assert_array_equal(cut.image[row, column], scene.image[y, x])
                np.testing.assert_array_equal(cut.masks[:, row, column], scene.masks[:, y, x])
                assert cut.parts[row, column] == scene.parts[y, x]
            else:
                assert tuple(cut.image[row, column]) == FILL
                assert not cut.masks[:, row, column].any()
                assert cut.parts[row, column] == UNKNOWN_PART


def test_an_empty_window_is_refused():
    with pytest.raises(ValueError, match="a window of 0 x 3 of scene 'drawn' is empty"):
        crop(random_scene(0), 0, 0, 0, 3)


def test_resized_twice_as_large_every_pixel_is_four():
    scene = random_scene(1)
    large = resize(scene, (48, 64))
    np.testing.assert_array_equal(large.masks, scene.masks.repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(large.parts, scene.parts.repeat(2, 0).repeat(2, 1))
    assert_same(resize(large, (24, 32)), scene, but=('image',))
    assert resize(scene, (24, 32)) is scene
    assert nearest(5, 3).tolist() == [0, 2, 4]


def test_label_maps_show_the_nearest_pixel_to_the_upper_left():
    rows = np.arange(5)[:, None] * 10 + np.arange(4)
    assert resize_labels(rows, (3, 2)).tolist() == [[0, 2], [10, 12], [30, 32]]
    assert resize_labels(rows, (10, 8))[::2, ::2].tolist() == rows.tolist()
    with pytest.raises(ValueError, match=r'maps of 0 x 4 to \(2, 2\): both sizes must be'):
        resize_labels(np.zeros((0, 4)), (2, 2))


def test_label_maps_are_resized_in_double_precision():
    """Where integers would say otherwise: OpenCV's 1. / (448 / 640), not 640 / 448, is what is rounded."""
    for target, source in itertools.product((480, 640), (*range(1, 2001, 37), 416, 432, 448, 576, 832, 1152)):
        inverse = 1.0 / (target / source)
        want = [min(math.floor(i * inverse), source - 1) for i in range(target)]
        assert resize_labels(np.arange(source)[None], (1, target))[0].tolist() == want
    assert resize_labels(np.arange(448)[None], (1, 640))[0].tolist() != [i * 448 // 640 for i in range(640)]


def test_a_picture_is_averaged_where_it_gets_smaller():
    scene = random_scene(1)
    scene.image[:] = np.where(np.arange(32) % 2 == 0, 0, 200)[None, :, None]
    small = resize(scene, (12, 16)).image
    assert abs(int(small[:, 2:-2].mean()) - 100) < 10


@pytest.mark.parametrize('size', [(32, 32), (12, 40), (24, 32), (3, 50)])
def test_fitted_scenes_keep_their_proportions(size):
    scene = random_scene(2)
    scene.parts[:] = 1
    fitted = fit(scene, size)
    assert fitted.image.shape == (*size, 3) and fitted.masks.shape == (5, *size)
    scale = min(size[0] / 24, size[1] / 32)
    inside = np.argwhere(fitted.parts == 1).max(0) + 1
    np.testing.assert_allclose(inside, np.round([24 * scale, 32 * scale]))


def test_entities_left_out_take_their_relations_along():
    scene = random_scene(3)
    kept = keep_entities(scene, np.array([True, False, True, True, False]))
    names = {0: 0, 2: 1, 3: 2}
    expected = [(names[a], names[b], r) for a, b, r in scene.relations.tolist() if a in names and b in names]
    assert [tuple(row) for row in kept.relations.tolist()] == expected
    stays = [a in names and b in names for a, b, _ in scene.relations.tolist()]
    np.testing.assert_array_equal(kept.relation_parts, scene.relation_parts[stays])
    np.testing.assert_array_equal(kept.masks, scene.masks[[0, 2, 3]])
    kept.check(VOCABULARY)
    assert without_empty(scene) is scene
    scene.masks[4] = False
    assert len(without_empty(scene).masks) == 4
