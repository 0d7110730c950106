"""Targets against targets counted cell by cell; caps and what they drop."""

import numpy as np
import pytest

from jaxrec.data.images.scene import UNKNOWN_PART
from jaxrec.data.images.targets import TargetOptions, encode, measure_masks, own_centres, shrink_parts, unpack_masks
from tests.data.images.worlds import random_scene
from tests.oracles.scenes import entity_targets, part_cells


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('centre', ['mass', 'inside', 'box'])
def test_targets_are_those_of_the_oracle(seed, centre):
    scene = random_scene(seed)
    found = encode(scene, TargetOptions(stride=4, entities=7, relations=30, centre=centre))
    assert found['entity/valid'].tolist() == [True] * 5 + [False] * 2
    for entity in range(5):
        middle, box, mask = entity_targets(scene, entity, 4, centre)
        np.testing.assert_allclose(found['entity/centre'][entity], middle, rtol=1e-6)
        np.testing.assert_allclose(found['entity/size'][entity], box)
        middle = entity_targets(scene, entity, 4, 'box')[0]
        np.testing.assert_allclose(found['entity/middle'][entity], middle)
        np.testing.assert_array_equal(found['entity/mask'][entity], mask)
    np.testing.assert_array_equal(found['part'], part_cells(scene.parts, 4))
    count = len(scene.relations)
    joined = np.stack([found[f'relation/{name}'] for name in ('subject', 'object', 'category')], 1)
    np.testing.assert_array_equal(joined[:count], scene.relations)
    np.testing.assert_array_equal(found['relation/parts'][:count], scene.relation_parts)
    assert found['relation/valid'].sum() == count and found['relation/valid'][:count].all()
    assert found['host/dropped'].tolist() == [0, 0]
    for name, array in found.items():
        if name.startswith(('entity/', 'relation/')):
            assert not array[~found[f'{name.split("/")[0]}/valid']].any(), name


def test_a_centre_inside_lies_on_what_it_is_of():
    masks = np.zeros((4, 16, 16), bool)
    masks[0, 4:8, :], masks[0, 4:, :4], masks[0, 4:, 12:] = True, True, True  # a table: its middle is air
    masks[1, 4:12, 4:12] = True
    masks[2, 0, 0] = masks[2, 15, 15] = True  # of no cell half
    masks[3, 0:2, 0:12] = True
    boxes, centres = measure_masks(masks)
    assert not masks[0][tuple(centres[0].astype(int))] and len(boxes) == 4
    found = own_centres(masks, centres, 4)
    assert found.tolist() == [[6, 6], centres[1].tolist(), [0.5, 0.5], centres[3].tolist()]
    assert own_centres(masks[:0], centres[:0], 4).shape == (0, 2)


def test_masks_and_parts_may_be_finer():
    scene = random_scene(2)
    found = encode(scene, TargetOptions(stride=4, entities=7, relations=30, mask_stride=2))
    assert found['entity/mask'].shape == (7, 12, 16) and found['part'].shape == (12, 16)
    for entity in range(5):
        middle, box, _ = entity_targets(scene, entity, 4, 'mass')
        np.testing.assert_allclose(found['entity/centre'][entity], middle, rtol=1e-6)
        np.testing.assert_allclose(found['entity/size'][entity], box)
        middle = entity_targets(scene, entity, 4, 'box')[0]
        np.testing.assert_allclose(found['entity/middle'][entity], middle)
        np.testing.assert_array_equal(found['entity/mask'][entity], entity_targets(scene, entity, 2, 'mass')[2])
    np.testing.assert_array_equal(found['part'], part_cells(scene.parts, 2))


@pytest.mark.parametrize('stride', [2, 4])
def test_soft_masks_are_the_covered_shares(stride):
    scene = random_scene(2)
    scene.masks[0] = False
    scene.masks[0, 9, 3:8] = True  # of no cell the half
    soft = encode(scene, TargetOptions(entities=7, relations=30, mask_stride=stride, soft_masks=True))
    hard = encode(scene, TargetOptions(entities=7, relations=30, mask_stride=stride))
    assert soft['entity/mask'].dtype == np.float16
    np.testing.assert_array_equal(soft['entity/mask'] >= 0.5, hard['entity/mask'])
    for entity, mask in enumerate(scene.masks):
        share = np.zeros(soft['entity/mask'].shape[1:])
        for r, c in np.ndindex(*share.shape):
            share[r, c] = mask[r * stride : (r + 1) * stride, c * stride : (c + 1) * stride].mean()
        if share.max() < 0.5:
            share[share == share.max()] = 1
        np.testing.assert_array_equal(soft['entity/mask'][entity], share)
    assert set(np.unique(soft['entity/mask'][0])) == ({0, 1 / 16, 1} if stride == 4 else {0, 0.25, 0.5})
    for name in soft.keys() - {'entity/mask'}:
        np.testing.assert_array_equal(soft[name], hard[name], name)


