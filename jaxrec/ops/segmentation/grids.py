"""Operations on maps other than convolution: pooling, enlarging, reading at points.

Written with slices and products alone: XLA's CPU backend has no fast kernel for windows, for grouped convolutions of
one channel each, nor for the gradients of either.

B batch, H, W map, C channels, K points, f factor.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp


def halve_by_max(x: jax.Array) -> jax.Array:
    """The maximum of each 2 x 2 square: [B, H, W, C] -> [B, H / 2, W / 2, C]; a ValueError refuses odd sizes."""
    batch, height, width, channels = x.shape
    if height % 2 or width % 2:
        raise ValueError(f'a map of {height} x {width} cannot be halved: give images of an even number of cells')
    # Of two at a time. The gradient of `max` over an axis divides by how many elements equal the maximum, and
    # where XLA computes those elements a second time, rounded otherwise, none does: 0 / 0.
    rows = x.reshape(batch, height // 2, 2, width, channels)
    x = jnp.maximum(rows[:, :, 0], rows[:, :, 1]).reshape(batch, height // 2, width // 2, 2, channels)
    return jnp.maximum(x[:, :, :, 0], x[:, :, :, 1])


def fold(x: jax.Array, factor: int) -> jax.Array:
    """Squares of f x f cells as channels, row by row: [B, H, W, C] -> [B, H / f, W / f, f f C].

    Raises:
      ValueError: a factor that does not divide the map.
    """
    batch, height, width, channels = x.shape
    if height % factor or width % factor:
        raise ValueError(f'a map of {height} x {width} has no whole squares of {factor}: pad or resize the images')
    squares = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
    rows = squares.transpose(0, 1, 3, 2, 4, 5)
    return rows.reshape(batch, height // factor, width // factor, factor * factor * channels)


def unfold(x: jax.Array, factor: int) -> jax.Array:
    """The inverse of `fold`: float [B, H, W, f f C] -> [B, f H, f W, C]."""
    batch, height, width, channels = x.shape
    chex.assert_is_divisible(channels, factor * factor)
    rows = x.reshape(batch, height, width, factor, factor, channels // factor**2).transpose(0, 1, 3, 2, 4, 5)
    return rows.reshape(batch, factor * height, factor * width, channels // factor**2)


def neighbourhood_max(x: jax.Array, stride: int = 1) -> jax.Array:
    """The maximum of each 3 x 3 square, what lies outside not counted; the first is centred on cell (0, 0).

    Args:
      x: float [B, H, W, C].
      stride: of the squares.

    Returns:
      float [B, ceil(H / stride), ceil(W / stride), C].
    """
    chex.assert_rank(x, 4)
    for axis in (1, 2):
        size = x.shape[axis]
        padding = [(1, 1) if i == axis else (0, 0) for i in range(4)]
        wide = jnp.pad(x, padding, constant_values=-jnp.inf)
        part = lambda i, wide=wide, axis=axis, size=size: jax.lax.slice_in_dim(wide, i, i + size, stride, axis)
        x = jnp.maximum(jnp.maximum(part(0), part(1)), part(2))
    return x


def bilinear_kernel(factor: int) -> jax.Array:
    """The kernel with which `enlarge_by_kernel` interpolates: float32 [2 f, 2 f]."""
    centre = factor - 0.5
    line = 1 - jnp.abs(jnp.arange(2 * factor) - centre) / factor
    return line[:, None] * line


def enlarge_by_kernel(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution of each channel by itself, stride f, kernel 2 f, padding f / 2, as DLA goes up.

    Args:
      x: float [B, H, W, C]; zeros are around it.
      kernel: float [2 f, 2 f, C], f even; a ValueError refuses an odd one.

    Returns:
      float [B, f H, f W, C].
    """
    batch, height, width, channels = x.shape
    factor = kernel.shape[0] // 2
    chex.assert_shape(kernel, (2 * factor, 2 * factor, channels))
    if factor % 2:
        raise ValueError(f'a kernel of {kernel.shape[:2]} enlarges by {factor}: give an even factor')
    wide = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    kernel = kernel.reshape(2, factor, 2, factor, channels)
    # Output cell j f + r, counted from half a factor before the map, is reached from cells j and j - 1 alone.
    total = jnp.zeros((), x.dtype)
    for a in (0, 1):
        for b in (0, 1):
            part = wide[:, a : a + height + 1, None, b : b + width + 1, None]
            total = total + part * kernel[1 - a, :, 1 - b].astype(x.dtype)[:, None]
    whole = total.reshape(batch, (height + 1) * factor, (width + 1) * factor, channels)
    half = factor // 2
    return whole[:, half : half + factor * height, half : half + factor * width]


