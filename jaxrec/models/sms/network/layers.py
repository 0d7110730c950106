"""Layers that trunks, necks and heads share: convolution and norm, learned enlarging, heads on maps and points.

B batch, H, W map, C channels, K points, f factor.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.ops.segmentation.grids import bilinear_kernel, enlarge_by_kernel

NORMS = ('batch', 'group')
LEAST = 8  # channels of a group
LITTLE = 0.01  # deviation of last layers
RARE = -2.19  # log(.1 / .9): heatmaps start with a tenth everywhere (CenterNet)


class Style(NamedTuple):
    """The norm ('batch', 'group'), type of activations and momentum of batch statistics of a network's convolutions."""

    norm: str = 'batch'
    dtype: Any = jnp.float32
    momentum: float = 0.9


class When(NamedTuple):
    """How a network is run.

    Attributes:
      train: normalise by the batch's own statistics, which move the running averages.
      valid: float [B], 0 for images that statistics leave out; None counts all.
    """

    train: bool = False
    valid: jax.Array | None = None


class ConvNorm(nn.Module):
    """Convolution without bias, norm, ReLU (if `active`); padded as PyTorch does, so that its weights mean the same."""

    width: int
    kernel: int = 3
    stride: int = 1
    style: Style = Style()
    active: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, when: When) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, width]."""
        x = convolve(self.width, self.kernel, self.stride, self.style.dtype, bias=False, name='conv')(x)
        if self.style.norm == 'batch':
            # The mask is left out where it is none: sums under a mask cost a pass over the map.
            mask = None if when.valid is None else when.valid[:, None, None, None] > 0
            norm = nn.BatchNorm(not when.train, momentum=self.style.momentum, dtype=self.style.dtype, name='norm')
            x = norm(x, mask=mask if when.train else None)
        else:
            # Of fewer channels a small map has too few values, and one cell of one channel is always 0.
            groups = math.gcd(32, max(1, self.width // LEAST), self.width)
            x = nn.GroupNorm(groups, dtype=self.style.dtype, name='norm')(x)
        return nn.relu(x) if self.active else x


def convolve(
    width: int, kernel: int, stride: int = 1, dtype: Any = jnp.float32, bias: bool = True, **named: Any
) -> nn.Conv:
    """A convolution that pads both sides by half its kernel."""
    half = kernel // 2
    return nn.Conv(
        width,
        (kernel, kernel),
        strides=stride,
        padding=((half, half), (half, half)),
        use_bias=bias,
        dtype=dtype,
        kernel_init=nn.initializers.he_normal(),
        **named,
    )


class Enlarge(nn.Module):
    """Each channel enlarged by a kernel of its own, bilinear at first; the factor f is even."""

    factor: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, f H, f W, C]."""
        draw = lambda _, shape: jnp.broadcast_to(bilinear_kernel(self.factor)[..., None], shape)
        kernel = self.param('kernel', draw, (2 * self.factor, 2 * self.factor, x.shape[-1]))
        return enlarge_by_kernel(x, kernel)


class MapHead(nn.Module):
    """3 x 3 to `width` channels, ReLU, 1 x 1 to `out`, everywhere on a map (CenterNet); `bias` is the first output."""

    width: int
    out: int
    bias: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> float32 [B, H, W, out]."""
        x = nn.relu(convolve(self.width, 3, dtype=self.dtype, name='hidden')(x))
        last = nn.Dense(
            self.out,
            dtype=jnp.float32,  # of bfloat16 logits neighbours are equal, and both are peaks
            kernel_init=nn.initializers.normal(LITTLE),
            bias_init=nn.initializers.constant(self.bias),
            name='out',
        )
        return last(x)


class PointHead(nn.Module):
    """The same on the 3 x 3 squares around points: nothing is computed where nothing is read.

    Attributes:
      width: channels between the two.
      out: {name: channels}.
      shared: one 3 x 3 for all outputs, else one each.
      deviation: {name: of the normal that its last layer is drawn from}, .01 of those that are not named.
      dtype: of activations.
    """

    width: int
    out: Mapping[str, int]
    shared: bool = True
    deviation: Mapping[str, float] = flax.core.FrozenDict()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, patches: jax.Array) -> dict[str, jax.Array]:
        """[B, K, 9 C] of `ops.grids.patches_at` -> {name: float32 [B, K, channels]}."""
        dense = lambda width, init, name, dtype: nn.Dense(width, dtype=dtype, kernel_init=init, name=name)
        hidden = lambda name: nn.relu(dense(self.width, nn.initializers.he_normal(), name, self.dtype)(patches))
        together = hidden('hidden') if self.shared else None
        found = {}
        for name, width in self.out.items():
            x = hidden(f'hidden_{name}') if together is None else together
            drawn = nn.initializers.normal(self.deviation.get(name, LITTLE))
            found[name] = dense(width, drawn, name, jnp.float32)(x)
        return found
