"""Balanced k-means, Algorithm 1 of OneRec (arXiv 2502.18965): clusters of equal numbers of vectors.

A pass frees all vectors and visits the clusters one after the other: each takes the w = V / K free vectors nearest to
its centroid, and its centroid becomes their mean at once. What the paper leaves open: where K does not divide V the
first V mod K clusters take one vector more; of equal distances the lower index goes first; passes are capped.

V vectors, D width, K clusters, w width of a cluster, G clusters of a group, n vectors of a block, P passes.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.ops.kmeans import Clusters, Rows, Seed, check_finite, check_passes, check_rows, cluster_means, middle

GROUP = 128  # clusters whose distances are computed in one reading of the file
BLOCK_BYTES = 1 << 23  # of the distances of a block


def quotas(items: int, clusters: int) -> np.ndarray:
    """How many of V vectors each of K clusters takes, int32 [K]: V / K, rounded up in the first V mod K clusters."""
    return (items // clusters + (np.arange(clusters) < items % clusters)).astype(np.int32)


def visit_orders(clusters: int, passes: int, seed: Seed | None) -> np.ndarray:
    """In which order each of P passes visits the K clusters, int32 [P, K]; by index, as in the paper, for seed None.

    A seed draws a new order for every pass, so that no cluster always comes last; the passes then may never converge.
    """
    by_index = np.tile(np.arange(clusters, dtype=np.int32), (passes, 1))
    return by_index if seed is None else np.random.default_rng(seed).permuted(by_index, axis=1)


def balanced_kmeans(
    items: np.ndarray,
    centroids: np.ndarray,
    *,
    order_seed: Seed | None = None,
    passes: int = 30,
    tolerance: float = 1e-3,
) -> Clusters:
    """Clusters vectors in memory by Algorithm 1 of OneRec (arXiv 2502.18965).

    Equal vectors have equal distances on any hardware, so that the lower index decides among them. A pass takes K
    matrix-vector products; nothing larger than the vectors is allocated.

    Args:
      items: float [V, D].
      centroids: float [K, D], to start from.
      order_seed: of the order of visits, see `visit_orders`; None for that of the indices.
      passes: at most so many.
      tolerance: stop when at most this share of the vectors moved.

    Returns:
      The clusters, `centroids` the means of the vectors of each code.

    Raises:
      ValueError: shapes, numbers, passes or a tolerance that cannot be.
    """
    total, centroids = _check(items, centroids, passes, tolerance)
    items = check_finite(np.asarray(items, np.float32))
    origin = middle(centroids)
    quota, orders = quotas(total, len(centroids)), visit_orders(len(centroids), passes, order_seed)
    still = int(tolerance * total)
    codes, made, moved = _run(items - origin, _first_equal(items), centroids - origin, quota, orders, still)
    codes = np.asarray(codes)
    return Clusters(cluster_means(items, codes, len(centroids))[0], codes, int(made), int(moved))


class _State(NamedTuple):
    centroids: jax.Array  # float32 [K, D]
    codes: jax.Array  # int32 [V], -1 for none
    made: jax.Array  # int32 []
    moved: jax.Array  # int32 []


@jax.jit
def _run(
    items: jax.Array,
    first_equal: jax.Array,
    centroids: jax.Array,
    quota: jax.Array,
    orders: jax.Array,
    still: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Passes until at most `still` vectors move; codes, passes made, vectors moved in the last."""
    total, clusters = items.shape[0], centroids.shape[0]
    width = -(-total // clusters)
    half_norms = jnp.sum(jnp.square(items), -1) / 2  # [V]

    def visit(step: jax.Array, state: tuple, order: jax.Array) -> tuple[jax.Array, jax.Array]:
        centroids, codes = state
        cluster = order[step]
        product = jnp.matmul(items, centroids[cluster], precision=jax.lax.Precision.HIGHEST)
        # A product's rounding depends on the row it stands in; equal vectors take that of the first of them.
        distance = (half_norms - product).at[first_equal].get(mode='promise_in_bounds')
        _, index = jax.lax.top_k(jnp.where(codes < 0, -distance, -jnp.inf), width)  # of equal ones the first
        taken = jnp.arange(width) < quota[cluster]
        codes = codes.at[jnp.where(taken, index, total)].set(cluster, mode='drop')
        mean = jnp.sum(jnp.where(taken[:, None], items[index], 0), 0) / quota[cluster]
        return centroids.at[cluster].set(mean), codes

    def one_pass(state: _State) -> _State:
        free = jnp.full(total, -1, jnp.int32)
        step = lambda i, held: visit(i, held, orders[state.made])
        centroids, codes = jax.lax.fori_loop(0, clusters, step, (state.centroids, free))
        moved = jnp.sum(codes != state.codes, dtype=jnp.int32)
        return _State(centroids, codes, state.made + 1, moved)

    going_on = lambda state: (state.made < orders.shape[0]) & ((state.made == 0) | (state.moved > still))
    start = _State(centroids, jnp.full(total, -1, jnp.int32), jnp.int32(0), jnp.int32(total))
    end = jax.lax.while_loop(going_on, one_pass, start)
    return end.codes, end.made, end.moved


def _first_equal(items: np.ndarray) -> np.ndarray:
    """int32 [V]: the first vector that is equal to each."""
    rows = np.ascontiguousarray(items + np.float32(0))  # -0 becomes 0: they are one number but not one pattern
    packed = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))[:, 0]
    _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int32)


