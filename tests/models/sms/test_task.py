"""SMS and two stages learn two images by heart; every parameter has a say; statistics move in training."""

import functools
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
import optax
import pytest

from jaxrec.data.images.scene import Vocabulary
from jaxrec.models.sms import make_task, two_stage
from tests.models.sms.scenes import WORDS, draw, make_batch, triplets, truth

BATCH = make_batch()
TASKS = {'sms': make_task, 'two-stage': two_stage.make_task}
STEPS = 80


class Learnt(NamedTuple):
    task: Any
    params: Any
    state: Any
    before: Any
    first: Any
    losses: list
    step: Any


@functools.cache
def learnt(name):
    """Trained on both images; `first` is (metrics, gradients, statistics) of the untrained network."""
    task = TASKS[name]({'size': 'tiny', 'momentum': 0.8}, WORDS)
    params, state = draw(task, BATCH)
    optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, STEPS))
    before = params, state

    @chex.assert_max_traces(n=1)
    def step(params, state, slots, batch):
        loss = lambda params: task.loss(params, state, {}, batch, None)
        (value, (metrics, state)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, slots = optimizer.update(grads, slots)
        return optax.apply_updates(params, updates), state, slots, metrics | {'loss': value}, grads

    chex.clear_trace_counter()
    run, slots, losses, first = jax.jit(step), optimizer.init(params), [], None
    for _ in range(STEPS):
        params, state, slots, metrics, grads = run(params, state, slots, BATCH)
        first = first or (metrics, grads, state)
        losses.append(metrics)
    return Learnt(task, params, state, before, first, jax.device_get(losses), run)


@pytest.mark.parametrize('name', TASKS)
def test_two_images_are_learnt_by_heart(name):
    it = learnt(name)
    assert it.losses[-1]['loss'] < 0.1 * it.losses[0]['loss']
    predict = jax.jit(lambda p, s, b: it.task.predict(p, s, {}, b))
    found = jax.device_get(predict(it.params, it.state, {'image': BATCH['image']}))
    for b, want in enumerate(truth(BATCH)):
        near = lambda x, y: all(np.abs(np.subtract(x[i], y[i])).max() <= 3 for i in (0, 1)) and x[2] == y[2]
        best = triplets(found)[b][: len(want)]
        assert all(any(near(x, y) for x in best) for y in want), (best, want)
        for n in range((BATCH['entity/valid'][b]).sum()):
            whole = np.kron(BATCH['entity/mask'][b, n], np.ones((4, 4))) > 0
            masks = found['entity/mask'][b][found['entity/score'][b] > 0.3] > 0
            assert max((whole & m).sum() / (whole | m).sum() for m in masks) > 0.5
    assert (found['part'][:, 2::4, 2::4] == BATCH['part']).mean() > 0.95
    for key, x in found.items():
        assert np.isfinite(x).all(), key
    kick = list(found['triplet/relation'][0]).index(0)
    assert found['triplet/parts'][0, kick, 1] > 0.8 > 0.2 > found['triplet/parts'][0, kick, 0]


@pytest.mark.parametrize('name', TASKS)
def test_every_parameter_has_a_gradient(name):
    _, grads, _ = learnt(name).first
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(grad).all() and np.abs(grad).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize('name', TASKS)
def test_statistics_move_in_training(name):
    it = learnt(name)
    moved = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - b).max() > 0, it.first[2], it.before[1])
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize('name', TASKS)
def test_an_image_that_does_not_count_changes_nothing(name):
    """Neither loss nor gradients nor statistics: of two images of which one counts, the other may be any."""
    it = learnt(name)
    slots = optax.adam(optax.constant_schedule(0.0)).init(it.before[0])
    one = BATCH | {'valid': np.array([1, 0], np.float32)}
    other = {key: np.concatenate([x[:1], np.roll(x[:1], 1, -1)]) for key, x in one.items() if key != 'valid'}
    found = [it.step(*it.before, slots, batch) for batch in (one, other | {'valid': one['valid']})]
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    for i in (1, 3, 4):  # statistics, metrics, gradients
        jax.tree.map(close, found[0][i], found[1][i])


