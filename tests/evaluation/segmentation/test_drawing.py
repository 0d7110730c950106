"""Pictures and JSON of truths and predictions."""

import json

import numpy as np
import pytest

from jaxrec.data.images.pixels import rle_decode
from jaxrec.evaluation.segmentation import drawing
from jaxrec.evaluation.segmentation.drawing import draw, side_by_side, to_json
from tests.evaluation.segmentation.cases import (
    BALL,
    FOOT,
    HAND,
    HOLD,
    KICK,
    NEXT_TO,
    PERSON,
    VOCABULARY,
    box,
    found,
    scene,
)

SIZE = (40, 60)
ANNA, THE_BALL = (PERSON, box(4, 4, 20, 12, SIZE)), (BALL, box(28, 44, 8, 8, SIZE))
IMAGE = np.full((*SIZE, 3), 100, np.uint8)


def part_map():
    parts = np.zeros(SIZE, np.uint8)
    parts[6:10, 6:10] = 1
    parts[16:20, 6:10] = 2
    parts[30:32, 46:48] = 1  # of nobody who acts
    return parts


def truth(relations=((0, 1, HOLD, HAND),)):
    return scene([ANNA, THE_BALL], relations, part_map(), SIZE)


def guess(triplets, masks=(ANNA, THE_BALL)):
    return found(list(masks), triplets, part_map(), SIZE)


