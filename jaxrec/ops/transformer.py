"""The parts of a transformer as plain functions: norm, attention, feed-forward.

Sums, norms and softmaxes are float32 whatever the inputs are; results have the dtype of the inputs.

B batch, Q queries, S keys, H heads, D width of a head, X width of the model, F hidden.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxrec.ops.dropout import fold_words, keep_mask
from jaxrec.ops.experts.grouped import ACTIVATIONS


class Drop(NamedTuple):
    """Dropout by counter, as in `ops.dropout`; what is dropped depends on a number for its place.

    Attributes:
      words: uint32 [2], from `key_words` or `fold_words`.
      rate: probability of a zero, in [0, 1); 0 drops nothing.
    """

    words: jax.Array
    rate: float

    def __call__(self, x: jax.Array, place: int) -> jax.Array:
        """Thins an array; the mean of what is left is that of the array."""
        if not self.rate:
            return x
        return x * keep_mask(self.words, place, x.shape, self.rate).astype(x.dtype)

    def of_layer(self, number: jax.Array | int) -> 'Drop':
        """What one of many layers drops."""
        return Drop(fold_words(self.words, number), self.rate)


def rms_norm(x: jax.Array, scale: jax.Array, epsilon: float = 1e-6) -> jax.Array:
    """Divides float [..., X] by the root of its mean square plus epsilon, times a scale [X] (arXiv 1910.07467, eq.

    4).
    """
    chex.assert_equal(x.shape[-1:], scale.shape)
    wide = x.astype(jnp.float32)
    mean = jnp.mean(wide * wide, -1, keepdims=True)
    return (wide * jax.lax.rsqrt(mean + epsilon) * scale.astype(jnp.float32)).astype(x.dtype)


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    drop: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """Scaled dot-product attention (arXiv 1706.03762, eq. 1).

    Queries may be beams: all of a request's read the same keys, which are never tiled.

    Args:
      query: float [B, Q, H, D].
      key, value: float [B, S, H, D].
      mask: bool, broadcasts to [B, H, Q, S]; False is not attended to.
      drop: dropout of the weights; None for none.

    Returns:
      float [B, Q, H, D]; zeros where there is nothing to attend to.
    """
    chex.assert_rank([query, key, value], 4)
    logits = jnp.einsum('bqhd,bshd->bhqs', query, key, preferred_element_type=jnp.float32)
    weights = _softmax(logits / query.shape[-1] ** 0.5, mask)
    weights = weights if drop is None else drop(weights)
    return jnp.einsum('bhqs,bshd->bqhd', weights.astype(value.dtype), value)


def attend_own(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array) -> jax.Array:
    """Attention of beams that have keys of their own, float [B, K, Q, H, D].

    Args:
      query: float [B, K, Q, H, D], the newest positions of each of K beams.
      key, value: float [B, K, S, H, D], all positions.
      mask: bool, broadcasts to [B, K, H, Q, S].
    """
    chex.assert_rank([query, key, value], 5)
    logits = jnp.einsum('bkqhd,bkshd->bkhqs', query, key, preferred_element_type=jnp.float32)
    weights = _softmax(logits / query.shape[-1] ** 0.5, mask)
    return jnp.einsum('bkhqs,bkshd->bkqhd', weights.astype(value.dtype), value)


def _softmax(logits: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Over the last axis; zeros where the whole row is masked, with zero gradients."""
    if mask is None:
        return jax.nn.softmax(logits)
    return jax.nn.softmax(jnp.where(mask, logits, -1e30)) * mask


def project(x: jax.Array, weights: jax.Array) -> jax.Array:
    """Multiplies float [..., X] by weights [X, F], as fast in its gradient as in itself on XLA's CPU backend.

    That backend takes twice the time for the product of two long matrices whose result is taller than wide, or that
    have more than one axis of rows. So rows are flattened, and tall weights are transposed before they are multiplied,
    behind a barrier: else XLA transposes the product back.
    """
    chex.assert_rank(weights, 2)
    flat = x.reshape(-1, x.shape[-1])
    if weights.shape[0] > weights.shape[1]:
        found = flat @ jax.lax.optimization_barrier(weights.T).T
    else:
        found = flat @ weights
    return found.reshape(*x.shape[:-1], weights.shape[1])


def feed_forward(
    x: jax.Array, up: jax.Array, down: jax.Array, activation: str, drop: Callable[[jax.Array], jax.Array] | None = None
) -> jax.Array:
    """Two layers, the first of which may hold a gate and what it gates (arXiv 2002.05202, eq. 6); float [..., X].

    Args:
      x: float [..., X].
      up, down: float [X, F], or [X, 2 F] where the activation is gated, the gate first; and [F, X].
      activation: one of `ops.grouped.ACTIVATIONS`.
      drop: dropout of the hidden units; None for none.
    """
    hidden = ACTIVATIONS[activation](project(x, up))
    return project(hidden if drop is None else drop(hidden), down)


def causal_mask(size: int) -> jax.Array:
    """bool [size, size]: what each position may see, itself and those before it."""
    return jnp.tril(jnp.ones((size, size), bool))
