"""The net by which DIN scores behaviours against candidates (arXiv 1706.06978, figure 2).

Its first layer reads [c, h, c * h] of each pair term by term: h W + (c * h) V = h (W + c V), with no product a pair.

B batch, C candidates, L history, D width, W first hidden width.
"""

from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp


def first_layer(
    candidate: jax.Array, history: jax.Array, kernels: Mapping[str, jax.Array], bias: jax.Array
) -> jax.Array:
    """Computes the net's first layer for each candidate and behaviour, its sigmoid included.

    Args:
      candidate, history: float [B, C, D] and [B, L, D].
      kernels: float [D, W] each, by what they are multiplied with: `candidate`, `history` and `product`.
      bias: float [W].

    Returns:
      float [B, L, C, W]. Move the candidates' axis once a pair is one number: on a CPU moving W numbers costs a copy.
    """
    chex.assert_rank([candidate, history], 3)
    (batch, candidates, _), length = candidate.shape, history.shape[1]
    of_candidate = candidate @ kernels['candidate'] + bias  # [B, C, W]
    # As einsum, whose gradient is products too; that of a broadcast multiplication was 5 times slower.
    scaled = jnp.einsum('bcd,dw->bdcw', candidate, kernels['product'])
    of_history = kernels['history'][:, None] + scaled  # [B, D, C, W]
    pairs = history @ of_history.reshape(*of_history.shape[:2], -1)  # [B, L, C * W]
    return jax.nn.sigmoid(pairs.reshape(batch, length, candidates, -1) + of_candidate[:, None])
