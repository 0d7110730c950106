"""Masks, masked pooling and target attention over padded histories.

B batch, C candidates, L history, D width.
"""

import chex
import jax
import jax.numpy as jnp


def length_mask(length: jax.Array, size: int) -> jax.Array:
    """Marks the real slots of left-aligned histories: int [B, ...] lengths to float32 [B, ..., L], for L = `size`."""
    return (jnp.arange(size) < length[..., None]).astype(jnp.float32)


def masked_sum(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Sums the real slots: float [..., L, D] under a mask [..., L] to [..., D], zeros for an empty history."""
    return jnp.einsum('...ld,...l->...d', x, mask)


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Averages the real slots; arguments and result are those of `masked_sum`."""
    return masked_sum(x, mask) / jnp.maximum(mask.sum(-1, keepdims=True), 1)


def count_same(candidate: jax.Array, history: jax.Array, mask: jax.Array, least: int = 0) -> jax.Array:
    """Counts how often histories int [B, L] hold the value of each candidate int [B, C].

    Values below `least` equal nothing. Mask float [B, L]. Returns float32 [B, C].
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
    """Normalises logits [..., L] over the real slots of a mask, float or bool, that broadcasts over the leading axes.

    Returns float [..., L], zero where the mask is, and everywhere if it is all zeros.
    """
    logits, real = jnp.asarray(logits), mask > 0
    # A finite floor keeps value and gradient of an all-masked history at zero instead of NaN.
    return jax.nn.softmax(jnp.where(real, logits, jnp.finfo(logits.dtype).min), -1) * real


def attention_pool(logits: jax.Array, values: jax.Array, mask: jax.Array, *, softmax: bool = True) -> jax.Array:
    """Weighs each behaviour by its relevance to each candidate and sums (DIN, arXiv 1706.06978, eq. 3).

    Args:
      logits, mask, softmax: as for `attention_weights`; the DIN paper has softmax=False.
      values: float [B, L, D]; shared by the candidates, never tiled.

    Returns:
      float [B, C, D]; zeros for an empty history.
    """
    chex.assert_rank(values, 3)
    weights = attention_weights(logits, mask, softmax=softmax)
    return jnp.einsum('bcl,bld->bcd', weights, values)
