"""Heatmaps of points: their targets, their loss and their peaks (CornerNet, CenterNet, PPDM).

B batch, N points, H, W map, C classes, K peaks.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxrec.ops.largest import largest
from jaxrec.ops.segmentation.grids import neighbourhood_max


class Peaks(NamedTuple):
    """The highest local maxima, highest first.

    Attributes:
      score: float32 [B, K], probabilities; 0 where there are fewer maxima.
      cell: int32 [B, K, 2], row and column.
      category: int32 [B, K].
    """

    score: jax.Array
    cell: jax.Array
    category: jax.Array


def gaussian_radius(height: jax.Array, width: jax.Array, overlap: float = 0.7) -> jax.Array:
    """How far the corners of boxes [...] may move until the IoU falls below `overlap` (CornerNet, arXiv 1808.01244).

    The roots of three quadratics are divided by 2 where 2 a would be right: CornerNet's slip, which all of its
    descendants keep, and whose radii their results rest on. Sizes are in cells; the result is float32 [...], whole
    numbers from 0.
    """
    height, width = jnp.ceil(height), jnp.ceil(width)
    total, area = height + width, height * width
    inside = (
        (1.0, total, area * (1 - overlap) / (1 + overlap)),
        (4.0, 2 * total, area * (1 - overlap)),
        (4 * overlap, -2 * overlap * total, area * (overlap - 1)),
    )
    roots = [(b + jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 0.0))) / 2 for a, b, c in inside]
    return jnp.floor(jnp.maximum(jnp.minimum(jnp.minimum(roots[0], roots[1]), roots[2]), 0.0))


def gaussian_maps(
    cell: jax.Array, radius: jax.Array, category: jax.Array, valid: jax.Array, size: tuple[int, int], classes: int
) -> jax.Array:
    """Draws a peak for each point in the map of its class; of overlapping ones the higher value counts.

    A peak is exp(-d^2 / 2 s^2) with s = (2 r + 1) / 6, cut off beyond r rows or columns.

    Args:
      cell: int32 [B, N, 2], rows and columns.
      radius: float [B, N], r.
      category, valid: int32 and bool [B, N]; the class of an invalid point is ignored.
      size, classes: (H, W), and C.

    Returns:
      float32 [B, H, W, C], 1 exactly at the points.
    """
    chex.assert_rank([cell, radius, category, valid], [3, 2, 2, 2])
    sigma = (2 * radius + 1) / 6

    def line(axis: int) -> jax.Array:
        away = (jnp.arange(size[axis]) - cell[..., axis, None]).astype(jnp.float32)  # [B, N, H or W]
        near = jnp.abs(away) <= radius[..., None]
        return jnp.where(near, jnp.exp(-(away**2) / (2 * sigma[..., None] ** 2)), 0.0)

    peaks = (line(0) * valid[..., None])[..., :, None] * line(1)[..., None, :]  # [B, N, H, W]
    which = jnp.where(valid, category, 0)
    empty = jnp.zeros((len(cell), classes, *size))
    drawn = empty.at[jnp.arange(len(cell))[:, None], which].max(peaks)
    return drawn.transpose(0, 2, 3, 1)


def focal_loss(logits: jax.Array, target: jax.Array, weight: jax.Array, clamp: float | None = None) -> jax.Array:
    """Penalty-reduced focal loss of heatmaps (CornerNet, eq. 1; alpha 2, beta 4), per point: float32 [].

    Args:
      logits: float [B, H, W, C].
      target: float [B, H, W, C], 1 at points and less around them.
      weight: float [B], 0 for images that do not count.
      clamp: keep probabilities this far from 0 and 1, beyond which the gradient is zero, as PPDM does; None computes
        from the logits, for which no number is too large.
    """
    chex.assert_equal_shape([logits, target])
    x = logits.astype(jnp.float32)
    p = jax.nn.sigmoid(x)
    if clamp is None:
        log_p, log_not = jax.nn.log_sigmoid(x), jax.nn.log_sigmoid(-x)
    else:
        p = jnp.clip(p, clamp, 1 - clamp)
        log_p, log_not = jnp.log(p), jnp.log(1 - p)
    point = target == 1
    each = jnp.where(point, log_p * (1 - p) ** 2, log_not * p**2 * (1 - target) ** 4)
    counts = weight[:, None, None, None]
    return -jnp.sum(each * counts) / jnp.maximum(jnp.sum(point * counts), 1.0)


def highest_near(logits: jax.Array, cell: jax.Array, category: jax.Array, taken: jax.Array) -> jax.Array:
    """Where the peak of a point is read, if it is anywhere near: its class's highest of 3 x 3 cells.

    Args:
      logits: float [B, H, W, C].
      cell, category: int32 [B, N, 2] and [B, N], the points, inside the map.
      taken: bool [B, H, W, C], cells of points, which the other points of their class leave them.

    Returns:
      int32 [B, N, 2], inside the map; of equal ones the point's own cell, else the first by row and column.
    """
    chex.assert_rank([logits, cell, category], [4, 3, 2])
    around = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    around.sort(key=lambda step: step != (0, 0))  # argmax takes the first
    near = cell[:, :, None] + jnp.asarray(around)  # [B, N, 9, 2]
    inside = ((near >= 0) & (near < jnp.asarray(logits.shape[1:3]))).all(-1)
    near = jnp.where(inside[..., None], near, cell[:, :, None])
    place = jnp.arange(len(cell))[:, None, None], near[..., 0], near[..., 1], category[..., None]
    others = (jnp.arange(9) > 0) & taken[place]
    height = jnp.where(others, -jnp.inf, jax.lax.stop_gradient(logits)[place])
    best = jnp.argmax(height, -1)[..., None, None]
    return jnp.take_along_axis(near, best, 2)[:, :, 0]


def find_peaks(logits: jax.Array, keep: int) -> Peaks:
    """The K highest cells of logits [B, H, W, C], K at most H W C, that no neighbour of their class exceeds.

    Of equal ones the first by row, column and class. A NaN is a peak, so that it is visible in the scores.
    """
    batch, _, width, classes = logits.shape
    x = logits.astype(jnp.float32)
    highest = jnp.where(x < neighbourhood_max(x), -jnp.inf, x).reshape(batch, -1)
    value, index = largest(highest, keep)
    place = index // classes
    cell = jnp.stack([place // width, place % width], -1)
    return Peaks(jax.nn.sigmoid(value), cell.astype(jnp.int32), (index % classes).astype(jnp.int32))
