"""Random numbers by counter: element (row, column) of a stream is a hash of (seed, row, column).

No state, no temporaries and no dependence on how an array is sharded. V rows, D width.
"""

import jax
import jax.numpy as jnp

# lowbias32: the two odd constants of the 32-bit mixer with the lowest known bias (about .17).
_FIRST, _SECOND, _GOLDEN = 0x7FEB352D, 0x846CA68B, 0x9E3779B9


def mix32(x: jax.Array) -> jax.Array:
    """Hashes 32-bit counters, a bijection: every input bit flips every output bit with probability near one half."""
    x = (x ^ (x >> 16)) * jnp.uint32(_FIRST)
    x = (x ^ (x >> 15)) * jnp.uint32(_SECOND)
    return x ^ (x >> 16)


def counter_bits(key: jax.Array, rows: jax.Array, dim: int) -> jax.Array:
    """Draws 32 random bits for each (row, column), uint32 [V, D].

    Args:
      key: a typed PRNG key; its two words seed the stream.
      rows: int32 [V], row numbers.
      dim: D, the number of columns.
    """
    word = jax.random.key_data(key).astype(jnp.uint32)
    row = mix32(rows.astype(jnp.uint32) ^ word[0])[:, None]  # [V, 1]
    column = mix32(jnp.arange(dim, dtype=jnp.uint32) * jnp.uint32(_GOLDEN) + word[1])[None]  # [1, D]
    return mix32(row ^ mix32(column + row))  # [V, D]


def counter_uniform(key: jax.Array, rows: jax.Array, dim: int) -> jax.Array:
    """Draws float32 [V, D] uniform strictly inside (0, 1); arguments are those of `counter_bits`."""
    bits = counter_bits(key, rows, dim) >> 9  # 23 bits are what a float32 holds between .5 and 1
    return (bits.astype(jnp.float32) + 0.5) * jnp.float32(2.0**-23)


def counter_normal(key: jax.Array, rows: jax.Array, dim: int) -> jax.Array:
    """Draws standard normal float32 [V, D], by the inverse of the distribution; arguments as for `counter_bits`."""
    return jax.scipy.special.ndtri(counter_uniform(key, rows, dim))
