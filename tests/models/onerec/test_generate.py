"""Generated sessions against scores of all sessions there are."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.models.onerec.generate import catalogue, make_generate
from tests.conftest import slow_but_for
from tests.models.onerec.test_network import ITEMS, make

OPTIONS = {'levels': (3, 2), 'expert_hidden': 5}


def world(**options):
    network, task, params, state, batch = make(**OPTIONS, **options)
    codes = task.codes.copy()
    codes[5] = codes[4]  # one ID, two items
    state = {**state, 'codes': jnp.asarray(codes)}
    return network, task, params, state, batch, codes


def all_sessions(task, params, state, batch, items):
    """{session of items: its log-probability [B]}, by teacher forcing."""
    found, score = {}, jax.jit(lambda *x: task.predict(*x)['token_log_prob'])
    for session in itertools.product(items, repeat=2):
        target = np.tile(np.asarray(session, np.int32), (3, 1))
        scores = score(params, state, {}, {**batch, 'target/item': target})
        found[session] = np.asarray(scores).sum((1, 2))
    return found


@pytest.mark.parametrize('distinct', slow_but_for((True,), (True, False)))
def test_all_beams_are_all_sessions_best_first(distinct):
    network, task, params, state, batch, codes = world()
    ids = {tuple(codes[item]): item for item in range(ITEMS - 1, 1, -1)}  # the first item of each ID
    want = all_sessions(task, params, state, batch, sorted(ids.values()))
    if distinct:
        want = {session: scores for session, scores in want.items() if len(set(session)) == 2}
    beams = len(want) + 3
    generate = make_generate(task, beams=beams, distinct=distinct)
    got = generate(params, state, batch, catalogue(codes, network.levels))
    for b in range(3):
        order = sorted(want, key=lambda session: -want[session][b])
        alive = np.asarray(got.sessions.alive[b])
        assert alive.sum() == len(want) and alive[: len(want)].all()
        np.testing.assert_array_equal(got.items[b, : len(want)], order)
        scores = [want[session][b] for session in order]
        np.testing.assert_allclose(got.scores[b, : len(want)], scores, rtol=1e-4, atol=1e-4)
        assert (np.asarray(got.items[b, len(want) :]) == -1).all()


def test_free_beams_may_be_no_items():
    network, task, params, state, batch, codes = world()
    trie = catalogue(codes, network.levels)
    got = make_generate(task, beams=36, distinct=False, free=True)(params, state, batch, trie)
    legal = {tuple(code): item for item, code in reversed(list(enumerate(codes))) if item > 1}
    assert np.asarray(got.sessions.alive).all()
    for b, k, m in np.ndindex(3, 36, 2):
        assert got.items[b, k, m] == legal.get(tuple(np.asarray(got.sessions.codes[b, k, m])), -1)
    assert (np.asarray(got.items) == -1).any()


def test_fewer_items_and_one_trace():
    network, task, params, state, batch, codes = world()
    generate = make_generate(task, beams=2, items=1)
    trie = catalogue(codes, network.levels)
    one = generate(params, state, batch, trie)
    two = generate(params, state, {**batch, 'history/length': np.zeros(3, np.int32)}, trie)
    assert one.items.shape == (3, 2, 1) and generate._cache_size() == 1
    assert (np.asarray(one.scores) != np.asarray(two.scores)).any()
    np.testing.assert_allclose(two.scores[0], two.scores[1], rtol=1e-6)


def test_a_new_item_is_reached_without_another_program():
    network, task, params, state, batch, codes = world()
    free = [c for c in itertools.product(range(3), range(2)) if c not in set(map(tuple, codes))]
    generate = make_generate(task, beams=6, items=1)
    generate(params, state, batch, catalogue(codes, network.levels, capacity=12))
    grown = np.concatenate([codes, [free[0]]])
    got = generate(params, state, batch, catalogue(grown, network.levels, capacity=12))
    assert generate._cache_size() == 1
    assert (np.asarray(got.items) == ITEMS).any((1, 2)).all()


def test_sessions_that_do_not_exist_have_no_tokens():
    """Dead beams are items -1, which is not the last item."""
    _, task, params, state, batch, _ = world()
    none, beyond = (np.full((3, 1, 2), item, np.int32) for item in (-1, ITEMS))
    for sessions in (none, beyond):
        assert not np.asarray(task.session_log_probs(params, state, batch, sessions)).any()
    histories = [{**batch, 'history/item': np.full((3, 4), item, np.int32)} for item in (-1, ITEMS)]
    scores = [task.predict(params, state, {}, each)['token_log_prob'] for each in histories]
    np.testing.assert_array_equal(*scores)


def test_what_cannot_be_generated():
    network, task, params, state, batch, codes = world()
    long = {**batch, 'history/item': np.full((3, network.history + 1), 2, np.int32)}
    with pytest.raises(ValueError, match=r'histories of \d items; the network reads up to \d: model.history'):
        make_generate(task, beams=2)(params, state, long, catalogue(codes, network.levels))
    with pytest.raises(
        ValueError, match=r'3 items are asked for; the network writes 1 to 2 \(its model.session\): ask'
    ):
        make_generate(task, beams=2, items=3)
    with pytest.raises(ValueError, match='no item has a semantic ID'):
        catalogue(np.full((4, 2), -1), network.levels)
    assert jax.tree.leaves(catalogue(np.array([[-1, -1], [0, 1]]), (1, 2)).items)[0] == 1
