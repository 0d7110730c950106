"""Algorithm 1 of OneRec, in memory and streamed, against the loop: the same assignment to the last vector."""

import numpy as np
import pytest

from jaxrec.ops import balanced_kmeans as ops
from jaxrec.ops.kmeans import first_centroids
from tests.oracles import kmeans as oracle

KINDS = {'in memory': ops.balanced_kmeans, 'streamed': ops.balanced_kmeans_streamed}


def drawn(kind, size=60, width=5, seed=0):
    rng = np.random.default_rng(seed)
    items = rng.normal(size=(size, width))
    if kind == 'far away':
        items = items + 3000
    if kind == 'grid':  # nearly all distances are equal to others, and exact in float32
        items = rng.integers(0, 2, (size, width))
    if kind == 'duplicates':
        items = items[rng.integers(0, size // 4, size)]
    if kind == 'one point':
        items = np.ones((size, width))
    return items.astype(np.float32)


def check(method, items, clusters, *, order_seed=None, passes=6, tolerance=0.0, **more):
    start = first_centroids(items, clusters, seed=1)
    got = method(items, start, order_seed=order_seed, passes=passes, tolerance=tolerance, **more)
    orders = ops.visit_orders(clusters, passes, order_seed)
    codes, centroids, made, moved = oracle.balanced(items, start, orders, tolerance)
    np.testing.assert_array_equal(got.codes, codes)
    np.testing.assert_allclose(got.centroids, centroids, rtol=1e-6, atol=1e-6)
    assert (got.passes, got.moved) == (made, moved)
    assert got.codes.dtype == np.int32 and got.centroids.dtype == np.float32
    counts = np.bincount(got.codes, minlength=clusters)
    np.testing.assert_array_equal(counts, ops.quotas(len(items), clusters))
    return got


@pytest.mark.parametrize('method', KINDS.values(), ids=KINDS)
@pytest.mark.parametrize('kind', ['normal', 'far away'])
@pytest.mark.parametrize(('clusters', 'order_seed'), [(1, None), (6, None), (7, None), (7, 3), (59, 4), (60, 0)])
def test_it_is_the_loop(method, kind, clusters, order_seed):
    check(method, drawn(kind), clusters, order_seed=order_seed)


@pytest.mark.parametrize('method', KINDS.values(), ids=KINDS)
@pytest.mark.parametrize('place', [0, 3])
@pytest.mark.parametrize('far', [1e3, 1e5])
def test_a_stray_centroid_costs_the_others_nothing(method, place, far):
    items = drawn('normal')
    items[place] = far
    got = method(items, items[:7], passes=1)
    codes, *_ = oracle.balanced(items, items[:7], ops.visit_orders(7, 1, None), 0.0)
    np.testing.assert_array_equal(got.codes, codes)


@pytest.mark.parametrize('method', KINDS.values(), ids=KINDS)
@pytest.mark.parametrize('clusters', [4, 8, 32])  # of quotas whose means stay exact
def test_ties_go_to_the_lower_index(method, clusters):
    check(method, drawn('grid', size=64), clusters, passes=1)
    check(method, drawn('one point', size=64), clusters)


@pytest.mark.parametrize('clusters', [5, 7, 60])
def test_equal_vectors_are_taken_by_index(clusters):
    for seed in range(4):
        check(ops.balanced_kmeans, drawn('duplicates', seed=seed), clusters)


def test_zeros_of_either_sign_are_equal():
    items = np.array([[-0.0, 1], [0.0, 1], [-0.0, 1], [0.0, 1]], np.float32)
    assert ops.balanced_kmeans(items, items[[0, 1]], passes=1).codes.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize('group', [1, 2, 3, 7, 100])
@pytest.mark.parametrize('block_bytes', [1, 200, 1 << 20])
@pytest.mark.parametrize('order_seed', [None, 2])
def test_groups_and_blocks_change_nothing(monkeypatch, group, block_bytes, order_seed):
    monkeypatch.setattr(ops, 'BLOCK_BYTES', block_bytes)
    items = drawn('normal', size=23)
    got = check(ops.balanced_kmeans_streamed, items, 7, passes=2, order_seed=order_seed, group=group)
    start = first_centroids(items, 7, seed=1)
    same = ops.balanced_kmeans(items, start, passes=2, tolerance=0, order_seed=order_seed)
    np.testing.assert_array_equal(got.codes, same.codes)
    np.testing.assert_array_equal(got.centroids, same.centroids)


def test_ties_survive_blocks_and_cuts(monkeypatch):
    monkeypatch.setattr(ops, 'BLOCK_BYTES', 60)
    for group in (1, 3):
        check(ops.balanced_kmeans_streamed, drawn('grid', size=64, width=3), 16, passes=1, group=group)


def test_it_stops_when_few_enough_move():
    items = drawn('normal', size=200)
    still = check(ops.balanced_kmeans, items, 10, passes=100)
    assert still.moved == 0 and 2 < still.passes < 100
    early = check(ops.balanced_kmeans, items, 10, passes=100, tolerance=0.2)
    assert 0 < early.moved <= 40 and early.passes < still.passes
    assert check(ops.balanced_kmeans, items, 10, passes=2).passes == 2


def test_orders_are_permutations_drawn_by_seed():
    by_index, one, same, other = (ops.visit_orders(9, 4, seed) for seed in (None, 1, 1, 2))
    np.testing.assert_array_equal(by_index, np.tile(np.arange(9), (4, 1)))
    np.testing.assert_array_equal(one, same)
    assert (np.sort(one, 1) == np.arange(9)).all() and (one != other).any() and (one[0] != one[1]).any()


@pytest.mark.parametrize(('items', 'clusters'), [(10, 1), (10, 3), (10, 10), (11, 4)])
def test_quotas_add_up(items, clusters):
    quota = ops.quotas(items, clusters)
    assert quota.sum() == items and quota.max() - quota.min() <= 1 and (np.diff(quota) <= 0).all()


def test_one_program_serves_a_shape():
    items = drawn('normal', size=41)
    before = ops._run._cache_size(), ops._distances_of_block._cache_size()
    for seed in range(3):
        start = first_centroids(items, 5, seed)
        for method in KINDS.values():
            method(items + seed, start, passes=4, order_seed=seed, tolerance=0.01 * seed)
    after = ops._run._cache_size(), ops._distances_of_block._cache_size()
    assert (after[0] - before[0], after[1] - before[1]) == (1, 1)


@pytest.mark.parametrize('method', KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'centroids': np.zeros((2, 4))}, r'vectors \(9, 3\) and centroids \(2, 4\): give .* of one width'),
        ({'centroids': np.zeros((10, 3))}, '10 clusters of 9 vectors: give from 1 cluster to as many'),
        ({'centroids': np.zeros((0, 3))}, '0 clusters of 9 vectors'),
        ({'items': np.ones(9)}, r'vectors \(9,\) and centroids'),
        ({'items': np.array([[1.0] * 3] * 8 + [[1, np.nan, 1]])}, 'vector 8 has numbers that are not finite'),
        ({'items': np.array([[1e16] * 3] + [[1.0] * 3] * 8)}, r'vector 0 .* beyond 1e\+15: leave it out'),
        ({'centroids': np.array([[0, 0, 0], [np.inf, 0, 0]])}, 'vector 1 has numbers that are not finite'),
        ({'passes': 0}, '0 passes with tolerance 0.001: at least one pass'),
        ({'tolerance': 1.0}, 'tolerance 1.0: .* a share of vectors from 0 to below 1'),
    ],
)
def test_what_cannot_be_is_refused(method, change, message):
    arguments = {'items': np.ones((9, 3)), 'centroids': np.zeros((2, 3))} | change
    with pytest.raises(ValueError, match=message):
        method(**arguments)


def test_groups_of_nothing_are_refused():
    with pytest.raises(ValueError, match='groups of 0 clusters: give at least 1'):
        ops.balanced_kmeans_streamed(np.ones((9, 3)), np.zeros((2, 3)), group=0)
