"""Shapes that the task promises, of every variant; what it refuses."""

import jax
import numpy as np
import pytest

from jaxrec.configurable import allow_code
from jaxrec.data.images.scene import Vocabulary
from jaxrec.models.sms import make_task, prior, two_stage
from jaxrec.models.sms.network.heads import part_shares
from jaxrec.models.sms.network.layers import PointHead
from tests.models.sms.scenes import WORDS, make_batch

BATCH = make_batch()


@pytest.mark.parametrize(
    ('options', 'gone'),
    [
        ({'masks': False}, {'mask_branch'}),
        ({'parsing': False}, {'parsing'}),
        ({'norm': 'group', 'read_near': True, 'point_hidden': 40}, set()),
        ({'shared': False, 'parts_by_relation': True, 'mask_stride': 8, 'mask_fine': True}, set()),
        ({'trunk': 'resnet18', 'multiplier': 0.25, 'dtype': 'bfloat16'}, set()),
        ({'trunk': 'resnet_fine', 'multiplier': 0.5, 'mask_fine': True}, set()),
        ({'part_context': True, 'dtype': 'bfloat16'}, set()),
        ({'ends_by_relation': True, 'object_class': True, 'shift': 0.75}, set()),
    ],
)
def test_variants_have_the_shapes_of_the_contract(options, gone):
    task = make_task({'size': 'tiny'} | options, WORDS)
    batch = {key: np.zeros((2, 64, 64, 3), np.uint8) if key == 'image' else x for key, x in BATCH.items()}
    grid = {key: (*x.shape[:-2], 16, 16) for key, x in batch.items() if key in ('part', 'entity/mask')}
    batch |= {key: np.zeros(shape, np.uint8) for key, shape in grid.items()}
    params, state = jax.eval_shape(task.init, jax.random.key(0), batch)
    branches = {
        'backbone', 'entity_heat', 'entity_points', 'mask_branch', 'parsing', 'relation_heat',
        'relation_points',
    }  # fmt: skip
    assert branches - set(params) == gone
    assert bool(state) == (task.network.norm == 'batch')
    _, (losses, after) = jax.eval_shape(lambda *x: task.loss(*x, {}, batch, None), params, state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert {x.dtype for x in losses.values()} == {np.dtype('float32')}
    found = jax.eval_shape(lambda *x: task.predict(*x, {}, batch), params, state)
    assert {key: (x.shape, str(x.dtype)) for key, x in found.items()} == {
        'entity/score': ((2, 8), 'float32'),
        'entity/category': ((2, 8), 'int32'),
        'entity/box': ((2, 8, 4), 'float32'),
        'entity/mask': ((2, 8, 64, 64), 'uint8'),
        'triplet/subject': ((2, 12), 'int32'),
        'triplet/object': ((2, 12), 'int32'),
        'triplet/relation': ((2, 12), 'int32'),
        'triplet/score': ((2, 12), 'float32'),
        'triplet/parts': ((2, 12, 2), 'float32'),
        'part': ((2, 64, 64), 'uint8'),
    }


def test_a_vocabulary_without_parts_does_without_them():
    words = Vocabulary(('person', 'ball'), ('hold',))
    batch = BATCH | {'relation/parts': np.zeros((2, 4, 0), np.uint8)}
    for make in (make_task, two_stage.make_task):
        task = make({'size': 'tiny'}, words)
        params, state = jax.eval_shape(task.init, jax.random.key(0), batch)
        _, (losses, _) = jax.eval_shape(lambda *x, task=task: task.loss(*x, {}, batch, None), params, state)
        assert not {'part', 'parsing'} & set(losses)
        found = jax.eval_shape(lambda *x, task=task: task.predict(*x, {}, batch), params, state)
        assert found['triplet/parts'].shape == (2, 12, 0)


def test_a_cell_has_its_share_of_every_part():
    logits = np.random.default_rng(0).normal(size=(2, 3, 5, 4 * 3)).astype(np.float32)
    found = np.asarray(jax.jit(part_shares, static_argnums=1)(logits, 2))
    for place in np.ndindex(2, 3, 5):
        chances = [np.exp(each) / np.exp(each).sum() for each in logits[place].reshape(4, 3)]
        np.testing.assert_allclose(found[place], np.mean(chances, 0), rtol=1e-5)


@pytest.mark.parametrize(
    ('make', 'branch', 'wide'), [(make_task, 'relation_points', 9), (two_stage.make_task, 'second', 1)]
)
def test_relations_are_read_from_the_part_map_where_there_is_one(make, branch, wide):
    shape_of = lambda options, words: (
        jax.eval_shape(make({'size': 'tiny'} | options, words).init, jax.random.key(0), BATCH)[0][branch]['hidden'][
            'kernel'
        ].shape
    )
    plain, seen = (shape_of({'part_context': on}, WORDS) for on in (False, True))
    neck = make_task({'size': 'tiny'}, WORDS).network.neck
    assert (plain[-2], seen[-2]) == (wide * neck, wide * (neck + 1 + len(WORDS.parts)))
    assert shape_of({'part_context': True, 'parsing': False}, WORDS) == plain
    assert shape_of({'part_context': True}, Vocabulary(('person', 'ball'), ('hold',))) == plain


def test_what_relations_are_read_from_keeps_the_type_of_activations():
    task = make_task({'size': 'tiny', 'part_context': True, 'dtype': 'bfloat16'}, WORDS)
    params, state = jax.eval_shape(task.init, jax.random.key(0), BATCH)
    maps = jax.eval_shape(
        lambda *x: task.module.apply({'params': x[0], **x[1]}, x[2], method=task.touch), params, state, BATCH['image']
    )
    assert str(maps.features.dtype) == str(maps.matched.dtype) == 'bfloat16'
    assert maps.matched.shape[-1] == task.network.neck + 1 + len(WORDS.parts)


def test_the_layer_that_emits_mask_networks_is_drawn_as_wide_as_asked():
    head = PointHead(64, {'offset': 50, 'weights': 50}, True, {'weights': 0.05})
    params = jax.jit(head.init)(jax.random.key(0), np.zeros((1, 1, 9)))['params']
    wide = {name: np.std(params[name]['kernel']) for name in ('offset', 'weights')}
    np.testing.assert_allclose([wide['offset'], wide['weights']], [0.01, 0.05], rtol=0.1)


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        ({'image': np.zeros((2, 44, 48, 3), np.uint8)}, r'images of 44 x 48: sides must be multiples of 8'),
        ({'image': np.zeros((2, 48, 48), np.uint8)}, r"batch\['image'\] has the shape .* give uint8 \[B"),
        ({'part': np.zeros((2, 48, 48), np.uint8)}, r"batch\['part'\] .* not \(2, 12, 12\): make targets"),
        ({'relation/parts': np.zeros((2, 4, 3), np.uint8)}, r'not \(2, 4, 2\): make targets for this vocab'),
        ({'entity/valid': np.ones((2, 1), bool)}, r"batch\['entity/valid'\] .* \(2, 1\), not \(2, 5\)"),
        ({'relation/subject': np.zeros((2, 1), np.int32)}, r"batch\['relation/subject'\] .* not \(2, 4\)"),
        ({'relation/category': np.zeros((1, 4), np.int32)}, r"batch\['relation/category'\] .* not \(2, 4\)"),
        ({'entity/mask': None}, "the batch lacks 'entity/mask'; images come with"),
    ],
)
def test_batches_of_other_sizes_are_refused(changed, message):
    batch = {key: x for key, x in (BATCH | changed).items() if x is not None}
    with pytest.raises(ValueError, match=message):
        make_task({'size': 'tiny'}, WORDS).loss({}, {}, {}, batch, None)


