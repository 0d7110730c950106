"""Random hyperplanes: bits whose agreement grows with the cosine of two vectors.

ETA (arXiv 2108.04468) keeps the behaviours whose bits are nearest to the candidate's; SDIM (arXiv 2205.10249) pools the
behaviours that share groups of bits with it. The hyperplanes are drawn from a seed and never learn; the bits carry no
gradient and are computed a few examples at a time.

B batch, S examples at a time, C candidates, L history, E width of a candidate, D of what is summed, Di of a part, M
hashes, G groups of them.
"""

import functools

import chex
import jax
import jax.numpy as jnp

from jaxrec.ops import hashing
from jaxrec.ops.chunks import by_chunks
from jaxrec.ops.histories.pooling import length_mask
from jaxrec.ops.histories.search import Parts, split_like


def hyperplanes(dim: int, hashes: int, seed: int) -> jax.Array:
    """Draws the normals float32 [D, M] of random hyperplanes; the same seed gives the same planes."""
    return hashing.counter_normal(jax.random.key(seed), jnp.arange(dim), hashes)


def sign_bits(parts: Parts, planes: jax.Array) -> jax.Array:
    """On which side of each plane float [E, M] vectors in parts [..., Di], E wide together, lie; bool [..., M]."""
    return jax.lax.stop_gradient(jnp.concatenate(parts, -1)) @ planes > 0


def hamming_scores(candidate: jax.Array, parts: Parts, planes: jax.Array) -> jax.Array:
    """Computes the negated Hamming distance of the bits of candidates and behaviours (ETA, section 3.3).

    Args:
      candidate, parts: float [B, C, E], and [B, L, Di] each.
      planes: float [E, M].

    Returns:
      float32 [B, C, L], whole numbers; 0 where all bits agree.
    """
    chex.assert_rank([candidate, *parts], 3)
    (_, candidates, size), hashes = candidate.shape, planes.shape[1]

    def score(candidate: jax.Array, *parts: jax.Array) -> jax.Array:
        # Bits as 1 and -1: as many of them agree as their product says, and a matrix product says it in
        # half the time that packing them into words takes alone.
        sign = lambda parts: jnp.where(sign_bits(parts, planes), 1.0, -1.0)
        return (sign([candidate]) @ sign(parts).swapaxes(1, 2) - hashes) / 2

    floats = parts[0].shape[1] * (size + hashes + candidates)
    return by_chunks(score, *jax.lax.stop_gradient((candidate, *parts)), bytes_each=4 * floats)


def collisions(candidate: jax.Array, parts: Parts, planes: jax.Array, group: int) -> jax.Array:
    """Marks where all bits of a group agree, bool [B, L, C, G].

    Args:
      candidate, parts: float [B, C, E], and [B, L, Di] each.
      planes: float [E, M].
      group: tau, consecutive hashes a group; it divides M.
    """
    chex.assert_rank([candidate, *parts], 3)
    return _agree(_grouped_bits([candidate], planes, group), _grouped_bits(parts, planes, group))


def _grouped_bits(parts: Parts, planes: jax.Array, group: int) -> jax.Array:
    """bool [B, N, tau, G]."""
    groups = planes.shape[1] // group
    # The first bits of all groups, then the second ones: they are compared as whole vectors.
    planes = planes.reshape(-1, groups, group).swapaxes(1, 2).reshape(planes.shape)
    bits = sign_bits(parts, planes)
    return bits.reshape(*bits.shape[:2], group, groups)


def _agree(ours: jax.Array, theirs: jax.Array) -> jax.Array:
    """bool [B, L, C, G] of bits [B, C, tau, G] and [B, L, tau, G]."""
    agree = (ours[:, None, :, bit] == theirs[:, :, None, bit] for bit in range(ours.shape[2]))
    return functools.reduce(jnp.logical_and, agree)


def count_collisions(candidate: jax.Array, parts: Parts, planes: jax.Array, group: int) -> jax.Array:
    """How many groups collide, by which SDIM weighs a behaviour; float32 [B, C, L]. Arguments as for `collisions`."""
    return jnp.sum(collisions(candidate, parts, planes, group), -1).astype(jnp.float32).swapaxes(1, 2)


