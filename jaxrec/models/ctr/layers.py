"""Layers that several CTR models share; they own parameters, the maths is in `ops`.

B batch, C candidates, L history, D width.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.ops.histories.local_activation import first_layer
from jaxrec.ops.histories.pooling import attention_pool

ACTIVATIONS = ('prelu', 'dice', 'sigmoid')


class Mlp(nn.Module):
    """Dense layers with PReLU, and batch norm before them on request; the last layer is linear.

    Attributes:
      widths: output width of every layer, the last being the output.
      batch_norm: normalise the input, with real train and evaluation modes.
      activation: 'prelu', 'dice' or 'sigmoid' between the layers.
    """

    widths: Sequence[int]
    batch_norm: bool = False
    activation: str = 'prelu'

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, valid: jax.Array | None = None) -> jax.Array:
        """Maps float [..., D] to [..., widths[-1]].

        Args:
          x: float [..., D].
          train: batch statistics are of this batch, and update the running ones.
          valid: float [...], rows that count for batch statistics, Dice's too; None counts all.
        """
        if self.batch_norm:
            mask = None if valid is None else valid[..., None] > 0
            x = nn.BatchNorm(use_running_average=not train, momentum=0.99, name='norm')(x, mask=mask)
        # Two axes: the gradient of a product with more is a product over several axes, far slower on CPUs.
        shape, x = x.shape, x.reshape(-1, x.shape[-1])
        valid = None if valid is None else valid.reshape(-1)
        for depth, width in enumerate(self.widths):
            x = nn.Dense(width, kernel_init=nn.initializers.glorot_normal(), name=f'dense_{depth}')(x)
            if depth == len(self.widths) - 1:
                break
            if self.activation == 'sigmoid':
                x = jax.nn.sigmoid(x)
            elif self.activation == 'dice':
                x = Dice(name=f'dice_{depth}')(x, train, valid)
            else:
                slope = self.param(f'slope_{depth}', nn.initializers.constant(0.25), (width,))
                x = jnp.where(x >= 0, x, slope * x)
        return x.reshape(*shape[:-1], self.widths[-1])


class Dice(nn.Module):
    """PReLU whose bend lies where the data is (arXiv 1706.06978, section 5.2): the two slopes are mixed by p.

    p = sigmoid((x - mean) / std), with the batch's statistics in training and running ones in evaluation.
    """

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, valid: jax.Array | None = None) -> jax.Array:
        """Maps [N, D] to p * x + (1 - p) * slope * x; arguments are those of `Mlp`."""
        mask = None if valid is None else valid[:, None] > 0
        norm = nn.BatchNorm(not train, momentum=0.99, use_scale=False, use_bias=False, name='norm')
        slope = self.param('slope', nn.initializers.constant(0.25), (x.shape[-1],))
        p = jax.nn.sigmoid(norm(x, mask=mask))
        return x * (p + (1 - p) * slope)


class TargetAttention(nn.Module):
    """DIN's local activation unit (arXiv 1706.06978, figure 2): a net scores behaviours against candidates.

    Attributes:
      widths: hidden widths of the scoring net.
      softmax: normalise over the history; the paper does not, most code does.
    """

    widths: Sequence[int] = (80, 40)
    softmax: bool = True

    def __call__(self, candidate: jax.Array, history: jax.Array, mask: jax.Array) -> jax.Array:
        """Pools the history [B, L, D], masked by [B, L], for each candidate [B, C, D]; float [B, C, D]."""
        return attention_pool(self.logits(candidate, history), history, mask, softmax=self.softmax)

    @nn.compact
    def logits(self, candidate: jax.Array, history: jax.Array) -> jax.Array:
        """Scores each behaviour [B, L, D] against each candidate [B, C, D]; float [B, C, L]."""
        size, width = candidate.shape[-1], self.widths[0]
        kernel = lambda name: self.param(name, nn.initializers.glorot_normal(), (size, width))
        kernels = {name: kernel(name) for name in ('candidate', 'history', 'product')}
        bias = self.param('bias', nn.initializers.zeros, (width,))
        pairs = first_layer(candidate, history, kernels, bias)
        score = Mlp((*self.widths[1:], 1), activation='sigmoid', name='score')(pairs)
        return score[..., 0].swapaxes(1, 2)


def over_candidates(x: jax.Array, candidates: int) -> jax.Array:
    """Gives every candidate the request's vector: [B, D] to [B, C, D]."""
    return jnp.broadcast_to(x[:, None], (x.shape[0], candidates, x.shape[1]))