def balanced_kmeans_streamed(
    items: Rows,
    centroids: np.ndarray,
    *,
    order_seed: Seed | None = None,
    passes: int = 30,
    tolerance: float = 1e-3,
    group: int = GROUP,
) -> Clusters:
    """Clusters vectors of any number by Algorithm 1 of OneRec, reading them in blocks.

    It is exact, not an approximation. In a pass a cluster's choice depends on its old centroid and on which vectors are
    still free, so the clusters of a group, G neighbours in the order of visits, are served by one reading: for the j-th
    of them it keeps the q_1 + ... + q_j nearest vectors of those free before the group, q being quotas. However many of
    these the clusters before it take, q_j remain, and they are the nearest. Distances are computed for free vectors
    alone, K V / 2 of them a pass, as matrix products.

    It differs from `balanced_kmeans` in rounding: means are summed in float64 between passes too, and where the
    distances of two vectors to a centroid differ by less than the rounding of a product, which one is taken may differ,
    even among equal vectors.

    Reads K / (2 G) + 1 times the size of the vectors a pass. Memory: about 9 G^2 w bytes for the shortlists, 9 V bytes
    of codes and indices, a few blocks; 0.4 GB at 10 million vectors and K = 8192.

    Args:
      items, centroids, order_seed, passes, tolerance: as for `balanced_kmeans`.
      group: G, at least 1; larger ones read less often and keep more in memory. The result is the same.

    Returns:
      The clusters, `centroids` the means of the vectors of each code.

    Raises:
      ValueError: shapes, numbers, passes, a tolerance or a group that cannot be.
    """
    total, centroids = _check(items, centroids, passes, tolerance)
    if group < 1:
        raise ValueError(f'groups of {group} clusters: give at least 1')
    codes, moved, made = np.full(total, -1, np.int32), total, 0
    orders = visit_orders(len(centroids), passes, order_seed)
    while made < passes and (not made or moved > int(tolerance * total)):
        found = _streamed_pass(items, centroids, orders[made], min(group, len(centroids)))
        centroids = cluster_means(items, found, len(centroids))[0]
        moved, made, codes = int((found != codes).sum()), made + 1, found
    return Clusters(centroids, codes, made, moved)


