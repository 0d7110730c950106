"""Plain k-means over vectors of any number, and what every k-means needs: nearest centroids and means.

Vectors are read in blocks, so they may be in a file; sums over them are kept on the host in float64.

V vectors, D width, K clusters, n vectors of a block.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

BLOCK_BYTES = 1 << 23  # of the distances, or the vectors, of a block
Seed = int | tuple[int, ...]
LARGEST = 1e15  # of the numbers of a vector; squared and summed, they must fit a float32


class Rows(Protocol):
    """Vectors [V, D]: an array, a memory map, or anything else whose rows are read as from one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(V, D)."""

    def __getitem__(self, index: Any, /) -> Any:
        """The rows of a slice, or of integers [n] in ascending order; [n, D]."""


class Clusters(NamedTuple):
    """What a k-means found.

    Attributes:
      centroids, codes: float32 [K, D], and int32 [V], the cluster of each vector.
      passes, moved: passes over all vectors, and vectors that changed their cluster in the last of them.
    """

    centroids: np.ndarray
    codes: np.ndarray
    passes: int
    moved: int


def first_centroids(items: Rows, clusters: int, seed: Seed) -> np.ndarray:
    """Draws K distinct vectors as the centroids, float32 [K, D], that a k-means starts from.

    Raises:
      ValueError: vectors that are no matrix, or fewer of them than clusters.
    """
    total = check_rows(items, clusters)[0]
    drawn = np.random.default_rng(seed).choice(total, clusters, replace=False)
    order = np.argsort(drawn)
    centroids = np.empty((clusters, items.shape[1]), np.float32)
    centroids[order] = items[drawn[order]]
    return centroids


def nearest(items: Rows, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest centroid of each vector, argmin_k ||r - c_k||^2 (OneRec, arXiv 2502.18965, 4.1).

    Distances are compared by matrix products, whose rounding may decide between two centroids that are almost equally
    near. Of equal ones the first wins.

    Args:
      items, centroids: [V, D] and float [K, D].

    Returns:
      int32 [V], the nearest centroid, and float32 [V], the squared distance to it.

    Raises:
      ValueError: other widths of vectors and centroids, or numbers that are not finite.
    """
    total, width = _check_widths(items, centroids)
    clusters = len(centroids)
    # Fewer vectors than a block take the next power of two, so that a few new ones compile few programs.
    rows = max(1, min(BLOCK_BYTES // (4 * max(clusters, width)), 1 << max(total - 1, 0).bit_length()))
    codes, distances = np.empty(total, np.int32), np.empty(total, np.float32)
    sent, origin = jnp.asarray(centroids, jnp.float32), jnp.asarray(middle(centroids))
    for first, block in blocks(items, rows):
        padded = np.pad(block, ((0, rows - len(block)), (0, 0)))
        code, distance = _nearest_of_block(padded, sent, origin)
        here = slice(first, first + len(block))
        codes[here], distances[here] = code[: len(block)], distance[: len(block)]
    return codes, distances


@jax.jit
def _nearest_of_block(block: jax.Array, centroids: jax.Array, origin: jax.Array) -> tuple[jax.Array, jax.Array]:
    to_all = half_distances(block - origin, centroids - origin)  # [K, n]
    code = jnp.argmin(to_all, 0).astype(jnp.int32)
    return code, jnp.sum(jnp.square(block - centroids[code]), -1)


def middle(centroids: np.ndarray) -> np.ndarray:
    """The median float32 [D] of centroids: products of differences to it round little.

    What all vectors have in common would cost distances their digits; so would a far centroid as the origin.
    """
    return np.median(np.asarray(centroids, np.float32), 0).astype(np.float32)


def half_distances(block: jax.Array, centroids: jax.Array) -> jax.Array:
    """Orders centroids [K, D] as the distances of vectors [n, D] do, by ||c||^2 / 2 - <c, x>; float32 [K, n]."""
    norms = jnp.sum(jnp.square(centroids), -1) / 2
    return norms[:, None] - jnp.matmul(centroids, block.T, precision=jax.lax.Precision.HIGHEST)


def cluster_means(items: Rows, codes: np.ndarray, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Averages the vectors of each cluster, in float64, one pass over blocks.

    Args:
      items, codes: [V, D] and int [V], 0 to K - 1.
      clusters: K.

    Returns:
      float32 [K, D], zeros where a cluster is empty, and int64 [K], the vectors of each.
    """
    counts = np.bincount(codes, minlength=clusters)
    sums = np.zeros((clusters, items.shape[1]))
    for first, block in blocks(items, max(1, BLOCK_BYTES // (8 * items.shape[1]))):
        code = codes[first : first + len(block)]
        order = np.argsort(code, kind='stable')
        found, start = np.unique(code[order], return_index=True)
        sums[found] += np.add.reduceat(block[order], start, axis=0, dtype=np.float64)
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32), counts


def plain_kmeans(items: Rows, centroids: np.ndarray, *, passes: int = 30, tolerance: float = 1e-3) -> Clusters:
    """Lloyd's k-means: every vector joins its nearest centroid, every centroid becomes a mean.

    An empty cluster takes a vector that is farthest from its own centroid: the first of them the farthest, the second
    the second farthest, and so on, of equal ones the first. That vector leaves its old mean only in the next pass.
    Clusters may be empty in the end, where vectors are equal.

    Args:
      items, centroids: [V, D], and float [K, D] to start from.
      passes: at most so many.
      tolerance: stop when at most this share of the vectors moved.

    Returns:
      The clusters; `codes` are the nearest of `centroids`.

    Raises:
      ValueError: shapes, numbers, passes or a tolerance that cannot be.
    """
    total = check_rows(items, len(centroids))[0]
    check_passes(passes, tolerance)
    codes, moved, made = np.full(total, -1, np.int32), total, 0
    while made < passes and (not made or moved > tolerance * total):
        found, distances = nearest(items, centroids)
        moved, made, codes = int((found != codes).sum()), made + 1, found
        means, counts = cluster_means(items, codes, len(centroids))
        empty = np.flatnonzero(counts == 0)
        for cluster, farthest in zip(empty, np.argsort(-distances, kind='stable')[: len(empty)], strict=True):
            means[cluster] = items[np.array([farthest])][0]
        centroids = means
    return Clusters(centroids, nearest(items, centroids)[0], made, moved)


def blocks(items: Rows, rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the first row of each block of n vectors, and its vectors float32 [n or fewer, D], `check_finite`d."""
    for first in range(0, items.shape[0], rows):
        block = np.asarray(items[first : first + rows], np.float32)
        yield first, check_finite(block, first)


def check_finite(block: np.ndarray, first: int = 0) -> np.ndarray:
    """Returns the vectors [n, D] as they are; `first` is their first row among all, for the message.

    Raises:
      ValueError: numbers that are not finite, or too large to be squared.
    """
    # NaN compares false. Two passes without a temporary are cheaper than one over absolute values.
    if block.size and not (block.max() <= LARGEST and block.min() >= -LARGEST):
        row = first + int(np.argmin((np.abs(block) <= LARGEST).all(-1)))
        raise ValueError(
            f'vector {row} has numbers that are not finite, or beyond {LARGEST:g}: leave it out, or mend it'
        )
    return block


def check_rows(items: Rows, clusters: int) -> tuple[int, int]:
    """Returns V and D of vectors that can be grouped into so many clusters.

    Raises:
      ValueError: vectors that are no matrix, or fewer of them than clusters.
    """
    if len(items.shape) != 2 or not items.shape[1]:
        raise ValueError(f'vectors of shape {tuple(items.shape)}: give a matrix [V, D] of at least one column')
    if not 1 <= clusters <= items.shape[0]:
        raise ValueError(f'{clusters} clusters of {items.shape[0]} vectors: give from 1 cluster to as many as vectors')
    return items.shape[0], items.shape[1]


def check_passes(passes: int, tolerance: float) -> None:
    """Refuses less than one pass, and a tolerance that is no share, by a ValueError."""
    if passes < 1 or not 0 <= tolerance < 1:
        raise ValueError(
            f'{passes} passes with tolerance {tolerance}: at least one pass, and a share of vectors from 0 to below 1'
        )


def _check_widths(items: Rows, centroids: np.ndarray) -> tuple[int, int]:
    if len(items.shape) != 2 or np.ndim(centroids) != 2 or items.shape[1] != np.shape(centroids)[1]:
        raise ValueError(
            f'vectors {tuple(items.shape)} and centroids {np.shape(centroids)}: give [V, D] and [K, D] of '
            'one width, as these centroids were fitted to'
        )
    check_finite(np.asarray(centroids))
    return items.shape[0], items.shape[1]
