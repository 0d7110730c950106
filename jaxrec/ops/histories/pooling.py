"""Masks, masked pooling and target attention over padded histories.

B batch, C candidates, L history, D width.
"""

import chex
import jax
import jax.numpy as jnp


def length_mask(length: jax.Array, size: int) -> jax.Array:
    """Marks the real slots of left-aligned histories.

    Args:
      length: int [B, ...], number of real slots.
      size: L.

    Returns:
      float32 [B, ..., L], 1 for slots before the length.
    """
    return (jnp.arange(size) < length[..., None]).astype(jnp.float32)


def masked_sum(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Sums the real slots.

    Args:
      x: float [..., L, D].
      mask: float [..., L].

    Returns:
      float [..., D]; zeros for an empty history.
    """
    return jnp.einsum('...ld,...l->...d', x, mask)


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Averages the real slots.

    Args:
      x: float [..., L, D].
      mask: float [..., L].

    Returns:
      float [..., D]; zeros for an empty history.
    """
    return masked_sum(x, mask) / jnp.maximum(mask.sum(-1, keepdims=True), 1)


def count_same(candidate: jax.Array, history: jax.Array, mask: jax.Array, least: int = 0) -> jax.Array:
    """Counts how often histories hold the value of each candidate.

    Args:
      candidate: int [B, C].
      history: int [B, L].
      mask: float [B, L].
      least: values below are like nothing.

    Returns:
      float32 [B, C].
    """
    same = (candidate[:, :, None] == history[:, None]) & (candidate >= least)[:, :, None]
    return jnp.einsum('bcl,bl->bc', same.astype(jnp.float32), mask)


def attention_weights(logits: jax.Array, mask: jax.Array, *, softmax: bool = True) -> jax.Array:
    """Turns the relevance of behaviours into weights over the real ones.

    Args:
      logits: float [B, C, L], relevance of behaviour l to candidate c.
      mask: float [B, L].
      softmax: normalise over the real behaviours; False keeps the raw relevance.

    Returns:
      float [B, C, L]; zero where the mask is, and everywhere for an empty history.
    """
    chex.assert_rank([logits, mask], [3, 2])
    real = mask[:, None] > 0
    return masked_softmax(logits, real) if softmax else logits * real


def masked_softmax(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Normalises over the real slots.

    Args:
      logits: float [..., L].
      mask: float or bool [..., L], broadcast over the axes before the last.

    Returns:
      float [..., L]; zero where the mask is, and everywhere if it is all zeros.
    """
    logits, real = jnp.asarray(logits), mask > 0
    # A finite floor keeps value and gradient of an all-masked history at zero instead of NaN.
    return jax.nn.softmax(jnp.where(real, logits, jnp.finfo(logits.dtype).min), -1) * real


def attention_pool(logits: jax.Array, values: jax.Array, mask: jax.Array, *, softmax: bool = True) -> jax.Array:
    """Weighs each behaviour by its relevance to each candidate and sums (DIN, arXiv 1706.06978, eq. 3).

    Args:
      logits: float [B, C, L], relevance of behaviour l to candidate c.
      values: float [B, L, D]; shared by the candidates, never tiled.
      mask: float [B, L].
      softmax: normalise over the real behaviours; False uses the raw relevance, as the DIN paper does.

    Returns:
      float [B, C, D]; zeros for an empty history.
    """
    chex.assert_rank(values, 3)
    weights = attention_weights(logits, mask, softmax=softmax)
    return jnp.einsum('bcl,bld->bcd', weights, values)
