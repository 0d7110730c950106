"""The auxiliary loss of DIEN (arXiv 1809.03672, section 4.2): each state must tell what came next.

Letters: any shape [...] of pairs, such as [B, L].
"""

import chex
import jax
import jax.numpy as jnp


def next_behaviour_loss(clicked: jax.Array, other: jax.Array, weight: jax.Array) -> jax.Array:
    """Cross-entropy of the next behaviour against one that did not happen, averaged over the pairs.

    The paper sums over each history and divides by the number of histories; the authors' code averages, over
    padding too. The mean over real pairs depends neither on the length of histories nor on padding.

    Args:
      clicked: float [...], logits of the behaviours that came next.
      other: float [...], logits of their negatives.
      weight: float [...], 1 for pairs that count, 0 for padding.

    Returns:
      float [], -mean(log sigmoid(clicked) + log(1 - sigmoid(other))); 0 where no pair counts.
    """
    chex.assert_equal_shape([clicked, other, weight])
    losses = jax.nn.softplus(-clicked) + jax.nn.softplus(other)
    return jnp.sum(losses * weight) / jnp.maximum(weight.sum(), 1)