def collision_pool(
    candidate: jax.Array, parts: Parts, planes: jax.Array, group: int, length: jax.Array, values: Parts
) -> jax.Array:
    """Sums, group by group, the behaviours that share the candidate's bits (SDIM, section 3.2).

    Each group's sum is normalised to length one and the groups are averaged, so a behaviour counts by how often it
    collides: in expectation (1 - angle / pi)^tau. No top-K and no softmax.

    Args:
      candidate, parts, planes, group: as for `collisions`; the parts are what is hashed.
      length: int [B], real behaviours.
      values: float [B, L, Di] each, what is summed.

    Returns:
      float [B, C, D]; zeros for an empty history. A group without collision counts as zeros.
    """
    chex.assert_rank([length, *values], [1, *[3] * len(values)])
    bits = jax.lax.stop_gradient(_grouped_bits([candidate], planes, group))  # [B, C, tau, G]
    (batch, candidates, _, groups), codes = bits.shape, 2**group
    # Many candidates share the few sums that there are, one of each code of a group.
    shared = candidates > codes
    asked = jnp.broadcast_to(_codes(group)[:, :, None], (batch, codes, group, groups)) if shared else bits
    hashed = jax.lax.stop_gradient((tuple(parts), planes))
    sums = _sum_collisions(asked, *hashed, length, tuple(values))
    squares = jnp.sum(sums * sums, -1, keepdims=True)
    # Nothing divided by its own length would have no slope.
    some = squares > 0
    unit = sums * jnp.where(some, jax.lax.rsqrt(jnp.where(some, squares, 1)), 0)
    unit = unit.reshape(batch, -1, groups, unit.shape[-1])
    if shared:
        code = jnp.einsum('bctg,t->bcg', bits.astype(jnp.int32), 2 ** jnp.arange(group))
        unit = jnp.take_along_axis(unit, code[..., None], axis=1)
    return jnp.mean(unit, 2)


def _codes(group: int) -> jax.Array:
    """bool [2 ** tau, tau]: the bits of every code, the lowest first."""
    return (jnp.arange(2**group)[:, None] >> jnp.arange(group)) % 2 == 1


@jax.custom_vjp
def _sum_collisions(asked: jax.Array, parts: Parts, planes: jax.Array, length: jax.Array, values: Parts) -> jax.Array:
    """The sums [B, C * G, D] of what has the bits [B, C, tau, G]; nothing but the values has a slope."""
    return _find_and_sum(asked, parts, planes, length, values)[1]


def _find_and_sum(
    asked: jax.Array, parts: Parts, planes: jax.Array, length: jax.Array, values: Parts
) -> tuple[jax.Array, jax.Array]:
    """Collisions bool [B, L, C * G], and the sums of the values that collide."""
    size, hashed, group = parts[0].shape[1], len(parts), asked.shape[2]

    def find(asked: jax.Array, length: jax.Array, *both: jax.Array) -> tuple[jax.Array, jax.Array]:
        real = length_mask(length, size)[..., None] > 0
        same = _agree(asked, _grouped_bits(both[:hashed], planes, group))
        same = same.reshape(*same.shape[:2], -1) & real  # [S, L, C * G]
        joined = jnp.concatenate(both[hashed:], -1)
        return same, same.astype(joined.dtype).swapaxes(1, 2) @ joined

    floats = planes.size // planes.shape[1] + planes.shape[1] * (1 + asked.shape[1] // group)
    return by_chunks(find, asked, length, *parts, *values, bytes_each=4 * size * floats)


def _sum_forward(*arguments) -> tuple[jax.Array, tuple]:  # type: ignore[no-untyped-def]
    same, sums = _find_and_sum(*arguments)
    return sums, (same, arguments[4])


def _sum_backward(residuals: tuple, given: jax.Array) -> tuple:
    same, values = residuals
    of_values = tuple(same.astype(given.dtype) @ piece for piece in split_like(given, values))
    return None, None, None, None, of_values


_sum_collisions.defvjp(_sum_forward, _sum_backward)
