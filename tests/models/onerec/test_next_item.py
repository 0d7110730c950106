"""Next items ranked by beams, against scores of every item by teacher forcing."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.logs.schema import Column
from jaxrec.models.onerec.next_item import make_task, ranked, trie_arrays
from jaxrec.models.onerec.options import read_network
from jaxrec.models.onerec.tokenizing.semantic_ids import assign_ids
from tests.models.onerec.test_network import ITEMS, SMALL, make_batch

SCHEMA = {'item': Column('categorical', 'item', ITEMS, 1)}


@pytest.fixture(scope='module')
def world():
    """(task, params, state, batch of 3 requests): 7 items of 2 levels, beams that name 4 of them."""
    network = read_network({**SMALL, 'levels': (3, 4), 'session': 1, 'encoder_layers': 1, 'decoder_layers': 1})
    codes = np.array([[-1, -1], [-1, -1], [0, 1], [0, 3], [1, 0], [2, 0], [2, 1], [2, 2], [1, 3]], np.int32)
    task = ranked(network, codes, beams=4)
    params, state = jax.jit(task.init)(jax.random.key(0), make_batch(network))
    return task, jax.tree.map(lambda x: 2 * x, params), state, make_batch(network)


@pytest.fixture(scope='module')
def predict(world):
    return jax.jit(lambda state, batch: world[0].predict(world[1], state, {}, batch))


def test_ranks_are_those_of_all_items_scored_one_by_one(world, predict):
    _, _, state, batch = world
    scores = np.stack(
        [
            np.asarray(predict(state, {**batch, 'target/item': np.full((3, 1), i)})['token_log_prob']).sum((1, 2))
            for i in range(2, ITEMS)
        ],
        1,
    )  # [B, 7]
    wide = dataclasses.replace(world[0], beams=7)  # as many beams as items: nothing is pruned
    got = jax.jit(lambda: wide.predict(world[1], state, {}, batch))()
    for b in range(3):
        order = np.argsort(-scores[b])
        np.testing.assert_array_equal(got['items'][b], order + 2)
        np.testing.assert_allclose(got['scores'][b], scores[b][order], rtol=1e-4, atol=1e-4)
        assert got['rank'][b] == 1 + list(order + 2).index(batch['target/item'][b, 0])


def test_an_item_that_no_beam_names_is_not_reached(world, predict):
    _, _, state, batch = world
    named = np.asarray(predict(state, batch)['items'])
    missed = np.array([[next(i for i in range(2, ITEMS) if i not in row)] for row in named])
    got = predict(state, {**batch, 'target/item': missed})
    assert named.shape == (3, 4) and np.isinf(got['rank']).all()
    found = predict(state, {**batch, 'target/item': named[:, 2:3]})
    np.testing.assert_array_equal(found['rank'], [3, 3, 3])


def test_metrics_of_ranks_and_tokens(world, predict):
    task, _, state, batch = world
    named = np.asarray(predict(state, batch)['items'])
    batch = {**batch, 'target/item': named[:, 1:2]}
    evaluator = task.evaluator()
    evaluator.add(batch, jax.device_get(predict(state, batch)))
    got = evaluator.compute()
    assert (got['recall@5'], got['ndcg@10']) == (1, pytest.approx(1 / np.log2(3)))
    assert got['coverage'] == len(np.unique(named)) / 7 and got['users'] == 3
    tokens = np.asarray(predict(state, batch)['token_log_prob'])
    assert got['ntp'] == pytest.approx(-tokens.mean(), rel=1e-5) and 'ntp_2' in got


def test_items_are_those_of_the_state_whatever_ids_the_task_was_made_with(world, predict):
    task, _, state, batch = world
    place = np.append([0, 1], np.random.default_rng(1).permutation(ITEMS - 2) + 2)  # where items move to
    codes = task.codes[np.argsort(place)]
    other = ranked(task.network, codes, beams=4).trie
    assert other.widest == task.trie.widest
    moved = {**state, 'codes': jnp.asarray(codes), 'trie': trie_arrays(other)}
    there = {**batch, **{key: place[batch[key]] for key in ('history/item', 'target/item')}}
    here, got = predict(state, batch), predict(moved, there)
    np.testing.assert_array_equal(got['items'], place[here['items']])
    np.testing.assert_array_equal(got['rank'], here['rank'])


def test_a_state_of_wider_nodes_than_the_search_looks_at_is_refused(world):
    task, params, state, batch = world
    narrow = dataclasses.replace(task, trie=dataclasses.replace(task.trie, widest=(4, 2)))
    evaluator = task.evaluator()
    evaluator.add(batch, jax.device_get(jax.jit(lambda: narrow.predict(params, state, {}, batch))()))
    with pytest.raises(ValueError, match='3 of 3 ranks are below 1 or NaN'):
        evaluator.compute()


def test_the_state_carries_the_catalogue(world):
    task, _, state, _ = world
    assert sorted(state) == ['codes', 'trie'] and state['trie']['items'].dtype == jnp.int32
    chex.assert_trees_all_equal(state['trie'], trie_arrays(task.trie))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'beams': 9}, r'model\.beams = 9: give at least 10, since recall@10'),
        ({'beams': 20.0}, r'model\.beams = 20\.0: give at least 10'),
        ({'session': 2}, r'model\.session = 2: the next item is a session of 1'),
        ({'ranks': False}, r'model\.ids: 2 items share the ID of another.*leave model\.ranks at True'),
    ],
)
def test_what_cannot_be_ranked(tmp_path, options, message):
    codes = np.array([[0, 1], [0, 1], [1, 0], [2, 0], [0, 1], [2, 2], [1, 3]])
    assign_ids(codes, 4).save(tmp_path / 'ids.npz')
    given = {'ids': str(tmp_path / 'ids.npz'), 'size': 'tiny', 'experts': 0}
    made = make_task(given, SCHEMA)
    assert (made.beams, made.network.session, made.network.levels) == (20, 1, (4, 4, 16))
    assert make_task({**given, 'beams': 12}, SCHEMA).beams == 12
    with pytest.raises(ValueError, match=message):
        make_task({**given, **options}, SCHEMA)