def test_the_losses_have_names_and_weights():
    names = {'entity', 'offset', 'size', 'mask', 'relation', 'displacement', 'part', 'parsing', 'loss'}
    assert set(learnt('sms').losses[0]) == names
    assert set(learnt('two-stage').losses[0]) == names - {'displacement'}
    first = learnt('sms').losses[0]
    np.testing.assert_allclose(first['loss'], sum(first.values()) - first['loss'], rtol=1e-5)


@pytest.mark.parametrize(
    ('options', 'gone'),
    [
        ({'masks': False}, {'mask_branch'}),
        ({'parsing': False}, {'parsing'}),
        ({'norm': 'group'}, set()),
        ({'shared': False, 'parts_by_relation': True, 'mask_stride': 8}, set()),
        ({'trunk': 'resnet18', 'multiplier': 0.25, 'dtype': 'bfloat16'}, set()),
    ],
)
def test_variants_have_the_shapes_of_the_contract(options, gone):
    task = make_task({'size': 'tiny'} | options, WORDS)
    batch = {key: np.zeros((2, 64, 64, 3), np.uint8) if key == 'image' else x for key, x in BATCH.items()}
    grid = {key: (*x.shape[:-2], 16, 16) for key, x in batch.items() if key in ('part', 'entity/mask')}
    batch |= {key: np.zeros(shape, np.uint8) for key, shape in grid.items()}
    params, state = jax.eval_shape(task.init, jax.random.key(0), batch)
    whole, _ = jax.eval_shape(make_task({'size': 'tiny'}, WORDS).init, jax.random.key(0), batch)
    assert set(whole) - set(params) == gone
    assert bool(state) == (task.network.norm == 'batch')
    _, (losses, after) = jax.eval_shape(lambda *x: task.loss(*x, {}, batch, None), params, state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
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
    for make in TASKS.values():
        task = make({'size': 'tiny'}, words)
        params, state = jax.eval_shape(task.init, jax.random.key(0), batch)
        _, (losses, _) = jax.eval_shape(lambda *x, task=task: task.loss(*x, {}, batch, None), params, state)
        assert not {'part', 'parsing'} & set(losses)
        found = jax.eval_shape(lambda *x, task=task: task.predict(*x, {}, batch), params, state)
        assert found['triplet/parts'].shape == (2, 12, 0)


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        ({'image': np.zeros((2, 44, 48, 3), np.uint8)}, r'images of 44 x 48: sides must be multiples of 8'),
        ({'image': np.zeros((2, 48, 48), np.uint8)}, r"batch\['image'\] has the shape .* give uint8 \[B"),
        ({'part': np.zeros((2, 48, 48), np.uint8)}, r"batch\['part'\] .* not \(2, 12, 12\): make targets"),
        ({'relation/parts': np.zeros((2, 4, 3), np.uint8)}, r'not \(2, 4, 2\): make targets for this vocab'),
        ({'entity/mask': None}, "the batch lacks 'entity/mask'; images come with"),
    ],
)
def test_batches_of_other_sizes_are_refused(changed, message):
    batch = {key: x for key, x in (BATCH | changed).items() if x is not None}
    with pytest.raises(ValueError, match=message):
        make_task({'size': 'tiny'}, WORDS).loss({}, {}, {}, batch, None)


def test_the_evaluator_is_what_the_config_names():
    made = make_task({'size': 'tiny', 'evaluator': 'builtins:vars'}, {'vocabulary': WORDS})
    assert made.evaluator() == vars(WORDS)
    with pytest.raises(ValueError, match="the schema has no 'vocabulary'"):
        make_task({}, {})
    with pytest.raises(ValueError, match='images have none, leave it empty'):
        make_task({'features': {'user': ('age',)}}, WORDS)
    with pytest.raises(ValueError, match='two stages do without'):
        two_stage.make_task({'both_directions': True}, WORDS)
