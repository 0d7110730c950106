"""The K largest of long rows: exact, in the order of `jax.lax.top_k`, in one pass over the long axis.

The largest of a bin is a vector operation, so bins are ranked first, by bins of bins where these are many, and only the
K best of them are searched.

N elements of a row, K kept, W width of a bin.
"""

import chex
import jax
import jax.numpy as jnp

WIDTH = 32


def largest(x: jax.Array, keep: int, *, width: int = WIDTH) -> tuple[jax.Array, jax.Array]:
    """Finds the K largest of each row, largest first, equal ones in the order of their positions.

    Args:
      x: float [B, N].
      keep, width: K, from 1 to N, and W.

    Returns:
      float [B, K] and their positions, int32 [B, K].

    Raises:
      ValueError: K or W out of range.
    """
    chex.assert_rank(x, 2)
    size = x.shape[1]
    if not 1 <= keep <= size or width < 2:
        raise ValueError(f'the {keep} largest of {size} by bins of {width}: keep 1 to {size}, in bins of 2 or more')
    if size <= 2 * keep * width:  # the search of the best bins would be as long as one of everything
        return jax.lax.top_k(x, keep)
    bins = jnp.pad(x, ((0, 0), (0, -size % width)), constant_values=-jnp.inf).reshape(len(x), -1, width)
    # Whatever is among the K largest lies in one of the K best bins: else each of these would hold an element
    # that is larger, or as large and, bins being consecutive, further in front.
    _, best = largest(bins.max(-1), keep, width=width)
    best = jnp.sort(best, -1)  # so that equal elements stay in order
    found = jnp.take_along_axis(bins, best[..., None], 1, mode='promise_in_bounds').reshape(len(x), -1)
    values, place = jax.lax.top_k(found, keep)
    of_bin = jnp.take_along_axis(best, place // width, -1, mode='promise_in_bounds')
    return values, of_bin * width + place % width
