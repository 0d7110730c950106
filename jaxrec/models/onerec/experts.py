"""The feed-forward of OneRec's decoder: one net, or a mixture of experts (arXiv 2502.18965, eq. 2).

B batch, T tokens, X width, N layers, E experts.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxrec.models.onerec.options import Network
from jaxrec.models.transformer.layers import HIDDEN
from jaxrec.ops.transformer import Drop, feed_forward

Tree = Mapping[str, Any]
FeedOf = Callable[[Tree, jax.Array, jax.Array | None, Drop | None], tuple[jax.Array, Any]]


def feed_of(network: Network, real: jax.Array) -> FeedOf:
    """The feed-forward of every decoder layer.

    Args:
      network: sizes and switches.
      real: [B, T], 0 for tokens that are padding.

    Returns:
      (weights of a layer, float [B, T, X], router bias float [E] or None, what is dropped) -> (float
      [B, T, X], what the experts tell; None of a dense net).
    """

    def dense(
        weights: Tree, x: jax.Array, bias: jax.Array | None, drop: Drop | None
    ) -> tuple[jax.Array, Any]:
        del bias
        thin = None if drop is None else lambda hidden: drop(hidden, HIDDEN)
        return feed_forward(x, weights['feed'], network.activation, thin), None

    return dense


def expert_losses(network: Network, told: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
    raise NotImplementedError


def new_biases(network: Network, biases: jax.Array, told: Any) -> jax.Array:
    raise NotImplementedError
