"""Searching a long history for what fits a candidate: the first stage of SIM (arXiv 2006.05639, section 3.1).

A search scores every behaviour against every candidate and keeps K of them. Whether a slot is real follows from the
history's length alone, never from a score, so padding cannot outrank a behaviour. Among equal scores newer behaviours
win. Positions carry no gradient. The vector of a behaviour comes in parts, one a column, which are not concatenated
over the history: the copy would cost more than the search.

B batch, C candidates, L history, K kept, D width of a behaviour, Di of one of its parts, W words of 32 bits.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxrec.ops.histories.pooling import length_mask, masked_softmax

WORD = 32  # bits
Parts = Sequence[jax.Array]  # float [B, L, Di], side by side the vectors of behaviours


class Kept(NamedTuple):
    """What a search kept: ascending positions int32 [B, C, K], 0 in slots that are not real, and their count [B, C]."""

    index: jax.Array  # type: ignore[assignment]  # a tuple's method of that name is not missed
    length: jax.Array


class Found(NamedTuple):
    """A soft search's `Kept`, the vectors [B, C, K, Di] of each part, and all behaviours by their scores, [B, C, D]."""

    kept: Kept
    parts: tuple[jax.Array, ...]
    pooled: jax.Array


def hard_search(history: jax.Array, candidate: jax.Array, length: jax.Array, keep: int) -> Kept:
    """Keeps the K most recent behaviours that share an id with the candidate, oldest first (eq. 1, hard).

    Args:
      history: int [B, L], such as the categories of the behaviours, oldest first and left aligned.
      candidate: int [B, C]; 0, which is padding, equals nothing.
      length: int [B], real behaviours.
      keep: K, at least 1.
    """
    chex.assert_rank([history, candidate, length], [2, 2, 1])
    real = (length_mask(length, history.shape[1]) > 0) & (history != 0)
    return _keep_last(pack_bits((history[:, None] == candidate[..., None]) & real[:, None]), keep)


def top_search(scores: jax.Array, length: jax.Array, keep: int) -> Kept:
    """Keeps the K behaviours of the highest scores, oldest first.

    Args:
      scores: float [B, C, L]; those after the length do not matter.
      length: int [B], real behaviours.
      keep: K, at least 1; it may exceed L.
    """
    chex.assert_rank([scores, length], [3, 1])
    real = length_mask(length, scores.shape[-1])[:, None] > 0
    count = jnp.broadcast_to(jnp.minimum(length, keep)[:, None], scores.shape[:2])
    # Padding gets the key 0, below that of any behaviour.
    keys = jnp.where(real, jnp.maximum(_sortable(jax.lax.stop_gradient(scores)), 1), 0)
    least = _nth_largest(keys, count)[..., None]  # key of the worst that is kept, at least 1 if there is one
    above, equal = pack_bits(keys > least), pack_bits(keys == least)
    missing = count - _count_bits(above)
    return _keep_last(above | _drop_first(equal, _count_bits(equal) - missing), keep)


def soft_search(query: jax.Array, parts: Parts, length: jax.Array, keep: int, *, softmax: bool = False) -> Found:
    """Keeps the K behaviours of the highest inner products, and pools all of them by these (eq. 1-2, soft).

    It is `inner_scores`, `top_search`, `take_kept` and `score_pool`, with a gradient that passes over the history as
    seldom as it can: scoring, pooling and keeping each have a slope the size of the history, and their sum is written
    once.

    Args:
      query, parts: float [B, C, D], and [B, L, Di] each.
      length, keep: as for `top_search`.
      softmax: as for `score_pool`.
    """
    chex.assert_rank([query, length, *parts], [3, 1, *[3] * len(parts)])
    return _soft_search(query, tuple(parts), length, keep, softmax)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _soft_search(query: jax.Array, parts: tuple[jax.Array, ...], length: jax.Array, keep: int, softmax: bool) -> Found:
    return _soft_search_forward(query, parts, length, keep, softmax)[0]


def _soft_search_forward(
    query: jax.Array, parts: tuple[jax.Array, ...], length: jax.Array, keep: int, softmax: bool
) -> tuple[Found, tuple]:
    scores = inner_scores(query, parts)
    kept = top_search(scores, length, keep)
    pooled = score_pool(scores, length, parts, softmax=softmax)
    found = Found(kept, tuple(take_kept(part, kept.index) for part in parts), pooled)
    return found, (query, parts, length, scores, kept.index)


