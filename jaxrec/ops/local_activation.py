"""The net by which DIN scores behaviours against candidates (arXiv 1706.06978, figure 2).

Its first layer reads [c, h, c * h] of each pair. It is taken term by term, and a behaviour meets one kernel
for each candidate, h W + (c * h) V = h (W + c V), all side by side: no product is made for every pair. What
the layer makes of all pairs is by far the largest array, so that a CPU takes a few examples at a time.

B batch, C candidates, L history, D width, W first hidden width.
"""

from collections.abc import Callable, Mapping

import chex
import jax
import jax.numpy as jnp

from jaxrec.ops.chunks import by_chunks


def local_activation(
    candidate: jax.Array,
    history: jax.Array,
    kernels: Mapping[str, jax.Array],
    bias: jax.Array,
    rest: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """Scores each behaviour against each candidate.

    Args:
      candidate: float [B, C, D].
      history: float [B, L, D].
      kernels: float [D, W] each, by what they are multiplied with: `candidate`, `history` and `product`.
      bias: float [W].
      rest: the layers after the first and its sigmoid, [..., W] to [..., 1].

    Returns:
      float [B, C, L].
    """
    chex.assert_rank([candidate, history], 3)
    (_, candidates, _), length, width = candidate.shape, history.shape[1], bias.shape[0]
    of_candidate = candidate @ kernels['candidate'] + bias  # [B, C, W]
    # As einsum, whose gradient is products too; that of a broadcast multiplication was 5 times slower.
    scaled = jnp.einsum('bcd,dw->bdcw', candidate, kernels['product'])
    of_history = kernels['history'][:, None] + scaled  # [B, D, C, W]

    def score(of_candidate: jax.Array, of_history: jax.Array, history: jax.Array) -> jax.Array:
        batch, size = of_history.shape[:2]
        pairs = history @ of_history.reshape(batch, size, -1)  # [S, L, C * W]
        pairs = pairs.reshape(batch, length, candidates, width) + of_candidate[:, None]
        # The candidates' axis is moved once a pair is one number.
        return rest(jax.nn.sigmoid(pairs))[..., 0].swapaxes(1, 2)

    bytes_each = candidates * length * width * history.dtype.itemsize
    return by_chunks(score, of_candidate, of_history, history, bytes_each=bytes_each, trained=True)
