"""The flat trie against one of dicts: what may follow, where it leads, who is there, who enters later."""

import itertools

import jax
import numpy as np
import pytest

from jaxrec.ops.generation.trie import (
    NONE,
    ROOT,
    allowed,
    build_trie,
    child,
    children,
    find,
    leaf_count,
    leaf_items,
    step,
)
from tests.oracles import beam as oracle

SIZES = (4, 3, 5)


def catalogue(count, seed=0):
    return np.random.default_rng(seed).integers(0, SIZES, (count, 3)).astype(np.int32)


def prefixes(depth):
    return list(itertools.product(*map(range, SIZES[:depth])))


@pytest.mark.parametrize(('count', 'capacity'), [(1, None), (30, None), (30, 47)])
def test_it_follows_as_the_trie_of_dicts_does(count, capacity):
    codes = catalogue(count)
    following = oracle.dict_trie(codes)
    trie = build_trie(codes, SIZES, capacity=capacity)
    for level in range(3):
        asked = prefixes(level)
        nodes = np.array([ROOT] * len(asked), np.int32)
        for depth in range(level):
            nodes = step(trie, depth, nodes, np.array([prefix[depth] for prefix in asked]))
        want = np.array([[c in following.get(prefix, ()) for c in range(SIZES[level])] for prefix in asked])
        np.testing.assert_array_equal(allowed(trie, level, nodes), want)
        found = jax.tree.map(np.asarray, children(trie, level, nodes))
        code, node = map(np.asarray, child(trie, level, nodes, np.zeros(len(asked), np.int32)))
        for at, prefix in enumerate(asked):
            assert found.codes[at][found.exist[at]].tolist() == sorted(following.get(prefix, ()))
            assert node[at] == found.nodes[at][0]
            assert node[at] == NONE or code[at] == min(following[prefix])
        ids = oracle.leaves(codes)
        below = [sum(leaf[:level] == prefix for leaf in ids) for prefix in asked]
        np.testing.assert_array_equal(leaf_count(trie, level, nodes), below)


def test_leaves_are_numbered_in_order_and_hold_all_that_share_an_id():
    codes = catalogue(40)
    ids = oracle.leaves(codes)
    assert len(ids) < 40, 'no collision, nothing to test'
    trie = build_trie(codes, SIZES, capacity=50)
    asked = np.array(prefixes(3)).reshape(2, -1, 3)
    leaf = np.asarray(find(trie, asked))
    want = [ids.index(tuple(row)) if tuple(row) in ids else NONE for row in asked.reshape(-1, 3).tolist()]
    np.testing.assert_array_equal(leaf.reshape(-1), want)
    items = np.asarray(leaf_items(trie, leaf, 6))
    for place in np.ndindex(leaf.shape):
        group = np.flatnonzero((codes == asked[place]).all(-1))
        np.testing.assert_array_equal(items[place], np.pad(group, (0, 6 - len(group)), constant_values=NONE))
    np.testing.assert_array_equal(leaf_items(trie, leaf, 1)[..., 0], items[..., 0])


def test_nothing_follows_no_node_and_codes_out_of_range():
    trie = build_trie(catalogue(30), SIZES)
    none = np.array([NONE])
    for level in range(3):
        assert not allowed(trie, level, none).any()
        assert step(trie, level, none, np.array([0])) == NONE
        assert leaf_count(trie, level, none) == 0
        for code in (-1, SIZES[level], 2**31 - 1):
            assert step(trie, level, np.array([ROOT]), np.array([code])) == NONE
    assert (leaf_items(trie, none, 2) == NONE).all()


def test_an_empty_catalogue_has_a_root_and_no_more():
    trie = build_trie(np.zeros((0, 3), np.int32), SIZES)
    assert not allowed(trie, 0, np.array([ROOT])).any()
    assert find(trie, np.zeros((1, 3), np.int32)) == NONE
    assert leaf_count(trie, 0, np.array([ROOT])) == 0


def test_new_items_enter_a_compiled_program():
    codes = catalogue(40)
    traces = []

    @jax.jit
    def look(trie, asked):
        traces.append(asked.shape)
        return leaf_items(trie, find(trie, asked), 8)

    for count in (30, 35, 40):
        trie = build_trie(codes[:count], SIZES, capacity=40)
        found = np.asarray(look(trie, codes))
        for row, ids in zip(codes, found, strict=True):
            assert ids[ids != NONE].tolist() == np.flatnonzero((codes[:count] == row).all(-1)).tolist()
    assert len(traces) == 1


def test_ids_too_long_for_one_integer_are_sorted_too():
    sizes = (2**31 - 1,) * 3
    codes = np.random.default_rng(0).integers(0, sizes, (20, 3)).astype(np.int32)
    trie = build_trie(codes, sizes)
    order = sorted(range(20), key=lambda v: codes[v].tolist())
    np.testing.assert_array_equal(trie.items, order)
    np.testing.assert_array_equal(find(trie, codes[order]), range(20))


@pytest.mark.parametrize(
    ('codes', 'capacity', 'message'),
    [
        (np.zeros((2, 2), np.int32), None, r'shape \(2, 2\) and int32 for 3 levels: give integers of shape'),
        (np.zeros((2, 3)), None, 'float64 for 3 levels: give integers'),
        (np.array([[0, 0, 0], [0, 3, 0]]), None, 'item 1 has the code 3 at level 1: codes lie from 0 to 2'),
        (np.array([[-1, 0, 0]]), None, 'item 0 has the code -1 at level 0'),
        (np.zeros((2, 3), np.int32), 1, 'catalogue of 2 items and a capacity of 1: give one from 2 on'),
    ],
)
def test_what_is_no_catalogue_is_refused(codes, capacity, message):
    with pytest.raises(ValueError, match=message):
        build_trie(codes, SIZES, capacity=capacity)