def _soft_search_backward(keep: int, softmax: bool, residuals: tuple, given: Found) -> tuple:
    query, parts, length, scores, index = residuals
    weights, pull = jax.vjp(lambda scores: pool_weights(scores, length, softmax=softmax), scores)
    (of_scores,) = pull(inner_scores(given.pooled, parts))
    of_query = jnp.concatenate([of_scores @ part for part in parts], -1)
    of_parts = []
    pairs = zip(split_like(query, parts), split_like(given.pooled, parts), given.parts, strict=True)
    for q, of_pooled, of_kept in pairs:
        of_part = _sum_of_products((of_scores, q), (weights, of_pooled))
        of_parts.append(_add_kept(of_part, index, of_kept))
    # A slope has the type of what it is of, which may be less precise than its products.
    of_parts = [of_part.astype(part.dtype) for of_part, part in zip(of_parts, parts, strict=True)]
    return of_query.astype(query.dtype), tuple(of_parts), None


_soft_search.defvjp(_soft_search_forward, _soft_search_backward)


def _sum_of_products(*pairs: tuple[jax.Array, jax.Array]) -> jax.Array:
    """The sum over pairs and candidates of x [B, C, L] times y [B, C, D]; [B, L, D]."""
    if pairs[0][0].shape[1] == 1:  # nothing to sum but pairs: one pass of multiplications, where matrix
        # products of a single term would write each pair's out
        return functools.reduce(jnp.add, (x[:, 0, :, None] * y[:, :1] for x, y in pairs))
    x, y = (jnp.concatenate(side, 1) for side in zip(*pairs, strict=True))
    return x.swapaxes(1, 2) @ y


def _add_kept(x: jax.Array, index: jax.Array, kept: jax.Array) -> jax.Array:
    """Adds [B, C, K, D] onto [B, L, D] where `take_kept` read it."""
    if not x.shape[1]:
        return x
    add = lambda x, index, kept: x.at[index].add(kept, mode='promise_in_bounds')
    return jax.vmap(add)(x, index, kept)


def take_kept(x: jax.Array, index: jax.Array) -> jax.Array:
    """Reads a history [B, L, ...] at the kept positions int32 [B, C, K], without tiling it over the candidates.

    Returns [B, C, K, ...], zeros for a history of no slots.
    """
    chex.assert_rank(index, 3)
    if not x.shape[1]:
        return jnp.zeros((*index.shape, *x.shape[2:]), x.dtype)
    take = lambda x, index: x.at[index].get(mode='promise_in_bounds')
    return jax.vmap(take)(jnp.asarray(x), index)


def split_like(x: jax.Array, parts: Parts) -> list[jax.Array]:
    """Splits the last axis of [..., D] at the widths of the parts [..., Di]."""
    ends, end = [], 0
    for part in parts:
        ends.append(end := end + part.shape[-1])
    chex.assert_axis_dimension(x, -1, end)
    return jnp.split(x, ends[:-1], -1)


def inner_scores(query: jax.Array, parts: Parts) -> jax.Array:
    """Computes the inner products [B, C, L] of candidates [B, C, D] and behaviours (eq.

    1, soft; query W_b^T W_a e_a).
    """
    chex.assert_rank([query, *parts], 3)
    pairs = zip(split_like(query, parts), parts, strict=True)
    return functools.reduce(jnp.add, (q @ part.swapaxes(1, 2) for q, part in pairs))


def cosine_scores(query: jax.Array, parts: Parts) -> jax.Array:
    """Computes `inner_scores` of behaviours of length one, 0 for zeros: cosines up to the candidate's length."""
    squares = sum(jnp.sum(part * part, -1) for part in parts)  # [B, L]
    some = squares > 0
    scale = jnp.where(some, jax.lax.rsqrt(jnp.where(some, squares, 1)), 0)
    return inner_scores(query, parts) * scale[:, None]


def score_pool(scores: jax.Array, length: jax.Array, parts: Parts, *, softmax: bool = False) -> jax.Array:
    """Sums the behaviours by their scores: U_r of eq. 2, through which the scores of a soft search learn.

    Args:
      scores: float [B, C, L].
      length: int [B], real behaviours.
      parts: float [B, L, Di] each.
      softmax: normalise the scores over the real behaviours; the equation does not.

    Returns:
      float [B, C, D]; zeros for an empty history.
    """
    chex.assert_rank([scores, length, *parts], [3, 1, *[3] * len(parts)])
    weights = pool_weights(scores, length, softmax=softmax)
    return jnp.concatenate([weights @ part for part in parts], -1)


def pool_weights(scores: jax.Array, length: jax.Array, *, softmax: bool = False) -> jax.Array:
    """The weights [B, C, L] of `score_pool`, whose arguments these are; zeros after the length."""
    real = length_mask(length, scores.shape[-1])[:, None]
    return masked_softmax(scores, real) if softmax else scores * real.astype(scores.dtype)


