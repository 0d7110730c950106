"""Sorting that is safe inside `jax.shard_map`.

N elements.
"""

import jax
import jax.numpy as jnp


def vary_like(x: jax.Array, like: jax.Array) -> jax.Array:
    """Types `x` as varying over every manual mesh axis that `like` varies over.

    Outside `jax.shard_map`, and for axes that `x` varies over already, it changes nothing.

    Args:
      x: any array.
      like: the array whose mesh axes count.

    Returns:
      `x`, the same values.
    """
    axes = tuple(jax.typeof(like).manual_axis_type.varying - jax.typeof(x).manual_axis_type.varying)
    return jax.lax.pcast(x, axes, to='varying') if axes else x


def argsort(keys: jax.Array) -> jax.Array:
    """Sorts stably and returns the order, which varies over the same mesh axes as the keys.

    `jnp.argsort` of a varying array is typed as if every device had the same order. What is indexed by it
    then loses a sum in the transpose: values right, gradients silently wrong.

    Args:
      keys: [N], any sortable dtype.

    Returns:
      int32 [N], with `keys[order]` ascending.
    """
    positions = vary_like(jnp.arange(keys.shape[0], dtype=jnp.int32), keys)
    return jax.lax.sort((keys, positions), num_keys=1, is_stable=True)[1]
