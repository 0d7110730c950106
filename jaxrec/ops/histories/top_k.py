"""The soft search of a lifelong history from many candidates: exact, in one pass over the scores.

`search.top_search` passes over the scores 32 times and more. The largest of a bin takes one pass, so bins are ranked
first and only the K best of them are searched, both by `top_search`. `jax.lax.top_k` is no faster over so few, and
gathers a sharded batch.

B batch, C candidates, L history, K kept, D width of a behaviour, Di of one of its parts, W width of a bin.
"""

import chex
import jax
import jax.numpy as jnp

from jaxrec.ops.histories.pooling import length_mask
from jaxrec.ops.histories.search import Kept, Parts, inner_scores, top_search

WIDTH = 32
CHUNK = 64  # candidates whose scores are in memory at a time: 14 MB of 54,000 behaviours


def inner_search(
    query: jax.Array, parts: Parts, length: jax.Array, keep: int, *, width: int = WIDTH, chunk: int = CHUNK
) -> Kept:
    """Keeps the behaviours of the highest inner products, oldest first (SIM, arXiv 2006.05639, eq. 1, soft).

    Equals `top_search` of `inner_scores`, ties and padding included, at a cost that suits long histories. Short ones go
    to these two.

    Args:
      query, parts: float [B, C, D], and [B, L, Di] each.
      length: int [B], real behaviours.
      keep: K, at least 1; it may exceed L.
      width, chunk: W, and candidates that are searched for at a time.

    Raises:
      ValueError: a width or a chunk below 1.
    """
    chex.assert_rank([query, length, *parts], [3, 1, *[3] * len(parts)])
    if width < 1 or chunk < 1:
        raise ValueError(f'bins of {width} behaviours, {chunk} candidates at a time: give both from 1 on')
    size, candidates = parts[0].shape[1], query.shape[1]
    if size <= 2 * keep * width:  # the search of the best bins would be as long as one of everything
        return top_search(inner_scores(query, parts), length, keep)
    query, joined = jax.lax.stop_gradient((query, jnp.concatenate(parts, -1)))
    # One product instead of one a part, each of which would write all scores; padded before, not after it.
    keys = jnp.pad(joined, ((0, 0), (0, -size % width), (0, 0))).swapaxes(1, 2)  # [B, D, L padded]
    turns = -(-candidates // chunk)
    each = -(-candidates // turns)
    query = jnp.pad(query, ((0, 0), (0, turns * each - candidates), (0, 0)))
    query = query.reshape(len(query), turns, each, -1).swapaxes(0, 1)
    index = jax.lax.map(lambda part: _best(part @ keys, length, keep, width), query)
    index = index.swapaxes(0, 1).reshape(query.shape[1], turns * each, keep)[:, :candidates]
    count = jnp.minimum(length, keep).astype(jnp.int32)
    real = jnp.arange(keep) < count[:, None, None]  # padding has the lowest scores and the last positions
    return Kept(jnp.where(real, index, 0), jnp.broadcast_to(count[:, None], index.shape[:2]))


def _best(scores: jax.Array, length: jax.Array, keep: int, width: int) -> jax.Array:
    """Positions of the K highest of [B, C, L], ascending; those behind the length come after all others.

    Whatever is among the K highest lies in one of the K bins of the highest maxima: else each of those K bins
    would hold an element that is higher, or as high and, bins being consecutive, further behind.
    """
    real = length_mask(length, scores.shape[-1])[:, None] > 0
    least = jnp.finfo(scores.dtype).min
    # NaN compares false: it is the lowest of a real behaviour, which is above padding.
    scores = jnp.where(real & (scores > least), scores, jnp.where(real, least, -jnp.inf))
    bins = scores.reshape(*scores.shape[:2], -1, width)
    largest = lambda x: top_search(x, jnp.full_like(length, x.shape[-1]), keep).index  # of equal ones the last
    best = largest(bins.max(-1))
    found = jnp.take_along_axis(bins, best[..., None], 2, mode='promise_in_bounds')  # [B, C, K, W]
    place = largest(found.reshape(*found.shape[:2], -1))
    of_bin = jnp.take_along_axis(best, place // width, -1, mode='promise_in_bounds')
    return of_bin * width + place % width