def test_the_evaluator_is_what_the_config_names():
    made = make_task({'size': 'tiny', 'evaluator': 'builtins:vars'}, {'vocabulary': WORDS})
    with pytest.raises(ValueError, match='may name code of jaxrec only'):
        made.evaluator()
    with allow_code(('builtins',)):
        assert made.evaluator() == vars(WORDS)
    with pytest.raises(ValueError, match="the schema has no 'vocabulary'"):
        make_task({}, {})
    with pytest.raises(ValueError, match='images have none, leave it empty'):
        make_task({'features': {'user': ('age',)}}, WORDS)
    for of_pairs in (two_stage, prior):
        with pytest.raises(ValueError, match='two stages do without'):
            of_pairs.make_task({'both_directions': True}, WORDS)


@pytest.mark.parametrize(
    ('make', 'options', 'message'),
    [
        (make_task, {'keep': 10**5}, r'model\.keep = 100000 of 12 x 12 x 3, which are 432: lower it'),
        (make_task, {'points': 10**5}, r'model\.points = 100000 of 12 x 12 x 3'),
        (two_stage.make_task, {'keep': 10**5}, r'model\.keep = 100000 of'),
        (two_stage.make_task, {'keep': 1}, r'model\.triplets = 12 of 1 x 1 x 3'),
        (prior.make_task, {'points': 999, 'triplets': 999}, r'model\.triplets = 999 of 5 x 5 x 3'),
    ],
)
def test_what_predictions_have_no_room_for_is_refused_before_training(make, options, message):
    task = make({'size': 'tiny'} | options, WORDS)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(task.init, jax.random.key(0), BATCH)