def pack_bits(bits: jax.Array) -> jax.Array:
    """Packs bool [..., L] into uint32 [..., W], bit l into bit l % 32 of word l // 32."""
    bits = jnp.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, -bits.shape[-1] % WORD)])
    bits = bits.reshape(*bits.shape[:-1], bits.shape[-1] // WORD, WORD).astype(jnp.uint32)
    return jnp.sum(bits << jnp.arange(WORD, dtype=jnp.uint32), -1, dtype=jnp.uint32)


def _keep_last(words: jax.Array, keep: int) -> Kept:
    """The last K set bits of packed words [B, C, W]."""
    count = _count_bits(words)
    length = jnp.minimum(count, keep)
    index = _positions(words, jnp.arange(keep) + (count - length)[..., None])
    return Kept(jnp.where(jnp.arange(keep) < length[..., None], index, 0), length)


def _drop_first(words: jax.Array, number: jax.Array) -> jax.Array:
    """Clears so many [...] of the first set bits of packed words [..., W]."""
    counts = jax.lax.population_count(words).astype(jnp.int32)
    drop = jnp.clip(number[..., None] - (jnp.cumsum(counts, -1) - counts), 0, counts)
    first = _nth_bit(words, drop).astype(jnp.uint32)  # of those that stay
    return jnp.where(drop < counts, words >> first << first, 0)


def _count_bits(words: jax.Array) -> jax.Array:
    """Set bits of packed words [..., W]; int32 [...]."""
    return jnp.sum(jax.lax.population_count(words).astype(jnp.int32), -1)


def _sortable(scores: jax.Array) -> jax.Array:
    """uint32 keys in the order of float32 scores; NaN is the lowest, and the zeros are equal."""
    scores = jnp.where(jnp.isnan(scores), -jnp.inf, jnp.where(scores == 0, 0, scores)).astype(jnp.float32)
    bits, sign = jax.lax.bitcast_convert_type(scores, jnp.uint32), jnp.uint32(1 << 31)
    return jnp.where(bits < sign, bits | sign, ~bits)


def _nth_largest(keys: jax.Array, rank: jax.Array) -> jax.Array:
    """The rank-th largest of uint32 keys [..., L], bit by bit from the highest, for ranks [...] from 1.

    `jax.lax.top_k` of scores that are cut over devices gathers all of them on each.
    """
    # Counted block by block, whole vectors at a time: XLA's CPU backend writes the terms of a sum over the
    # last axis out, and reads them again one by one. No trial is 0, so what pads a block counts nowhere.
    size = keys.shape[-1]
    width = WORD * max(1, -(-size // WORD**2))
    blocks = jnp.pad(keys, [(0, 0)] * (keys.ndim - 1) + [(0, -size % width)])
    blocks = blocks.reshape(*keys.shape[:-1], -(-size // width), width)

    def settle(step: jax.Array, found: jax.Array) -> jax.Array:
        trial = found | (jnp.uint32(1 << 31) >> step.astype(jnp.uint32))
        counts = jnp.zeros((*keys.shape[:-1], width), jnp.int32)
        for block in range(blocks.shape[-2]):
            counts += blocks[..., block, :] >= trial[..., None]
        return jnp.where(jnp.sum(counts, -1) >= rank, trial, found)

    # The maximum lends its sharding to what the loop carries, and is never computed.
    start = jnp.zeros_like(keys.max(-1, initial=0))
    return jax.lax.fori_loop(0, 32, settle, start)


def _positions(words: jax.Array, ranks: jax.Array) -> jax.Array:
    """Where the set bits of packed words [..., W] with so many set ones before them lie; int32 as the ranks.

    By counting: a sort of the positions costs many times as much. Ranks [..., K] of no bit give any position.
    """
    if not words.shape[-1]:
        return jnp.zeros(ranks.shape, jnp.int32)
    counts = jax.lax.population_count(words).astype(jnp.int32)
    ends = jnp.cumsum(counts, -1)
    at = jnp.sum(ends[..., None, :] <= ranks[..., None], -1, dtype=jnp.int32)
    at = jnp.minimum(at, ends.shape[-1] - 1)
    take = lambda x: jnp.take_along_axis(x, at, -1, mode='promise_in_bounds')
    return WORD * at + _nth_bit(take(words), ranks.astype(jnp.int32) - take(ends - counts))


def _nth_bit(words: jax.Array, ranks: jax.Array) -> jax.Array:
    """The position of the set bit with so many set ones below it, by halving the word."""
    position = jnp.zeros_like(ranks)
    for half in (16, 8, 4, 2, 1):
        low = words & jnp.uint32((1 << half) - 1)
        below = jax.lax.population_count(low).astype(ranks.dtype)
        above = ranks >= below
        words = jnp.where(above, words >> half, low)
        position, ranks = position + half * above, ranks - below * above
    return position
