"""Geometry of pairs by hand, which pairs may be, the best of them; counts of classes."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from jaxrec.data.images.scene import UNKNOWN_PART
from jaxrec.embeddings import make_row_optimizer
from jaxrec.models.sms import prior, two_stage
from jaxrec.models.sms.losses import EntityTargets, Seen
from jaxrec.models.sms.network.fusion import Entities
from jaxrec.models.sms.network.heads import EntityRead
from jaxrec.models.sms.two_stage import Members, pair_geometry
from jaxrec.parallel import make_mesh
from jaxrec.training.state import Setup, init_state
from jaxrec.training.step import make_predict_step, make_train_step
from tests.models.sms.scenes import WORDS, make_batch, triplets, truth

BATCH = make_batch()


def test_geometry_of_two_boxes():
    box = np.array([[[0, 0, 4, 2], [2, 1, 6, 5]]], np.float32)
    found = jax.jit(pair_geometry, static_argnums=1)(box, 2.0)
    # Middles (2, 1) and (4, 3); sizes (4, 2) and (4, 4); 2 of 8 + 16 - 2 cells are shared.
    want = [1, 1, 0, np.log(2), 2, 1, 2, 2, 2 / 22]
    np.testing.assert_allclose(found[0, 0, 1], want, rtol=1e-5)
    np.testing.assert_allclose(found[0, 1, 0], [-1, -1, 0, -np.log(2), 2, 2, 2, 1, 2 / 22], rtol=1e-5)
    np.testing.assert_allclose(found[0, 0, 0], [0, 0, 0, 0, 2, 1, 2, 1, 1], rtol=1e-5)


def test_a_cell_is_covered_by_a_share():
    mask = np.zeros((1, 2, 4, 6), np.uint8)
    mask[0, 0, 0, :3] = mask[0, 1, 2:, 4:] = 1
    found = jax.jit(two_stage.shares, static_argnums=1)(mask, 2)
    np.testing.assert_allclose(found[0], [[[0.5, 0.25, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]]])


def test_the_best_pairs_are_of_people_with_others():
    task = two_stage.make_task({'size': 'tiny', 'points': 3, 'triplets': 3}, WORDS)
    category = np.array([[1, 0, 1, 1]], np.int32)
    members = Members(category, np.zeros((1, 4, 4)), np.zeros((1, 4, 2, 2)), np.array([[True, True, True, False]]))
    score = np.array([[0.9, 0.8, 0.5, 1.0]], np.float32)
    entities = Entities(score, category, np.zeros((1, 4, 2)), np.zeros((1, 4, 4)), None)
    chance = np.full((1, 4, 4, 3), 0.1, np.float32)
    chance[0, 0, 1, 2], chance[0, 1, 0, 0], chance[0, 2, 2, 0], chance[0, 2, 1, 1] = 0.5, 1, 1, 0.9
    parts = np.arange(32, dtype=np.float32).reshape(1, 4, 4, 2)
    run = jax.jit(lambda *x: task.best_pairs(entities, task.pairs_that_may_be(members), *x))
    found = run(chance, parts)
    # .9 .8 .5 = .36 and .5 .8 .9 = .36, equal; then .9 .8 .1.
    np.testing.assert_allclose(found.score[0], [0.36, 0.36, 0.072], rtol=1e-5)
    pairs = {
        (int(s), int(o), int(r)) for s, o, r in zip(found.subject[0], found.target[0], found.relation[0], strict=True)
    }
    assert {(0, 1, 2), (2, 1, 1)} <= pairs
    np.testing.assert_array_equal(found.parts[0], parts[0, found.subject[0], found.target[0]])
    by_relation = np.arange(96, dtype=np.float32).reshape(1, 4, 4, 6)
    found = run(chance, by_relation)
    want = by_relation.reshape(4, 4, 3, 2)[found.subject[0], found.target[0], found.relation[0]]
    np.testing.assert_array_equal(found.parts[0], want)
    many = dataclasses.replace(task, network=dataclasses.replace(task.network, points=49, triplets=49))
    with pytest.raises(ValueError, match=r'model\.triplets = 49 of 4 x 4 x 3, which are 48: lower it'):
        many.best_pairs(entities, task.pairs_that_may_be(members), chance, parts)


def test_pairs_have_parts_of_their_relations_and_sizes_of_their_own():
    options = {'size': 'tiny', 'parts_by_relation': True, 'point_hidden': 24, 'predicted_pairs': 0.5}
    task = two_stage.make_task(options, WORDS)
    params, state = jax.eval_shape(task.init, jax.random.key(0), BATCH)
    second = params['second']
    assert second['parts']['kernel'].shape == (24, 3 * 2) and second['hidden']['kernel'].shape[-1] == 24
    assert params['first']['entity_points']['weights']['kernel'].shape[0] == 24
    assert params['first']['entity_heat']['hidden']['kernel'].shape[-1] == 32
    loss = lambda *x: task.loss(*x, {}, BATCH, jax.random.key(0))
    _, (losses, _) = jax.eval_shape(loss, params, state)
    assert 'part' in losses and 'displacement' not in losses
    found = jax.eval_shape(lambda *x: task.predict(*x, {}, BATCH), params, state)
    assert found['triplet/parts'].shape == (2, 12, 2)


def test_distances_of_pairs_have_a_divisor_of_their_own():
    counts = two_stage.make_task({'size': 'tiny'}, WORDS).names.counts
    members = Members(
        np.array([[1, 0]]), np.float32([[[0, 0, 2, 2], [3, 3, 6, 5]]]), np.ones((1, 2, 8, 8)), np.ones((1, 2))
    )
    features = np.ones((1, 8, 8, 4), np.float32)
    found = []
    for options in ({}, {'pair_divisor': 8.0}, {'pair_divisor': 2.0}, {'divisor': 2.0, 'pair_divisor': 8.0}):
        network = two_stage.make_task({'size': 'tiny', **options}, WORDS).network
        head = two_stage.PairHead(network, counts)
        found.append(jax.jit(lambda head=head: head.init_with_output(jax.random.key(0), features, members))())
    logits = [np.asarray(each[0][0]) for each in found]
    np.testing.assert_array_equal(logits[0], logits[1])
    np.testing.assert_array_equal(logits[0], logits[3])
    assert (logits[0] != logits[2]).any()


def test_a_thing_smaller_than_a_cell_is_seen_as_one_that_fills_it():
    task = two_stage.make_task({'size': 'tiny'}, WORDS)
    head = two_stage.PairHead(task.network, task.names.counts)
    features = np.random.default_rng(0).normal(size=(1, 8, 8, 4)).astype(np.float32)
    mask = np.zeros((1, 3, 8, 8), np.float32)
    mask[0, 0, 2:6, 1:3] = mask[0, 1, 5, 5] = 1
    members = lambda share: Members(
        np.array([[1, 0, 0]]), np.float32([[[2, 1, 6, 3], [5, 5, 6, 6], [0, 0, 1, 1]]]),
        mask * np.float32(share)[:, None, None], np.ones((1, 3), bool),
    )  # fmt: skip
    params = jax.jit(head.init)(jax.random.key(0), features, members([1, 1, 1]))
    logits = lambda share: np.asarray(jax.jit(head.apply)(params, features, members(share))[0])
    np.testing.assert_allclose(logits([1, 0.25, 1]), logits([1, 1, 1]), rtol=1e-5, atol=1e-6)
    assert np.isfinite(logits([0, 0, 0])).all() and (logits([0, 0, 0]) != logits([1, 1, 1])).any()


@pytest.mark.parametrize('share', [0.5, 1.0])
def test_some_images_have_their_pairs_seen_as_they_are_predicted(share):
    task = two_stage.make_task({'size': 'tiny', 'mask_stride': 2, 'predicted_pairs': share}, WORDS)
    rng, count = np.random.default_rng(0), 40
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    members = Members(np.zeros((count, 2), np.int32), np.full((count, 2, 4), -1.0), -np.ones((count, 2, 3, 4)), None)
    cell, logits = rng.integers(0, 3, (count, 2, 2)), draw(count, 2, 6, 8)
    true = EntityTargets(cell, None, None, None, None)

    def run(offset, size, logits, key):
        seen = Seen(true, None, EntityRead(offset, size, None), logits)
        found = task.some_predicted(members, seen, key)
        return found.box.sum() + found.mask.sum(), found

    offset, size = draw(count, 2, 2), draw(count, 2, 4)
    step = jax.jit(jax.value_and_grad(run, (0, 1, 2), has_aux=True))
    (_, found), slopes = step(offset, size, logits, jax.random.key(3))
    assert not any(np.asarray(slope).any() for slope in slopes)
    middle, half = cell + offset + size[..., 2:], np.maximum(size[..., :2], 0) / 2
    box = np.clip(np.concatenate([middle - half, middle + half], -1), 0, [3, 4, 3, 4])
    mask = (logits > 0).reshape(count, 2, 3, 2, 4, 2).mean((3, 5))
    drawn = (np.asarray(found.mask) >= 0).all((1, 2, 3))
    assert drawn.sum() == count if share == 1 else 0 < drawn.sum() < count
    np.testing.assert_allclose(found.box, np.where(drawn[:, None, None], box, members.box), atol=1e-5)
    np.testing.assert_allclose(found.mask, np.where(drawn[:, None, None, None], mask, members.mask))
    (_, other), _ = step(offset, size, logits, jax.random.key(4))
    assert share == 1 or (np.asarray(other.mask) != found.mask).any()


@pytest.fixture(scope='module')
def counted():
    task = prior.make_task({'size': 'tiny'}, WORDS)
    _, state = task.init(jax.random.key(0), BATCH)
    step = jax.jit(lambda state, batch: task.loss({}, state, {}, batch, None)[1])
    metrics, state = step(state, BATCH)
    again = step(state, BATCH | {'valid': np.array([0, 1], np.float32)})[1]
    return task, metrics, state, again


def test_classes_are_counted(counted):
    _, metrics, state, again = counted
    assert metrics['relations'] == 4
    # Two people and a ball, a person and a chair: people with people twice, balls twice, chairs once.
    np.testing.assert_array_equal(state['pair'], [[0, 0, 0], [2, 2, 1], [0, 0, 0]])
    relation = np.zeros((3, 3, 3))
    relation[1, 1, 1], relation[1, 0, 0], relation[1, 2, 2] = 2, 1, 1
    np.testing.assert_array_equal(state['relation'], relation)
    np.testing.assert_array_equal(state['part'][1, 0, 0], [0, 1])
    np.testing.assert_array_equal(state['labelled'], relation)
    assert again['relation'][1, 2, 2] == 2 and again['relation'][1, 1, 1] == 2


def test_relations_whose_parts_nobody_labelled_do_not_count_against_them(counted):
    task, _, state, _ = counted
    unknown = BATCH | {
        'part': np.full_like(BATCH['part'], UNKNOWN_PART),
        'relation/parts': np.zeros_like(BATCH['relation/parts']),
    }
    step = jax.jit(lambda state, batch: task.loss({}, state, {}, batch, None)[1][1])
    after = step(state, unknown)
    np.testing.assert_array_equal(after['relation'], 2 * state['relation'])
    for key in ('labelled', 'part'):
        np.testing.assert_array_equal(after[key], state[key])
    run = jax.jit(lambda state: task.predict({}, state, {}, BATCH))
    both = run(state), run(after)
    for found in both:
        kick = np.asarray(found['triplet/relation'][0]).tolist().index(0)
        np.testing.assert_array_equal(found['triplet/parts'][0, kick], [0, 1])


def test_every_pair_gets_the_most_frequent_relation_of_its_classes(counted):
    task, _, state, _ = counted
    found = jax.device_get(jax.jit(lambda state: task.predict({}, state, {}, BATCH))(state))
    want = truth(BATCH)
    seen = [set(x) for x in triplets(found)]
    assert seen[1] == want[1] and want[0] < seen[0]
    (added,) = seen[0] - want[0]  # the other person kicks the ball too, in half of the pairs of these classes
    assert added[2] == 0
    scores = found['triplet/score'][0]
    np.testing.assert_allclose(sorted(scores[scores > 0]), [0.5, 0.5, 1, 1])
    np.testing.assert_array_equal(found['entity/score'], BATCH['entity/valid'])


def test_the_loop_that_trains_networks_counts_too():
    task = prior.make_task({'size': 'tiny'}, WORDS)
    setup = Setup(task, optax.adam(0.1), make_row_optimizer('row_adagrad', 0.1), make_mesh((1, 1)), clip_norm=1.0)
    state, metrics = make_train_step(setup)(init_state(setup, BATCH, 0), BATCH)
    assert float(metrics['loss']) == 0 and float(state.model_state['relation'].sum()) == 4
    assert float(make_predict_step(setup)(state, BATCH)['triplet/score'].max()) == 1
