"""A network goes on among other classes: what has a name follows it, all without one stays."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest

from jaxrec.data.images.scene import Vocabulary
from jaxrec.models.sms import make_task, two_stage
from jaxrec.models.sms.task import SmsTask
from jaxrec.models.sms.weights.state_transfer import Description, by_name, describe, load_network, save_network
from tests.models.sms.scenes import WORDS, draw, make_batch

BATCH = make_batch()
TINY = {'size': 'tiny', 'parts_by_relation': True, 'mask_stride': 2}
OTHER = Vocabulary(
    entities=('person', 'human', 'chair', 'ball'),  # the first is no class of people here
    relations=('ride', 'sit on', 'kick'),
    parts=('foot', 'head', 'hand'),
    person='human',
)


def saved(tmp_path, task, seed=0):
    params, state = draw(task, BATCH, seed)
    save_network(tmp_path / 'network.npz', Description(task.network, task.vocabulary, (64, 48)), params, state)
    return params, state


def test_what_has_a_name_follows_it(tmp_path):
    before, after = (make_task(TINY, WORDS), make_task(TINY | {'weights': str(tmp_path / 'network.npz')}, OTHER))
    old, old_state = saved(tmp_path, before)
    drawn, drawn_state = draw(after, BATCH, seed=1)
    new, new_state = after.pretrained(drawn, drawn_state)
    jax.tree.map(np.testing.assert_array_equal, new_state, old_state)
    for branch in ('backbone', 'entity_points', 'mask_branch'):
        jax.tree.map(np.testing.assert_array_equal, new[branch], old[branch])
    for leaf in ('kernel', 'bias'):
        heat, was, fresh = (tree['entity_heat']['out'][leaf] for tree in (new, old, drawn))
        for ours, theirs in ((1, 1), (2, 2), (3, 0)):  # human, chair, ball
            np.testing.assert_array_equal(heat[..., ours], was[..., theirs])
        np.testing.assert_array_equal(heat[..., 0], fresh[..., 0])
        heat, was, fresh = (tree['relation_heat']['out'][leaf] for tree in (new, old, drawn))
        np.testing.assert_array_equal(heat[..., 1:], was[..., [2, 0]])
        np.testing.assert_array_equal(heat[..., 0], fresh[..., 0])
        part, was, fresh = (
            tree['relation_points']['parts'][leaf].reshape(-1, 3, parts)
            for tree, parts in ((new, 3), (old, 2), (drawn, 3))
        )
        for (relation, word), (place, name) in itertools.product(enumerate(OTHER.relations), enumerate(OTHER.parts)):
            shared = word in WORDS.relations and name in WORDS.parts
            want = was[:, WORDS.relations.index(word), WORDS.parts.index(name)] if shared else fresh[:, relation, place]
            np.testing.assert_array_equal(part[:, relation, place], want)
        parsing, was, fresh = (
            tree['parsing']['out'][leaf].reshape(-1, 4, parts + 1) for tree, parts in ((new, 3), (old, 2), (drawn, 3))
        )
        np.testing.assert_array_equal(parsing[..., [0, 1, 3]], was[..., [0, 2, 1]])  # none, foot, hand
        np.testing.assert_array_equal(parsing[..., 2], fresh[..., 2])


def test_the_ends_of_a_relation_and_the_classes_of_its_objects_follow_their_names(tmp_path):
    options = TINY | {'ends_by_relation': True, 'object_class': True}
    before, after = make_task(options, WORDS), make_task(options, OTHER)
    old, _ = saved(tmp_path, before)
    drawn = draw(after, BATCH | {'relation/parts': np.zeros((2, 4, 3), np.uint8)}, seed=1)
    new, _, _ = load_network(tmp_path / 'network.npz', after.network, after.vocabulary, *drawn)
    kernel = lambda tree, name, *axes: tree['relation_points'][name]['kernel'].reshape(32, 3, *axes)
    rows = {2: 0, 1: 2}  # kick, sit on
    for end in ('subject', 'target'):
        was, now, fresh = (kernel(tree, end, 2) for tree in (old, new, drawn[0]))
        for ours, theirs in rows.items():
            np.testing.assert_array_equal(now[:, ours], was[:, theirs])
        np.testing.assert_array_equal(now[:, 0], fresh[:, 0])
    was, now, fresh = (kernel(tree, 'category', -1) for tree in (old, new, drawn[0]))
    for ours, theirs in rows.items():
        np.testing.assert_array_equal(now[:, ours, 1:], was[:, theirs][:, [1, 2, 0]])  # human, chair, ball
        np.testing.assert_array_equal(now[:, ours, 0], fresh[:, ours, 0])
    np.testing.assert_array_equal(now[:, 0], fresh[:, 0])


@pytest.mark.parametrize('parts', [('foot', 'head', 'hand'), ()])
def test_what_is_read_from_a_part_map_follows_the_names_of_parts(tmp_path, parts):
    options = TINY | {'part_context': True, 'shared': False}
    before, after = make_task(options, WORDS), make_task(options, dataclasses.replace(OTHER, parts=parts))
    old, _ = saved(tmp_path, before)
    drawn = draw(after, BATCH | {'relation/parts': np.zeros((2, 4, len(parts)), np.uint8)}, seed=1)
    new, _, _ = load_network(tmp_path / 'network.npz', after.network, after.vocabulary, *drawn)
    neck = before.network.neck
    kernel = lambda tree: tree['relation_points']['hidden_subject']['kernel'].reshape(9, -1, 32)
    was, now, fresh = (kernel(tree) for tree in (old, new, drawn[0]))
    np.testing.assert_array_equal(now[:, :neck], was[:, :neck])
    if parts:  # none, foot, hand
        np.testing.assert_array_equal(now[:, neck + np.array([0, 1, 3])], was[:, neck + np.array([0, 2, 1])])
        np.testing.assert_array_equal(now[:, neck + 2], fresh[:, neck + 2])
    else:
        assert now.shape[1] == neck


def test_among_the_same_names_it_is_the_same_network(tmp_path):
    task = make_task(TINY, WORDS)
    params, state = saved(tmp_path, task)
    fresh = draw(task, BATCH, seed=1)
    *found, known = load_network(tmp_path / 'network.npz', task.network, task.vocabulary, *fresh)
    jax.tree.map(np.testing.assert_array_equal, tuple(found), (params, state))
    assert known == {'entities': 3, 'relations': 3, 'parts': 2}


def test_a_file_says_what_it_holds(tmp_path):
    words = dataclasses.replace(WORDS, symmetric=('sit on',), mirrored=(('hand', 'foot'),))
    task = make_task(TINY | {'relation_point': 'midpoint', 'mean': (0.1, 0.2, 0.3)}, words)
    saved(tmp_path, task)
    assert describe(tmp_path / 'network.npz') == (task.network, words, (64, 48))
    with np.load(tmp_path / 'network.npz') as file:
        arrays = dict(file)
    for key, value, message in (
        ('network', json.dumps({'trunk': 'vit'}), r"trunk.*'vit'"),
        ('network', json.dumps({'colour': 1}), 'colour'),
        ('vocabulary', json.dumps(['person']), 'list'),
        ('size', [64], 'unpack'),
    ):
        np.savez(tmp_path / 'other.npz', **{**arrays, key: np.array(value)})
        with pytest.raises(ValueError, match=rf'other\.npz describes no network .*{message}.*: write it with'):
            describe(tmp_path / 'other.npz')


def test_one_list_of_names_and_names_that_nobody_shares():
    old, new = np.arange(6.0).reshape(2, 3), -np.ones((2, 2))
    np.testing.assert_array_equal(by_name(old, new, (['a', 'b', 'c'],), (['c', 'd'],)), [[2, -1], [5, -1]])
    np.testing.assert_array_equal(by_name(old, new, (['a', 'b', 'c'],), (['d', 'e'],)), new)
    assert (new == -1).all()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'mean': (0.5, 0.5, 0.5)}, r'model\.mean is \[0\.47, .* there and \[0\.5, 0\.5, 0\.5\] here'),
        ({'hidden': 24}, r'model\.hidden is \d+ there and 24 here, .*; give this one the options of that'),
        ({'relation_point': 'midpoint'}, r'model\.relation_point is shifted there and midpoint here'),
    ],
)
def test_another_network_is_refused_by_what_differs(tmp_path, options, message):
    saved(tmp_path, make_task(TINY, WORDS))
    task = make_task(TINY | options, WORDS)
    with pytest.raises(ValueError, match=message):
        load_network(tmp_path / 'network.npz', task.network, WORDS, {}, {})


def test_other_branches_and_other_files_are_refused(tmp_path):
    task = make_task(TINY, WORDS)
    assert isinstance(task, SmsTask)
    for params in (jax.eval_shape(two_stage.make_task(TINY, WORDS).init, jax.random.key(0), BATCH)[0], {}):
        with pytest.raises(ValueError, match='is not handed over, only one of the branches backbone'):
            save_network(tmp_path / 'n.npz', Description(task.network, WORDS, (64, 48)), params, {})
    np.savez(tmp_path / 'n.npz', x=np.ones(3))
    with pytest.raises(ValueError, match=r'n\.npz is None version None.*write it with jaxrec sms export'):
        load_network(tmp_path / 'n.npz', task.network, WORDS, {}, {})


@pytest.mark.parametrize('shared', [True, False])
def test_where_there_were_no_parts_their_branches_are_drawn(tmp_path, shared):
    options = TINY | {'shared': shared}
    task, without = (make_task(options, words) for words in (WORDS, Vocabulary(WORDS.entities, WORDS.relations)))
    old, old_state = saved(tmp_path, without)
    drawn = draw(task, BATCH, seed=1)
    params, state, known = load_network(tmp_path / 'network.npz', task.network, WORDS, *drawn)
    jax.tree.map(np.testing.assert_array_equal, state, old_state)
    jax.tree.map(np.testing.assert_array_equal, params['parsing'], drawn[0]['parsing'])
    for name, layer in params['relation_points'].items():
        source = drawn[0] if 'parts' in name else old
        jax.tree.map(np.testing.assert_array_equal, layer, source['relation_points'][name])
    jax.tree.map(np.testing.assert_array_equal, params['backbone'], old['backbone'])
    assert known['parts'] == 0


def test_a_start_from_a_network_of_another_meaning_is_refused():
    task = make_task(TINY, WORDS)
    task.check_start(TINY | {'weights': '', 'keep': 5, 'features': {}})  # what may differ
    for name, value in (('shift', 0.25), ('divisor', 7.0), ('mean', (0.5, 0.5, 0.5))):
        with pytest.raises(ValueError, match=rf'to start from is of another network: model\.{name} is'):
            task.check_start(TINY | {name: value})
    pairs = two_stage.make_task({'size': 'tiny', 'pair_divisor': 16.0}, WORDS)
    pairs.check_start({'size': 'tiny', 'pair_divisor': 16.0})
    for before in ({'pair_divisor': 2.0}, {}):  # 0 takes `divisor`
        with pytest.raises(ValueError, match=r'model\.pair_divisor is \d\.0 there and 16\.0 here'):
            pairs.check_start({'size': 'tiny', **before})