def enlarge_bilinear(x: jax.Array, factor: int, axes: Sequence[int] = (-2, -1), aligned: bool = False) -> jax.Array:
    """Enlarges a map by interpolation; beyond the outermost cells their values are repeated.

    Args:
      x: float [...].
      factor: f, at least 1, else a ValueError.
      axes: those of height and width, which become f times as long.
      aligned: cell j moves to cell j f + f // 2, as in CondInst (arXiv 2003.05664); else to the middle of the f cells
        that it covers, so that no edge of a mask moves.
    """
    if factor < 1:
        raise ValueError(f'a map cannot be enlarged by {factor}: give a factor of at least 1')
    if factor == 1:
        return x
    between_cells = 0.5 if factor % 2 == 0 and not aligned else 0.0
    for axis in axes:
        axis, size = axis % x.ndim, x.shape[axis]
        cut = lambda x, start, stop, axis=axis: jax.lax.slice_in_dim(x, start, stop, axis=axis)
        after = jnp.concatenate([cut(x, 1, size), cut(x, size - 1, size)], axis)
        t = (jnp.arange(factor, dtype=x.dtype) + between_cells) / factor
        t = t.reshape(-1, *(1,) * (x.ndim - axis - 1))
        between = jnp.expand_dims(x, axis + 1) * (1 - t) + jnp.expand_dims(after, axis + 1) * t
        between = between.reshape(*x.shape[:axis], size * factor, *x.shape[axis + 1 :])
        first = jnp.repeat(cut(x, 0, 1), factor // 2, axis)
        x = jnp.concatenate([first, cut(between, 0, size * factor - factor // 2)], axis)
    return x


def patches_at(x: jax.Array, cell: jax.Array) -> jax.Array:
    """The 3 x 3 squares around cells int32 [B, K, 2] of x [B, H, W, C]: float [B, K, 9 C], row by row, 0 outside.

    It is what a convolution reads there, without convolving everywhere.
    """
    chex.assert_rank([x, cell], [4, 3])
    batch, _, width, channels = x.shape
    wide = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(batch, -1, channels)
    around = jnp.asarray([(row, column) for row in range(3) for column in range(3)])
    at = cell[:, :, None] + around  # [B, K, 9, 2], in the padded map
    index = (at[..., 0] * (width + 2) + at[..., 1]).reshape(batch, -1, 1)
    found = jnp.take_along_axis(wide, index, 1, mode='promise_in_bounds')
    return found.reshape(batch, cell.shape[1], 9 * channels)


def read_between(x: jax.Array, place: jax.Array) -> jax.Array:
    """Reads a map [B, H, W, C] by interpolation at float [B, K, 2], rows and columns: float [B, K, C].

    Cell j reaches from j to j + 1. Outside the outermost middles the outermost cells are read.
    """
    chex.assert_rank([x, place], [4, 3])
    last = jnp.asarray(x.shape[1:3]) - 1
    at = jnp.clip(place - 0.5, 0, last)
    low = jnp.floor(at).astype(jnp.int32)
    high = jnp.minimum(low + 1, last)
    t = (at - low).astype(x.dtype)[..., None]  # [B, K, 2, 1]
    image = jnp.arange(len(x))[:, None]
    row = lambda i: x[image, i, low[..., 1]] * (1 - t[..., 1, :]) + x[image, i, high[..., 1]] * t[..., 1, :]
    return row(low[..., 0]) * (1 - t[..., 0, :]) + row(high[..., 0]) * t[..., 0, :]
