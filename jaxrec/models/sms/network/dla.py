"""Deep layer aggregation (arXiv 1707.06484): the trunk by trees, the way up by iteration.

Modules are named as in PyTorch's published weights, which `convert` reads. B batch, H, W image, C channels, L levels.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.models.sms.network.layers import ConvNorm, Enlarge, Style, When
from jaxrec.ops.segmentation.grids import halve_by_max


class Block(nn.Module):
    """Two 3 x 3 convolutions, the first with the stride, and a shortcut."""

    width: int
    stride: int
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array, shortcut: jax.Array, when: When) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, width]."""
        x = ConvNorm(self.width, 3, self.stride, self.style, name='conv1')(x, when)
        x = ConvNorm(self.width, 3, 1, self.style, active=False, name='conv2')(x, when)
        return nn.relu(x + shortcut)


class Tree(nn.Module):
    """Hierarchical aggregation (figure 3): blocks in a binary tree whose roots join what is below.

    The root joins the (pooled) input too where `keeps_input`; `stride` is of the first block, 1 or 2.
    """

    depth: int
    width: int
    stride: int
    keeps_input: bool
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array, when: When, below: tuple[jax.Array, ...] = ()) -> jax.Array:
        """[B, H, W, C] and what its root joins besides -> [B, H / stride, W / stride, width]."""
        pooled = halve_by_max(x) if self.stride == 2 else x
        if self.keeps_input:
            below = (*below, pooled)
        if self.depth > 1:
            x = Tree(self.depth - 1, self.width, self.stride, False, self.style, name='tree1')(x, when)
            second = Tree(self.depth - 1, self.width, 1, False, self.style, name='tree2')
            return second(x, when, (*below, x))
        shortcut = pooled
        if x.shape[-1] != self.width:
            shortcut = ConvNorm(self.width, 1, 1, self.style, active=False, name='project')(pooled, when)
        first = Block(self.width, self.stride, self.style, name='tree1')(x, shortcut, when)
        last = Block(self.width, 1, self.style, name='tree2')(first, first, when)
        joined = jnp.concatenate([last, first, *below], -1)
        return ConvNorm(self.width, 1, 1, self.style, name='root')(joined, when)


class Dla(nn.Module):
    """The trunk.

    Attributes:
      depths, widths: of each level; the first two are convolutions in a row, the others trees.
      style: of the network.
      fine: give the map of stride 2 too, before the others.
    """

    depths: Sequence[int]
    widths: Sequence[int]
    style: Style
    fine: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, when: When) -> list[jax.Array]:
        """[B, H, W, 3] -> the maps of strides 4, 8 and so on, [B, H / 4, W / 4, widths[2]] and so on."""
        x = ConvNorm(self.widths[0], 7, 1, self.style, name='base_layer')(x, when)
        for level in (0, 1):
            for i in range(self.depths[level]):
                stride = 2 if level == 1 and i == 0 else 1
                x = ConvNorm(self.widths[level], 3, stride, self.style, name=f'level{level}_{i}')(x, when)
        found = [x] if self.fine else []
        for level in range(2, len(self.depths)):
            tree = Tree(self.depths[level], self.widths[level], 2, level > 2, self.style, name=f'level{level}')
            x = tree(x, when)
            found.append(x)
        return found


class Ascend(nn.Module):
    """Iterative aggregation of maps, coarser ones enlarged and added one after another (CenterNet's IDAUp).

    Plain convolutions replace CenterNet's deformable ones; a first map of another width is projected too. Each map is
    `factors` coarser than the first; `kernel` is of the convolutions before enlarging, those that join maps are 3 x 3.
    """

    width: int
    factors: Sequence[int]
    kernel: int
    style: Style

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], when: When) -> list[jax.Array]:
        """Maps, finest first -> as many of the first one's size: what has been joined up to each."""
        first = maps[0]
        if first.shape[-1] != self.width:
            first = ConvNorm(self.width, self.kernel, 1, self.style, name='proj_0')(first, when)
        joined = [first]
        for i, factor in enumerate(self.factors[1:], 1):
            x = ConvNorm(self.width, self.kernel, 1, self.style, name=f'proj_{i}')(maps[i], when)
            if factor > 1:
                x = Enlarge(factor, name=f'up_{i}')(x)
            joined.append(ConvNorm(self.width, 3, 1, self.style, name=f'node_{i}')(x + joined[-1], when))
        return joined


class Neck(nn.Module):
    """From the maps of a trunk to one of stride 4 (CenterNet's DLAUp and its last IDAUp); `widths` finest first."""

    widths: Sequence[int]
    kernel: int
    style: Style

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], when: When) -> jax.Array:
        """Maps of strides 4, 8, ... -> [B, H / 4, W / 4, widths[0]]."""
        maps, last = list(maps), len(maps) - 1
        # The coarsest map after each round, finest round first.
        ends = [maps[last]]
        for round_, start in enumerate(reversed(range(last))):
            # What lies behind `start` has been brought to one size by the rounds before.
            factors = [1] + [2] * (last - start)
            ascend = Ascend(self.widths[start], factors, self.kernel, self.style, name=f'ida_{round_}')
            maps[start:] = ascend(maps[start:], when)
            ends.insert(0, maps[last])
        used = ends[: max(last, 1)]
        factors = [2**i for i in range(len(used))]
        return Ascend(self.widths[0], factors, self.kernel, self.style, name='ida_up')(used, when)[-1]