def distance(picture, zoom):
    """How far each pixel of the image lies from its grey, at the middle of its block."""
    return np.abs(picture[zoom // 2 :: zoom, zoom // 2 :: zoom].astype(int) - 100).sum(-1)


@pytest.fixture
def unlabelled(monkeypatch):
    """Without what lies over the masks."""
    monkeypatch.setattr(drawing._Pen, 'label', lambda *_: None)
    monkeypatch.setattr(drawing._Pen, 'arrow', lambda *_: None)


def test_entities_are_tinted_and_acting_parts_stand_out(unlabelled):
    far = distance(draw(IMAGE, truth(), VOCABULARY, zoom=3), 3)
    outside = ~(ANNA[1] | THE_BALL[1])
    assert not far[outside].any() and (far[~outside] > 20).all()
    body, hand, foot = far[12, 8], far[8, 8], far[18, 8]
    assert foot == body and hand > 1.5 * body
    assert far[30, 46] == far[33, 48]  # the ball is no subject
    both = distance(draw(IMAGE, truth([(0, 1, HOLD, HAND | FOOT)]), VOCABULARY, zoom=3), 3)
    assert both[18, 8] == both[8, 8] == hand


@pytest.mark.parametrize(('size', 'drawn'), [((30, 40), (480, 640)), ((1, 100), (19, 1900)), ((2, 3000), (2, 3000))])
def test_a_narrow_picture_does_not_grow_without_bounds(size, drawn):
    nothing = found([], [], np.zeros(size, np.uint8), size)
    assert draw(np.zeros((*size, 3), np.uint8), nothing, VOCABULARY).shape == (*drawn, 3)


def test_edges_are_stronger_than_the_inside(unlabelled):
    far = distance(draw(IMAGE, truth([]), VOCABULARY, zoom=3), 3)
    assert far[4, 10] == far[23, 15] > far[12, 8] == far[8, 8]


def test_unknown_parts_never_stand_out(unlabelled):
    unknown = scene([ANNA, THE_BALL], [(0, 1, HOLD, HAND)], np.full(SIZE, 255, np.uint8), SIZE)
    far = distance(draw(IMAGE, unknown, VOCABULARY, zoom=3), 3)
    assert far[8, 8] == far[12, 8]


def test_an_arrow_runs_from_the_subject_to_the_object_and_its_mirror_elsewhere():
    base = draw(IMAGE, truth([]), VOCABULARY, zoom=8)
    there = draw(IMAGE, guess([(0, 1, NEXT_TO, set(), 0.5)]), VOCABULARY, zoom=8)
    back = draw(IMAGE, guess([(1, 0, NEXT_TO, set(), 0.5)]), VOCABULARY, zoom=8)
    changed = [(each != base).any(-1) for each in (there, back)]
    middle = np.s_[100:300, 140:330]  # between the two
    assert all(each[middle].sum() > 200 for each in changed)
    assert (changed[0] & ~changed[1])[middle].sum() > 200 and (changed[1] & ~changed[0])[middle].sum() > 200


def labels_of(monkeypatch, *arguments, **options):
    said = []
    monkeypatch.setattr(drawing._Pen, 'label', lambda _, place, text, colour: said.append(text))
    draw(*arguments, **options)
    return said


def test_labels_name_relations_parts_scores_and_entities(monkeypatch):
    assert labels_of(monkeypatch, IMAGE, truth(), VOCABULARY) == ['0 person', '1 ball', 'hold (hand)']
    shown = guess([(0, 1, KICK, set(), 0.4), (0, 1, HOLD, HAND | FOOT, 0.9), (0, -1, KICK, FOOT, 0.3)])
    said = labels_of(monkeypatch, IMAGE, shown, VOCABULARY)
    assert said == ['0 person 1.00', '1 ball 1.00', 'hold (hand, foot) 0.90\nkick 0.40', 'kick (foot) 0.30']
    assert labels_of(monkeypatch, IMAGE, shown, VOCABULARY, limit=1)[-1] == 'hold (hand, foot) 0.90'
    assert labels_of(monkeypatch, IMAGE, shown, VOCABULARY, threshold=0.4)[-1] == 'hold (hand, foot) 0.90\nkick 0.40'
    assert labels_of(monkeypatch, IMAGE, shown, VOCABULARY, threshold=1) == []


def test_labels_stay_inside_and_keep_off_each_other():
    pen = drawing._Pen(np.zeros((120, 200, 3), np.uint8))
    for place in ((0.0, 0.0), (199.0, 20.0), (100.0, 60.0), (102.0, 61.0), (100.0, 62.0)):
        pen.label(place, 'a label', (255, 0, 0))
    plates = pen._taken
    assert not any(drawing._touch(a, b) for n, a in enumerate(plates) for b in plates[:n])
    assert all(p[0] >= 0 and p[1] >= 0 and p[2] <= 200 and p[3] <= 120 for p in plates)


def test_empty_images_and_masks_and_tiny_pictures_draw():
    nothing = found([], [], size=SIZE)
    np.testing.assert_array_equal(draw(IMAGE, nothing, VOCABULARY, zoom=1), IMAGE)
    empty = guess([(0, 1, HOLD, HAND, 1), (1, 0, HOLD, set(), 1)], [(PERSON, np.zeros(SIZE, bool)), THE_BALL])
    assert draw(IMAGE, empty, VOCABULARY).shape == (480, 720, 3)
    tiny = scene([(PERSON, np.ones((1, 1), bool))], [], size=(1, 1))
    assert draw(np.zeros((1, 1, 3), np.uint8), tiny, VOCABULARY).shape == (480, 480, 3)


def test_pictures_side_by_side_keep_their_pixels():
    first, second = draw(IMAGE, truth(), VOCABULARY), draw(IMAGE, truth([]), VOCABULARY)
    sheet = side_by_side([first, second], ['truth', 'found'])
    line = sheet.shape[0] - first.shape[0]
    np.testing.assert_array_equal(sheet[line:, : first.shape[1]], first)
    np.testing.assert_array_equal(sheet[line:, -second.shape[1] :], second)
    assert sheet[:line].max() > 200


def test_json_holds_masks_names_and_scores():
    shown = guess([(0, 1, KICK, FOOT, 0.25), (0, 1, HOLD, HAND, 0.75), (0, -1, KICK, set(), 0.5)])
    written = json.loads(json.dumps(to_json(shown, VOCABULARY)))
    assert (written['height'], written['width']) == SIZE
    assert [entity['category'] for entity in written['entities']] == ['person', 'ball']
    for entity, mask in zip(written['entities'], shown.masks, strict=True):
        np.testing.assert_array_equal(rle_decode(entity['mask'], SIZE, 'here'), mask)
        assert entity['score'] == 1
    taken = [relation.pop('part_mask', None) for relation in written['relations']]
    assert taken[1] is None
    for mask, part in ((taken[0], 1), (taken[2], 2)):
        want = shown.masks[0] & (shown.parts == part)
        np.testing.assert_array_equal(rle_decode(mask, SIZE, 'here'), want)
        assert want.any()
    assert [tuple(relation.values()) for relation in written['relations']] == [
        (0, 1, 'hold', ['hand'], 0.75),
        (0, None, 'kick', [], 0.5),
        (0, 1, 'kick', ['foot'], 0.25),
    ]
    assert written['parts'].keys() == {'hand', 'foot'}
    np.testing.assert_array_equal(rle_decode(written['parts']['foot'], SIZE, 'here'), shown.parts == 2)
    assert len(to_json(shown, VOCABULARY, limit=1)['relations']) == 1


def test_json_of_a_truth_has_no_scores():
    written = to_json(truth(), VOCABULARY)
    assert rle_decode(written['relations'][0].pop('part_mask'), SIZE, 'here').any()
    assert written['relations'] == [{'subject': 0, 'object': 1, 'relation': 'hold', 'parts': ['hand']}]
    assert 'score' not in written['entities'][0] and written['name'] == 'made up'


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r'an image of \(40, 59\) and masks of \(40, 60\): draw both at one size'):
        draw(IMAGE[:, :-1], truth(), VOCABULARY)
