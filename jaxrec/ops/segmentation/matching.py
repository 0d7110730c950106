"""Linking relations to entities by displacements (PPDM, arXiv 1912.12898, section 3.3), and parts of people.

B batch, R relation points, K entities, P parts, H, W map.
"""

import chex
import jax
import jax.numpy as jnp


def relation_cell(subject: jax.Array, target: jax.Array, fraction: float) -> jax.Array:
    """The cell of a relation's point, on the way from its subject to its object: int32 [..., 2], as both.

    At one half it is PPDM's midpoint, cut down to a whole cell, on which a relation and its mirror image fall together.
    Elsewhere it is cut towards the end that is nearer, the subject before the middle, so that the two have points of
    their own, however near their entities are. `fraction` is from 0, the subject itself, to 1.
    """
    if fraction > 0.5:
        return relation_cell(target, subject, 1 - fraction)
    way = (target - subject).astype(jnp.float32) * fraction
    # A third of three cells is one cell, however float32 rounds it.
    cut = jnp.floor(way) if fraction == 0.5 else jnp.sign(way) * jnp.floor(jnp.abs(way) + 1e-3)
    return subject + cut.astype(jnp.int32)


def matching_scores(wanted: jax.Array, centre: jax.Array, score: jax.Array, scale: float = 1.0) -> jax.Array:
    """How well each entity fits where a relation point expects one: score / (s |dy| + 1) / (s |dx| + 1).

    Args:
      wanted: float [B, R, 2], the point minus its displacement.
      centre, score: float [B, K, 2] and [B, K], of detection.
      scale: s; PPDM's is 1, on a map of 128 cells.

    Returns:
      float [B, R, K].
    """
    chex.assert_rank([wanted, centre, score], [3, 3, 2])
    away = scale * jnp.abs(wanted[:, :, None] - centre[:, None])
    return score[:, None] / ((away[..., 0] + 1) * (away[..., 1] + 1))


def best_matches(scores: jax.Array, allowed: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The J entities that fit a relation point best; PPDM takes the first alone.

    Args:
      scores: float [B, R, K], not negative.
      allowed: bool [B, R, K] or broadcastable to it.
      count: J; of fewer entities the places behind hold the first with a share of 0.

    Returns:
      int32 [B, R, J], best first, of equal ones the first; and float32 [B, R, J], their scores as shares of the best, 0
      where there is none.
    """
    open_to = jnp.where(allowed, scores, 0.0)
    fit, which = jax.lax.top_k(open_to, min(count, scores.shape[-1]))
    missing = ((0, 0), (0, 0), (0, count - fit.shape[-1]))
    best = fit[..., :1]
    share = jnp.where(fit == best, 1.0, fit / jnp.maximum(best, 1e-30))  # XLA may round x / x below 1
    share = jnp.where(fit > 0, share, 0.0)
    return jnp.pad(which, missing).astype(jnp.int32), jnp.pad(share, missing)


def first_of_its_kind(subject: jax.Array, target: jax.Array, relation: jax.Array) -> jax.Array:
    """bool [B, R]: which triplets, int32 [B, R] each and best first, repeat none before them."""
    same = jnp.ones((), bool)
    for x in (subject, target, relation):
        same = same & (x[:, :, None] == x[:, None])  # [B, R, R]
    count = subject.shape[1]
    earlier = jnp.arange(count)[:, None] > jnp.arange(count)
    return ~(same & earlier).any(-1)


def part_cross_entropy(logits: jax.Array, part: jax.Array, weight: jax.Array, ignore: int = 255) -> jax.Array:
    """Softmax cross-entropy of a part map, averaged over the labelled pixels; float32 [], 0 without any.

    Args:
      logits: float [B, H, W, P + 1], of no part and of every part.
      part: uint8 [B, H, W], 0 to P, or `ignore`.
      weight: float [B], 0 for images that do not count.
      ignore: the value of pixels without a label.
    """
    chex.assert_shape(part, logits.shape[:-1])
    known = part != ignore
    label = jnp.where(known, part, 0).astype(jnp.int32)
    x = logits.astype(jnp.float32)
    # A comparison instead of a gather, whose gradient would be a scatter over all pixels.
    chosen = jnp.sum(jnp.where(jnp.arange(x.shape[-1]) == label[..., None], x, 0.0), -1)
    counts = known * weight[:, None, None]
    each = jax.nn.logsumexp(x, -1) - chosen
    return jnp.sum(each * counts) / jnp.maximum(jnp.sum(counts), 1.0)
