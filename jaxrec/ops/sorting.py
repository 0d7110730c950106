"""Sorting that is safe inside `jax.shard_map`."""

import jax
import jax.numpy as jnp


def vary_like(x: jax.Array, like: jax.Array) -> jax.Array:
    """Types `x` as varying over every manual mesh axis that `like` varies over; the values stay the same.

    Outside `jax.shard_map`, and for axes that `x` varies over already, it changes nothing.
    """
    axes = tuple(jax.typeof(like).manual_axis_type.varying - jax.typeof(x).manual_axis_type.varying)
    return jax.lax.pcast(x, axes, to='varying') if axes else x


def argsort(keys: jax.Array) -> jax.Array:
    """Returns the stable order, int32 [N], of keys [N]; it varies over the same mesh axes as the keys.

    `jnp.argsort` of a varying array is typed as if every device had the same order. What is indexed by it then loses a
    sum in the transpose: values right, gradients silently wrong.
    """
    positions = vary_like(jnp.arange(keys.shape[0], dtype=jnp.int32), keys)
    return jax.lax.sort((keys, positions), num_keys=1, is_stable=True)[1]
