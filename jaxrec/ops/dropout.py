"""Dropout by counter: whether a number is kept is a hash of (key, layer, index), as in `ops.hashing`.

Threefry masks cost more than the layers they thin. A mask of the weights' own shape makes one network of a
distribution of them (MC dropout); the same words give the same network wherever it is asked for.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.ops.hashing import mix32


def key_words(key: jax.Array) -> jax.Array:
    """The two words, uint32 [2], of a typed PRNG key that seed masks."""
    return jax.random.key_data(key).astype(jnp.uint32).reshape(-1)[-2:]


def fold_words(words: jax.Array, number: jax.Array | int) -> jax.Array:
    """Derives the words uint32 [2] of one of many draws, such as a pass or a request; `fold_in` by one hash."""
    salt = mix32(jnp.asarray(number).astype(jnp.uint32) + jnp.uint32(1))
    return mix32(words ^ jnp.stack([salt, mix32(salt)]))


def keep_mask(words: jax.Array, layer: int, shape: Sequence[int], rate: float) -> jax.Array:
    """Draws an inverted-dropout mask.

    Args:
      words: uint32 [2], from `key_words` or `fold_words`.
      layer: below 2**32; masks of different layers are independent.
      shape: of the mask.
      rate: probability of a zero, in [0, 1).

    Returns:
      float32 of that shape: 0, or 1 / (1 - rate), so that its mean is 1.

    Raises:
      ValueError: a rate outside [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f'dropout rate {rate} is outside [0, 1): give the share of numbers to set to zero')
    seeds = mix32(words ^ jnp.uint32(layer))
    index = jax.lax.iota(jnp.uint32, int(np.prod(shape, dtype=np.int64)))
    bits = mix32(mix32(index ^ seeds[0]) + seeds[1])
    kept = bits >= jnp.uint32(round(rate * 2**32))
    return jnp.where(kept, jnp.float32(1 / (1 - rate)), 0).reshape(shape)


def drop_weights(params: Any, words: jax.Array, rate: float) -> Any:
    """Multiplies every leaf of a tree by a mask of its own shape (AGE, arXiv 2112.11136, section 3.3).

    The layer of a mask is a checksum of its leaf's path; `words` uint32 [2] and `rate` are those of `keep_mask`.
    """

    def drop(path: tuple, leaf: jax.Array) -> jax.Array:
        layer = zlib.crc32(jax.tree_util.keystr(path).encode())
        return leaf * keep_mask(words, layer, leaf.shape, rate).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(drop, params)


def drop_units(params: Any, words: jax.Array, rate: float) -> Any:
    """Drops a network's units: dropout of activations, applied to the weights that compute them.

    A unit's mask multiplies its column of the kernel and its bias. Where an activation f has f(m z) = m f(z) for m >=
    0, as ReLU and PReLU have, this is f(z) times the mask; elsewhere z is dropped. A layer with a single unit is a
    score and is not changed, like any node that is no layer.

    Args:
      params: a tree of dicts; layers are those with a 'kernel' float [..., U], and perhaps a 'bias' [U].
      words, rate: as for `keep_mask`.
    """

    def drop(node: Any, path: str) -> Any:
        if not isinstance(node, Mapping):
            return node
        if 'kernel' not in node:
            return {name: drop(child, f'{path}[{name!r}]') for name, child in node.items()}
        units = node['kernel'].shape[-1:]
        if units == (1,):
            return dict(node)
        mask = keep_mask(words, zlib.crc32(path.encode()), units, rate)
        masked = {name: node[name] * mask.astype(node[name].dtype) for name in ('kernel', 'bias') if name in node}
        return {**node, **masked}

    return drop(params, '')


DROPS = {'weights': drop_weights, 'activations': drop_units}  # what a pass of MC dropout sets to zero
