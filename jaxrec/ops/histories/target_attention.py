"""Multi-head target attention over the behaviours a search kept (SIM, arXiv 2006.05639, eq. 3-4).

The candidate is projected once to the width of a behaviour, so that no behaviour is projected: <W_b z, W_a c> is <z,
W_b^T W_a c>. Behaviours, in parts, are kept for each candidate, N = C, or shared by all, N = 1, and then never tiled.

B batch, C candidates, K kept, H heads, E width of a candidate, D of a behaviour, Di of a part, A of a head.
"""

import functools

import chex
import jax
import jax.numpy as jnp

from jaxrec.ops.histories.pooling import masked_softmax
from jaxrec.ops.histories.search import Parts, split_like


def project_query(candidate: jax.Array, of_candidate: jax.Array, of_behaviour: jax.Array) -> jax.Array:
    """Computes what each head's behaviours are multiplied with, W_b^T W_a c; float [B, C, H, D].

    Args:
      candidate: float [B, C, E].
      of_candidate, of_behaviour: float [H, E, A] and [H, D, A], W_a and W_b of each head.
    """
    chex.assert_rank([candidate, of_candidate, of_behaviour], 3)
    query = jnp.einsum('bce,hea->bcha', candidate, of_candidate)
    return jnp.einsum('bcha,hda->bchd', query, of_behaviour)


def target_logits(query: jax.Array, parts: Parts) -> jax.Array:
    """Relevance [B, C, H, K] to a query [B, C, H, D] of behaviours [B, N, K, Di] in parts (eq.

    3 before its softmax).
    """
    chex.assert_rank([query, *parts], 4)
    pairs = zip(split_like(query, parts), parts, strict=True)
    return functools.reduce(jnp.add, (_over_kept(q, part.swapaxes(2, 3)) for q, part in pairs))


def cross_bias(parts: Parts, squeeze: Parts, weights: jax.Array) -> jax.Array:
    """Computes what a behaviour's own features add to its relevance, [B, N, H, K] (TWIN, eq. 4, last term).

    Args:
      parts, squeeze: float [B, N, K, Di] each, of J features, and [Di] each, which makes one number of a feature.
      weights: float [H, J], of that number in each head.
    """
    numbers = [part @ vector for part, vector in zip(parts, squeeze, strict=True)]  # [B, N, K]
    return jnp.einsum('jbnk,hj->bnhk', jnp.stack(numbers), weights)


def target_attention(logits: jax.Array, mask: jax.Array, parts: Parts) -> jax.Array:
    """Sums the behaviours by the softmax of their relevance and concatenates the heads (eq. 4).

    Args:
      logits: float [B, C, H, K].
      mask: float [B, N, K], 1 for real behaviours.
      parts: float [B, N, K, Di] each, the values.

    Returns:
      float [B, C, H * D]; zeros where no behaviour is real.
    """
    chex.assert_rank([logits, mask, *parts], [4, 3, *[4] * len(parts)])
    weights = masked_softmax(logits, mask[:, :, None])
    heads = jnp.concatenate([_over_kept(weights, part) for part in parts], -1)  # [B, C, H, D]
    return heads.reshape(*heads.shape[:2], -1)


def log_attention(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """The logarithm [B, C, K] of the attention, averaged over heads, -inf where masked; see `target_attention`.

    Behaviours of hardly any attention keep their order in it, as they would not in the attention itself.
    """
    chex.assert_rank([logits, mask], [4, 3])
    real = mask[:, :, None] > 0
    logits = jnp.where(real, logits, -jnp.inf)
    highest = jnp.maximum(logits.max(-1, keepdims=True, initial=-jnp.inf), jnp.finfo(logits.dtype).min)
    shifted = logits - highest
    shares = shifted - jnp.log(jnp.maximum(jnp.exp(shifted).sum(-1, keepdims=True), 1))
    return jax.nn.logsumexp(shares, 2) - jnp.log(logits.shape[2])


def _over_kept(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """[B, C, H, I] times [B, N, I, O] to [B, C, H, O]; with N = 1, all candidates' heads side by side."""
    shape, rows = x.shape, matrix.shape[1]
    chex.assert_shape(matrix, (None, {1, shape[1]}, shape[3], None))
    out = x.reshape(shape[0], rows, -1, shape[3]) @ matrix
    return out.reshape(*shape[:3], matrix.shape[3])
