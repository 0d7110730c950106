"""Layers over the order of a history: GRU, AUGRU, and the net of DIEN's auxiliary loss (arXiv 1809.03672).

B batch, C candidates, L history, D input width, H hidden width.
"""

import itertools
from collections.abc import Sequence

import flax.linen as nn
import jax

from jaxrec.ops.histories.auxiliary import next_behaviour_loss
from jaxrec.ops.histories.recurrent import augru, gru


class Gru(nn.Module):
    """A GRU of width H over the history; see `ops.recurrent.gru`."""

    hidden: int

    @nn.compact
    def __call__(self, inputs: jax.Array, mask: jax.Array) -> jax.Array:
        """Reads a history [B, L, D], masked by [B, L], to the state after each behaviour, float [B, L, H]."""
        return gru(inputs, mask, *gate_weights(self, inputs.shape[-1], self.hidden))


class Augru(nn.Module):
    """A GRU of width H whose update gate is scaled by attention; see `ops.recurrent.augru`."""

    hidden: int

    @nn.compact
    def __call__(self, inputs: jax.Array, attention: jax.Array, mask: jax.Array) -> jax.Array:
        """Reads a history [B, L, D] once for each candidate, with attention [B, C, L], to the last state [B, C, H]."""
        return augru(inputs, attention, mask, *gate_weights(self, inputs.shape[-1], self.hidden))


def gate_weights(module: nn.Module, size: int, hidden: int, prefix: str = '') -> tuple[jax.Array, jax.Array, jax.Array]:
    """The parameters of a GRU, each gate drawn as a layer of its own; called in the compact method of the module.

    Returns:
      kernel float [3, D, H], recurrent float [3, H, H] and bias float [3, H].
    """
    glorot = nn.initializers.glorot_normal(batch_axis=0)
    return (
        module.param(f'{prefix}kernel', glorot, (3, size, hidden)),
        module.param(f'{prefix}recurrent', glorot, (3, hidden, hidden)),
        module.param(f'{prefix}bias', nn.initializers.zeros, (3, hidden)),
    )


class NextBehaviour(nn.Module):
    """A small net that scores whether a behaviour follows a state; its loss trains the states (section 4.2).

    Attributes:
      widths: hidden widths of the net, with sigmoid after each.
    """

    widths: Sequence[int] = (100, 50)

    @nn.compact
    def __call__(self, states: jax.Array, history: jax.Array, negative: jax.Array, mask: jax.Array) -> jax.Array:
        """The loss float [] of `ops.auxiliary.next_behaviour_loss`, whose first four arguments these are."""
        sizes = (states.shape[-1] + history.shape[-1], *self.widths, 1)
        layers = []
        for depth, (size, width) in enumerate(itertools.pairwise(sizes)):
            kernel = self.param(f'kernel_{depth}', nn.initializers.glorot_normal(), (size, width))
            layers.append((kernel, self.param(f'bias_{depth}', nn.initializers.zeros, (width,))))
        return next_behaviour_loss(states, history, negative, mask, layers)
