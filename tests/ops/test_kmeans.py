"""Plain k-means, nearest centroids and means against loops; blocks change nothing."""

import numpy as np
import pytest

from jaxrec.ops import kmeans as ops
from tests.oracles import kmeans as oracle


def drawn(size=50, width=4, seed=0, far=0.0):
    return (np.random.default_rng(seed).normal(size=(size, width)) + far).astype(np.float32)


class Slices:
    """Vectors that are read in slices and by ascending integers, as those of a file."""

    def __init__(self, array):
        self.shape, self._array = array.shape, array

    def __getitem__(self, index):
        if not isinstance(index, slice):
            assert (np.diff(index) > 0).all()
        return self._array[index].copy()


@pytest.mark.parametrize('block_bytes', [1, 100, 1 << 20])
@pytest.mark.parametrize('far', [0, 3000])
@pytest.mark.parametrize('clusters', [1, 7, 50])
def test_nearest_is_the_loop(monkeypatch, block_bytes, far, clusters):
    monkeypatch.setattr(ops, 'BLOCK_BYTES', block_bytes)
    items = drawn(far=far)
    centroids = ops.first_centroids(items, clusters, seed=2)
    codes, distances = ops.nearest(Slices(items), centroids)
    want, apart = oracle.nearest(items, centroids)
    np.testing.assert_array_equal(codes, want)
    np.testing.assert_allclose(distances, apart, rtol=1e-5, atol=1e-6)
    assert codes.dtype == np.int32 and distances.dtype == np.float32


def test_a_stray_first_centroid_rounds_nothing_away():
    items = drawn()
    centroids = np.concatenate([np.full((1, 4), 1e4, np.float32), items[:15]])
    np.testing.assert_array_equal(ops.nearest(items, centroids)[0], oracle.nearest(items, centroids)[0])


def test_of_equally_near_centroids_the_first_wins():
    items = np.array([[1, 1], [3, 0], [0, 0]], np.float32)
    centroids = np.array([[2, 2], [0, 0], [2, 0], [2, 2], [4, 0]], np.float32)
    assert ops.nearest(items, centroids)[0].tolist() == [0, 2, 1]


def test_nothing_is_near_nothing():
    codes, distances = ops.nearest(np.zeros((0, 3), np.float32), np.ones((2, 3)))
    assert codes.shape == distances.shape == (0,)


def test_a_few_new_vectors_compile_few_programs():
    centroids = drawn(5)
    before = ops._nearest_of_block._cache_size()
    for size in (5, 6, 7, 8, 8):
        ops.nearest(drawn(size, seed=size), centroids)
    assert ops._nearest_of_block._cache_size() == before + 1


@pytest.mark.parametrize('block_bytes', [1, 100, 1 << 20])
def test_means_are_the_loop_and_empty_ones_zero(monkeypatch, block_bytes):
    monkeypatch.setattr(ops, 'BLOCK_BYTES', block_bytes)
    items = drawn(far=100)
    codes = np.random.default_rng(1).integers(0, 8, len(items)) // 2 * 2  # odd clusters are empty
    means, counts = ops.cluster_means(Slices(items), codes, 9)
    for k in range(9):
        own = items[codes == k].astype(np.float64)
        assert counts[k] == len(own)
        np.testing.assert_allclose(means[k], own.mean(0) if len(own) else 0, rtol=1e-6)
    assert means.dtype == np.float32


@pytest.mark.parametrize(('clusters', 'tolerance'), [(1, 0), (6, 0), (6, 0.1), (20, 0), (50, 0)])
def test_plain_kmeans_is_the_loop(clusters, tolerance):
    items = drawn()
    start = ops.first_centroids(items, clusters, seed=1)
    for passes in (1, 3, 30):
        got = ops.plain_kmeans(Slices(items), start, passes=passes, tolerance=tolerance)
        codes, centroids, made, moved = oracle.plain(items, start, passes, tolerance)
        np.testing.assert_array_equal(got.codes, codes)
        np.testing.assert_allclose(got.centroids, centroids, rtol=1e-5, atol=1e-6)
        assert (got.passes, got.moved) == (made, moved)
    assert got.passes < 30


def test_empty_clusters_take_the_farthest():
    items = np.array([[0, 0], [1, 0], [0, 1], [40, 0], [0, 60], [90, 0]], np.float32)
    start = np.array([[0, 0], [-500, 0], [-500, 0], [-600, 0]], np.float32)
    got = ops.plain_kmeans(items, start, passes=1)
    assert got.centroids[1:].tolist() == [[90, 0], [0, 60], [40, 0]]
    codes, centroids, *_ = oracle.plain(items, start, 4)
    got = ops.plain_kmeans(items, start, passes=4, tolerance=0)
    np.testing.assert_array_equal(got.codes, codes)
    np.testing.assert_allclose(got.centroids, centroids, rtol=1e-6)
    assert len(set(got.codes.tolist())) == 4


def test_clusters_of_equal_vectors_stay_empty():
    got = ops.plain_kmeans(np.ones((5, 2), np.float32), np.zeros((3, 2)), passes=9)
    assert set(got.codes.tolist()) == {0} and np.isfinite(got.centroids).all()


def test_first_centroids_are_distinct_vectors_drawn_by_seed():
    items = drawn()
    one, same, other = (ops.first_centroids(Slices(items), 20, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any() and len(np.unique(one, axis=0)) == 20
    assert {tuple(row) for row in one} <= {tuple(row) for row in items}
    assert (ops.nearest(one, items)[0][:-1] > ops.nearest(one, items)[0][1:]).any()  # not in the items' order
    everything = ops.first_centroids(items, len(items), 0)
    assert sorted(map(tuple, everything)) == sorted(map(tuple, items))


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: ops.first_centroids(drawn(5), 6, 0), '6 clusters of 5 vectors: give from 1 cluster'),
        (lambda: ops.first_centroids(drawn(5)[0], 1, 0), r'vectors of shape \(4,\): give a matrix \[V, D\]'),
        (lambda: ops.first_centroids(np.ones((4, 0)), 1, 0), r'shape \(4, 0\): .*at least one column'),
        (
            lambda: ops.nearest(drawn(5), np.ones((2, 3))),
            r'vectors \(5, 4\) and centroids \(2, 3\): .*as these centroids were fitted to',
        ),
        (lambda: ops.nearest(drawn(5), np.full((2, 4), np.nan)), 'vector 0 has numbers that are not finite'),
        (lambda: ops.plain_kmeans(drawn(5), drawn(2), passes=0), '0 passes .*: at least one pass'),
        (lambda: ops.plain_kmeans(drawn(5), drawn(2), tolerance=-1.0), 'tolerance -1.0: .*from 0 to below 1'),
        (lambda: ops.plain_kmeans(drawn(5), drawn(6)), '6 clusters of 5 vectors'),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf, 1e16])
@pytest.mark.parametrize('row', [0, 3, 4])
def test_numbers_are_refused_by_their_row(monkeypatch, bad, row):
    monkeypatch.setattr(ops, 'BLOCK_BYTES', 32)
    items = drawn(5)
    items[row, 2] = bad
    for call in (lambda: ops.nearest(items, drawn(2)), lambda: ops.cluster_means(items, np.zeros(5, np.int32), 1)):
        with pytest.raises(ValueError, match=rf'vector {row} has numbers .*: leave it out, or mend it'):
            call()
