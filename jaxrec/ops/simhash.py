"""Random hyperplanes: bits whose agreement grows with the cosine of two vectors.

ETA (arXiv 2108.04468) keeps the behaviours whose bits are nearest to the candidate's; SDIM (arXiv 2205.10249)
pools the behaviours that share groups of bits with it. The hyperplanes are drawn from a seed and never learn,
and the bits carry no gradient.

The vector of a behaviour comes in parts, as in `ops.search`.

B batch, C candidates, L history, D width, Di of a part, M hashes, W words of 32 bits, G groups.
"""

import functools

import chex
import jax
import jax.numpy as jnp

from jaxrec.ops import hashing
from jaxrec.ops.pooling import length_mask
from jaxrec.ops.search import Parts, split_like


def hyperplanes(dim: int, hashes: int, seed: int) -> jax.Array:
    """Draws the normals of random hyperplanes.

    Args:
      dim: D.
      hashes: M.
      seed: the same seed gives the same planes.

    Returns:
      float32 [D, M].
    """
    return hashing.counter_normal(jax.random.key(seed), jnp.arange(dim), hashes)


def sign_bits(parts: Parts, planes: jax.Array) -> jax.Array:
    """On which side of each hyperplane a vector lies.

    Args:
      parts: float [..., Di] each.
      planes: float [D, M].

    Returns:
      bool [..., M].
    """
    pairs = zip(parts, split_like(planes.T, parts), strict=True)
    sides = functools.reduce(jnp.add, (part @ plane.T for part, plane in pairs))
    return jax.lax.stop_gradient(sides) > 0


def hamming_scores(candidate: jax.Array, history: jax.Array) -> jax.Array:
    """The negated Hamming distance of candidates and behaviours (ETA, section 3.3).

    Args:
      candidate: uint32 [B, C, W], packed by `search.pack_bits`.
      history: uint32 [B, L, W], packed.

    Returns:
      float32 [B, C, L], whole numbers; 0 where all bits agree.
    """
    chex.assert_rank([candidate, history], 3)
    distance = jnp.zeros((*candidate.shape[:2], history.shape[1]), jnp.uint32)
    for word in range(candidate.shape[-1]):  # a few; an axis of words would be written out for all pairs
        differ = candidate[:, :, None, word] ^ history[:, None, :, word]
        distance += jax.lax.population_count(differ)
    return -distance.astype(jnp.float32)


def signatures(bits: jax.Array, group: int) -> jax.Array:
    """Reads groups of bits as numbers.

    Args:
      bits: bool [..., M].
      group: tau, bits a group; it divides M and is below 32.

    Returns:
      int32 [..., G].
    """
    bits = bits.reshape(*bits.shape[:-1], bits.shape[-1] // group, group).astype(jnp.int32)
    return jnp.sum(bits << jnp.arange(group), -1, dtype=jnp.int32)


def count_collisions(candidate: jax.Array, history: jax.Array) -> jax.Array:
    """How many groups of a behaviour collide with the candidate's, by which SDIM weighs it.

    Args:
      candidate: int32 [B, C, G], from `signatures`.
      history: int32 [B, L, G].

    Returns:
      float32 [B, C, L], whole numbers from 0 to G.
    """
    chex.assert_rank([candidate, history], 3)
    return jnp.sum(candidate[:, :, None] == history[:, None], -1).astype(jnp.float32)


def collision_pool(candidate: jax.Array, history: jax.Array, length: jax.Array, parts: Parts) -> jax.Array:
    """Sums, group by group, the behaviours that share the candidate's signature (SDIM, section 3.2).

    Each group's sum is brought to length one and the groups are averaged, so a behaviour counts by how often
    it collides: in expectation (1 - angle / pi)^tau. No top-K and no softmax.

    Args:
      candidate: int32 [B, C, G], from `signatures`.
      history: int32 [B, L, G].
      length: int [B], real behaviours.
      parts: float [B, L, Di] each, what is summed.

    Returns:
      float [B, C, D]; zeros for an empty history. A group without collision counts as zeros.
    """
    chex.assert_rank([candidate, history, length], [3, 3, 1])
    (batch, candidates, groups), size = candidate.shape, history.shape[1]
    real = length_mask(length, size)[:, None, None] > 0
    same = (candidate[..., None] == history.swapaxes(1, 2)[:, None]) & real  # [B, C, G, L]
    same = same.reshape(batch, candidates * groups, size)
    sums = jnp.concatenate([same.astype(part.dtype) @ part for part in parts], -1)
    squares = jnp.sum(sums * sums, -1, keepdims=True)
    # Nothing divided by its own length would have no slope.
    some = squares > 0
    unit = sums * jnp.where(some, jax.lax.rsqrt(jnp.where(some, squares, 1)), 0)
    return jnp.mean(unit.reshape(batch, candidates, groups, -1), 2)