def _streamed_pass(items: Rows, centroids: np.ndarray, order: np.ndarray, group: int) -> np.ndarray:
    """int32 [V]: one pass of Algorithm 1, G clusters of the order at a time."""
    quota = quotas(items.shape[0], len(centroids))
    codes = np.full(items.shape[0], -1, np.int32)
    rows = max(1, min(BLOCK_BYTES // (4 * max(group, items.shape[1])), items.shape[0]))
    origin = middle(centroids)
    for first in range(0, len(order), group):
        clusters = order[first : first + group]
        lists = [_Shortlist(size, rows) for size in np.cumsum(quota[clusters]).tolist()]
        sent = np.pad(centroids[clusters], ((0, group - len(clusters)), (0, 0)))
        for index, distances in _distances(items, codes < 0, sent - origin, origin, rows):
            for shortlist, distance in zip(lists, distances, strict=False):  # padding has no list
                shortlist.offer(distance, index)
        for cluster, shortlist in zip(clusters, lists, strict=True):
            codes[shortlist.nearest(codes, quota[cluster])] = cluster
    return codes


def _distances(
    items: Rows, free: np.ndarray, centroids: np.ndarray, origin: np.ndarray, rows: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields int32 [m], the next free vectors, and float32 [G, m], what orders them by distance.

    Those of the next block are computed while the caller looks through a block's.
    """
    begun = _begin(items, np.flatnonzero(free).astype(np.int32), jnp.asarray(centroids), origin, rows)
    ahead = None
    for block in itertools.chain(begun, (None,)):
        if ahead is not None:
            here, distances = ahead
            yield here, np.asarray(distances)[:, : len(here)]
        ahead = block


def _begin(
    items: Rows, index: np.ndarray, centroids: jax.Array, origin: np.ndarray, rows: int
) -> Iterator[tuple[np.ndarray, jax.Array]]:
    """Yields int32 [m], vectors of the index, and float32 [G, n], which need not be computed yet."""
    for first in range(0, len(index), rows):
        here = index[first : first + rows]
        in_one_piece = int(here[-1]) - int(here[0]) + 1 == len(here)
        read = items[int(here[0]) : int(here[-1]) + 1] if in_one_piece else items[here]
        block = check_finite(np.asarray(read, np.float32), int(here[0]))
        if len(block) < rows:
            block = np.pad(block, ((0, rows - len(block)), (0, 0)))
        yield here, _distances_of_block(block, origin, centroids)


@jax.jit
def _distances_of_block(block: jax.Array, origin: jax.Array, centroids: jax.Array) -> jax.Array:
    block = block - origin
    norms = jnp.sum(jnp.square(block), -1) / 2
    return norms - jnp.matmul(centroids, block.T, precision=jax.lax.Precision.HIGHEST)  # [G, n]


class _Shortlist:
    """The nearest vectors so far, of those offered in ascending order of their indices."""

    def __init__(self, size: int, rows: int):
        self._size, self._bound, self._count = size, np.float32(np.inf), 0
        room = size + max(size, rows)
        self._distance, self._index = np.empty(room, np.float32), np.empty(room, np.int32)

    def offer(self, distance: np.ndarray, index: np.ndarray) -> None:
        """Takes in those of [m] that may be among the nearest."""
        near = np.flatnonzero(distance < self._bound)  # an equal one has the higher index and stays outside
        if self._count + len(near) > len(self._index):
            self._cut()
            near = near[distance[near] < self._bound]
        end = self._count + len(near)
        self._distance[self._count : end], self._index[self._count : end] = distance[near], index[near]
        self._count = end

    def _cut(self) -> None:
        """Keeps `size` of more, in the order they came in."""
        distance, index = self._distance[: self._count], self._index[: self._count]
        kept = _lowest(distance, self._size)
        self._count = self._size
        self._distance[: self._size], self._index[: self._size] = distance[kept], index[kept]
        self._bound = self._distance[: self._size].max()

    def nearest(self, codes: np.ndarray, size: int) -> np.ndarray:
        """int32 [size], the nearest of those without a code, of equal ones the lower indices."""
        distance, index = self._distance[: self._count], self._index[: self._count]
        still = codes[index] < 0
        distance, index = distance[still], index[still]
        return index[_lowest(distance, size)]


def _lowest(distance: np.ndarray, size: int) -> np.ndarray:
    """bool [m], marks the `size` lowest, of equal ones the first."""
    if len(distance) <= size:
        return np.ones(len(distance), bool)
    bound = np.partition(distance, size - 1)[size - 1]
    kept = distance < bound
    kept[np.flatnonzero(distance == bound)[: size - int(kept.sum())]] = True
    return kept


def _check(items: Rows, centroids: np.ndarray, passes: int, tolerance: float) -> tuple[int, np.ndarray]:
    centroids = check_finite(np.asarray(centroids, np.float32))
    if centroids.ndim != 2 or centroids.shape[1:] != tuple(items.shape[1:]):
        raise ValueError(
            f'vectors {tuple(items.shape)} and centroids {centroids.shape}: give [V, D] and [K, D] of one width'
        )
    check_passes(passes, tolerance)
    return check_rows(items, len(centroids))[0], centroids
