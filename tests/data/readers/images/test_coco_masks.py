"""COCO's masks by hand: polygons, run lengths, PNGs of ids; and the base of readers that leave things out."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from jaxrec.data.images.scene import Scene, Vocabulary
from jaxrec.data.readers.files import read_json
from jaxrec.data.readers.images.annotated_images import UNREADABLE, AnnotatedImages
from jaxrec.data.readers.images.coco_masks import CocoMasks

SIZE = (4, 6)
IMAGES = [{'id': 7, 'height': 4, 'width': 6, 'file_name': 'a.jpg'}, {'id': 9, 'height': 4, 'width': 6}]
CLASSES = [{'id': 3, 'name': 'horse'}, {'id': 1, 'name': 'person'}]
SQUARE = {
    'id': 11, 'image_id': 7, 'category_id': 1, 'bbox': [1, 1, 2, 2],
    'segmentation': [[1, 1, 3, 1, 3, 3, 1, 3]],
}  # fmt: skip
# Column by column: five unset, two set, seventeen unset.
RUNS = {
    'id': 12, 'image_id': 7, 'category_id': 3, 'bbox': [1, 1, 1, 2], 'iscrowd': 1,
    'segmentation': {'size': [4, 6], 'counts': [5, 2, 17]},
}  # fmt: skip


def write(path, annotations, **changes):
    path.write_text(json.dumps({'images': IMAGES, 'annotations': annotations, 'categories': CLASSES} | changes))
    return path


def test_polygons_and_run_lengths(tmp_path):
    masks = CocoMasks([write(tmp_path / 'a.json', [SQUARE, RUNS])])
    listing, drawn = masks.listing(7), masks.masks(7)
    assert listing.names == ['person', 'horse'] and listing.ids.tolist() == [11, 12]
    assert listing.boxes.tolist() == [[1, 1, 3, 3], [1, 1, 2, 3]] and listing.crowd.tolist() == [False, True]
    want = np.zeros((2, *SIZE), bool)
    want[0, 1:3, 1:3] = True
    want[1, 1:3, 1] = True
    np.testing.assert_array_equal(drawn, want)
    assert masks.names == ('horse', 'person') and masks.file_name(7) == 'a.jpg' and masks.size(7) == SIZE
    assert 7 in masks and 8 not in masks
    assert masks.masks(9).shape == (0, *SIZE) and masks.listing(9).boxes.shape == (0, 4)


def test_files_are_joined(tmp_path):
    second = {**SQUARE, 'id': 13, 'image_id': 9}
    paths = [write(tmp_path / 'a.json', [SQUARE]), write(tmp_path / 'b.json', [second])]
    masks = CocoMasks(paths)
    assert [masks.listing(image).ids.tolist() for image in (7, 9)] == [[11], [13]]
    assert masks.where == f'{paths[0]}, {paths[1]}'
    masks.keep([9])
    assert 9 in masks and 7 not in masks and masks.listing(9).ids.tolist() == [13]
    assert not len(masks.listing(7).ids)


def test_panoptic_pictures_hold_ids_in_their_colours(tmp_path):
    ids = np.zeros(SIZE, np.int64)
    ids[0, :2], ids[2:, 3:] = 5, 66_000
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / 'a.png')
    segments = [{'id': n, 'category_id': c, 'bbox': [0, 0, 1, 1]} for n, c in ((66_000, 3), (5, 1))]
    annotation = {'image_id': 7, 'file_name': 'a.png', 'segments_info': segments}
    path = write(tmp_path / 'a.json', [annotation])
    masks = CocoMasks([path], tmp_path)
    assert masks.listing(7).names == ['horse', 'person']
    np.testing.assert_array_equal(masks.masks(7), [ids == 66_000, ids == 5])
    with pytest.raises(ValueError, match=r'a\.json is panoptic: give the folder of its PNGs'):
        CocoMasks([path])
    Image.fromarray(colours[:, :5]).save(tmp_path / 'a.png')
    with pytest.raises(ValueError, match=r'a\.png is \(4, 5\) but .* gives image 7 as \(4, 6\)'):
        masks.masks(7)


@pytest.mark.parametrize(
    ('annotation', 'message'),
    [
        ({**SQUARE, 'category_id': 2}, r'annotation 11 is of category 2, which is none of its categories'),
        ({**SQUARE, 'bbox': [1, 1]}, r'annotation 11 has no bbox of 4 numbers'),
        ({**SQUARE, 'category_id': []}, r'annotation 11 is of category \[\], which is none'),
        ({**SQUARE, 'bbox': [1, 1, 2, 10**400]}, r'annotation 11 has no bbox of 4 numbers'),
        ({**SQUARE, 'segmentation': [[1, 1, 3]]}, r'a\.json: annotation 11'),
        # which pycocotools takes for as many pixels, and dies of
        ({**SQUARE, 'segmentation': [[1, 1, 1e9, 1, 3, 3]]}, r'a\.json: annotation 11 has no mask of pol'),
        ({**RUNS, 'segmentation': {'size': [4, 6], 'counts': {'a': 1}}}, r"{'a': 1} is neither a text nor"),
        ({**RUNS, 'segmentation': {'size': [4, 5], 'counts': [5, 2, 13]}}, r'a\.json: annotation 12'),
    ],
)
def test_bad_annotations_are_named(annotation, message, tmp_path):
    masks = CocoMasks([write(tmp_path / 'a.json', [annotation])])
    with pytest.raises(ValueError, match=message):
        masks.listing(7), masks.masks(7)


def test_a_file_of_something_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'a\.json is no COCO file of "images"'):
        CocoMasks([write(tmp_path / 'a.json', [], categories=None)])


def test_json_is_read_as_utf_8_with_or_without_its_mark(tmp_path):
    (tmp_path / 'a.json').write_bytes('\ufeff{"Bär": 1}'.encode())
    assert read_json(tmp_path / 'a.json', 'fetch it') == {'Bär': 1}
    for content in ('9' * 5_000, '['):
        (tmp_path / 'a.json').write_text(content)
        with pytest.raises(ValueError, match=r'a\.json is no JSON .*: was it cut'):
            read_json(tmp_path / 'a.json', 'fetch it')


class Three(AnnotatedImages):
    """Three images, the middle one broken; each readable one leaves two things out."""

    vocabulary = Vocabulary(('person',), ('hold',))

    def __init__(self, irregular):
        super().__init__(irregular)
        self.names, self.splits = ['a', 'b', 'c'], np.array([0, 0, 2], np.int8)
        self._listed['listed twice'] += 1
        self.read_how_often = Counter()

    def sources(self):
        return []

    def read(self, index):
        self.read_how_often[index] += 1
        if index == 1:
            raise ValueError('b is broken')
        counts: Counter[str] = Counter()
        self.refuse_or_count(counts, 'too small', f'{self.names[index]} has something too small')
        none = np.zeros((0, 2, 2), bool), np.zeros(0, np.int32)
        scene = Scene(
            np.full((2, 2, 3), index, np.uint8), *none, np.zeros((2, 2), np.uint8),
            np.zeros((0, 3), np.int32), np.zeros((0, 0), bool), self.names[index],
        )  # fmt: skip
        return scene, counts


def test_what_is_left_out_is_counted_once_however_often_it_is_read():
    three = Three('drop')
    assert len(three) == 3 and three.dropped == {'listed twice': 1}
    assert [scene.name for scene in three] == ['a', 'c'] and three.scene(-1).name == 'c'
    want = {UNREADABLE: 1, 'listed twice': 1, 'too small': 2}
    assert three.dropped == want and three.usable() == [0, 2] and three.dropped == want
    assert three.read_how_often[2] == 3
    with pytest.raises(ValueError, match='b is broken'):
        three[1]  # asked for by its number, it is refused
    with pytest.raises(IndexError, match='image 3 of 3'):
        three[3]


def test_the_first_irregular_thing_is_refused_unless_it_may_be_dropped():
    with pytest.raises(ValueError, match="a has something too small, or give irregular='drop'"):
        Three('refuse').usable()
    with pytest.raises(ValueError, match="irregular='skip': say what becomes of"):
        Three('skip')