def test_what_the_host_needs_comes_back():
    scene = random_scene(3, size=(8, 20))
    found = encode(scene, TargetOptions(stride=4, entities=6, relations=30))
    assert found['host/mask'].shape == (6, 8, 3)
    np.testing.assert_array_equal(unpack_masks(found['host/mask'], 20)[:5], scene.masks)
    np.testing.assert_array_equal(found['host/part'], scene.parts)
    np.testing.assert_array_equal(found['image'], scene.image)
    learnt = encode(scene, TargetOptions(stride=4, entities=6, relations=30), judged=False)
    assert found.keys() - learnt.keys() == {
        'host/mask', 'host/part', 'host/missed', 'host/missed_entities',
    }  # fmt: skip


def test_dtypes_and_shapes_are_the_contract():
    found = encode(random_scene(0), TargetOptions())
    assert {name: (array.dtype.name, array.shape) for name, array in found.items()} == {
        'image': ('uint8', (24, 32, 3)),
        'entity/centre': ('float32', (48, 2)),
        'entity/size': ('float32', (48, 2)),
        'entity/middle': ('float32', (48, 2)),
        'entity/category': ('int32', (48,)),
        'entity/valid': ('bool', (48,)),
        'entity/mask': ('uint8', (48, 6, 8)),
        'relation/subject': ('int32', (64,)),
        'relation/object': ('int32', (64,)),
        'relation/category': ('int32', (64,)),
        'relation/parts': ('uint8', (64, 5)),
        'relation/valid': ('bool', (64,)),
        'part': ('uint8', (6, 8)),
        'host/mask': ('uint8', (48, 24, 4)),
        'host/part': ('uint8', (24, 32)),
        'host/dropped': ('int32', (2,)),
        'host/missed': ('int32', (int(random_scene(0).relations[:, 2].max()) + 1,)),
        'host/missed_entities': ('int32', (int(random_scene(0).categories.max()) + 1,)),
    }


def test_of_too_many_the_related_and_the_large_stay_and_the_rest_is_counted():
    scene = random_scene(1, count=4)
    scene.masks[:] = False
    for entity, side in enumerate((1, 6, 3, 4)):
        scene.masks[entity, :side, :side] = True
    relations = np.array([[0, 2, 1], [2, 0, 0]], np.int32)
    scene = type(scene)(
        scene.image, scene.masks, np.arange(4, dtype=np.int32) % 3, scene.parts, relations, np.ones((2, 5), bool)
    )
    found = encode(scene, TargetOptions(stride=4, entities=3, relations=1))
    # The unrelated 1 is larger than the unrelated 3; the small 0 takes part in a relation.
    assert found['entity/category'].tolist() == [0, 1, 2]
    assert (found['relation/subject'][0], found['relation/object'][0]) == (0, 2)
    assert found['host/dropped'].tolist() == [1, 1] and found['host/missed'].tolist() == [1, 0]
    assert found['host/missed_entities'].tolist() == [1, 0, 0]
    fewer = encode(scene, TargetOptions(stride=4, entities=1, relations=5), kinds=4, classes=5)
    assert fewer['host/missed_entities'].tolist() == [2, 1, 0, 0, 0]
    assert fewer['host/dropped'].tolist() == [3, 2]
    assert fewer['host/missed'].tolist() == [1, 1, 0, 0]
    assert not fewer['relation/valid'].any()


def test_an_entity_without_pixels_is_left_out_and_counted():
    scene = random_scene(2)
    scene.masks[1] = False
    found = encode(scene, TargetOptions())
    lost = (scene.relations[:, :2] == 1).any(1).sum()
    assert lost > 0
    assert found['host/dropped'].tolist() == [1, lost]
    kinds = [k for s, o, k in scene.relations.tolist() if 1 in (s, o)]
    assert found['host/missed'].tolist() == [kinds.count(k) for k in range(len(found['host/missed']))]
    np.testing.assert_array_equal(found['entity/category'][:4], np.delete(scene.categories, 1))


def test_an_empty_mask_has_no_place():
    masks = np.ones((3, 4, 5), bool)
    for empty in (0, 1, 2):
        masks[empty] = False
        with pytest.raises(ValueError, match=f'mask {empty} has no pixel: leave such entities out'):
            measure_masks(masks)
        masks[empty] = True


def test_a_scene_of_nothing():
    scene = random_scene(0, count=0)
    found = encode(scene, TargetOptions())
    assert not found['entity/valid'].any() and not found['relation/valid'].any()


def test_an_unknown_majority_stays_unknown_and_ties_go_to_the_lower():
    parts = np.array([[UNKNOWN_PART, UNKNOWN_PART, 2, 1], [UNKNOWN_PART, 1, 1, 2]], np.uint8)
    assert shrink_parts(parts, 2).tolist() == [[UNKNOWN_PART, 1]]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'stride': 0}, 'stride is 0: it must be at least 1'),
        ({'entities': 0}, 'entities is 0'),
        ({'relations': -1}, 'relations is -1'),
        ({'centre': 'middle'}, "centre 'middle' is unknown: use one of mass, inside, box"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TargetOptions(**options)


def test_a_stride_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="'drawn' is 24 x 32, which a stride of 5 does not divide"):
        encode(random_scene(0), TargetOptions(stride=5))
