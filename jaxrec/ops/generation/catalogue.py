"""Scores of a complete catalogue: cross-entropy without all logits at once, ranks, and the best items.

N positions, X width, V items, K best.
"""

import functools

import chex
import jax
import jax.numpy as jnp

CHUNK_BYTES = 1 << 24  # of logits that exist at once


def catalogue_cross_entropy(
    hidden: jax.Array, vectors: jax.Array, labels: jax.Array, allowed: jax.Array, where: jax.Array | None = None
) -> jax.Array:
    """Cross-entropy of a softmax over all items, position by position.

    Logits are computed in chunks of positions, and again for the gradient. Positions whose loss is wanted go first, and
    chunks without any are skipped: of histories that are mostly padding, most are.

    Args:
      hidden: float [N, X].
      vectors: float [V, X]; an item's logit is its product with a position.
      labels: int [N]; ignored where the loss is not wanted.
      allowed: bool [V], items that take part.
      where: bool [N], positions whose loss is wanted; None for all.

    Returns:
      float32 [N], 0 where it is not wanted.
    """
    chex.assert_rank([hidden, vectors, labels, allowed], [2, 2, 1, 1])
    if where is not None:
        order = jnp.argsort(~where, stable=True)
        packed = _in_chunks(hidden[order], vectors, labels[order], allowed, where[order])
        return jnp.zeros(len(hidden)).at[order].set(packed)
    return _in_chunks(hidden, vectors, labels, allowed, jnp.ones(len(hidden), bool))


def _in_chunks(
    hidden: jax.Array, vectors: jax.Array, labels: jax.Array, allowed: jax.Array, where: jax.Array
) -> jax.Array:
    size = max(1, min(len(hidden), CHUNK_BYTES // (4 * vectors.shape[0])))
    short = -len(hidden) % size
    pad = lambda x: jnp.pad(x, ((0, short), *[(0, 0)] * (x.ndim - 1))).reshape(-1, size, *x.shape[1:])

    @jax.checkpoint
    def losses(hidden: jax.Array, labels: jax.Array, where: jax.Array) -> jax.Array:
        logits = catalogue_scores(hidden, vectors, allowed)
        # Padding takes no part, and the loss of such a label is infinite, even times 0.
        labels = jnp.where(where, labels, jnp.argmax(allowed))
        picked = jnp.take_along_axis(logits, labels[:, None], -1)[:, 0]
        return jnp.where(where, jax.nn.logsumexp(logits, -1) - picked, 0)

    def chunk(parts: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        nothing = lambda *_: jnp.zeros(size)
        return jax.lax.cond(parts[2].any(), losses, nothing, *parts)

    if not short and size == len(hidden):
        return losses(hidden, labels, where)
    return jax.lax.map(chunk, (pad(hidden), pad(labels), pad(where))).reshape(-1)[: len(hidden)]


def sampled_cross_entropy(hidden: jax.Array, vectors: jax.Array, labels: jax.Array, negatives: jax.Array) -> jax.Array:
    """Cross-entropy float32 [N] of a softmax over the labels int [N] and uniformly drawn negatives int [S].

    A negative that is a position's label does not count against it. Positions are float [N, X], items float [V, X].
    """
    chex.assert_rank([hidden, vectors, labels, negatives], [2, 2, 1, 1])
    wide = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    positive = wide('nx,nx->n', hidden, vectors[labels])
    others = wide('nx,sx->ns', hidden, vectors[negatives])
    others = jnp.where(negatives == labels[:, None], -jnp.inf, others)
    return jnp.logaddexp(positive, jax.nn.logsumexp(others, -1)) - positive


def catalogue_scores(hidden: jax.Array, vectors: jax.Array, allowed: jax.Array) -> jax.Array:
    """Scores of all items, -inf for those that take no part: float32 [N, V] of [N, X] and [V, X]."""
    scores = jnp.einsum('nx,vx->nv', hidden, vectors, preferred_element_type=jnp.float32)
    return jnp.where(allowed, scores, -jnp.inf)


def rank_of(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Ranks labels int [N] by scores [N, V]: float32 [N], from 1; equal scores share the mean of their ranks."""
    chex.assert_rank([scores, labels], [2, 1])
    own = jnp.take_along_axis(scores, labels[:, None], -1)
    above, equal = jnp.sum(scores > own, -1), jnp.sum(scores == own, -1)
    return (above + (equal + 1) / 2).astype(jnp.float32)
