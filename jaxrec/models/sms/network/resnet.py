"""ResNet (arXiv 1512.03385), the stride of a bottleneck in its 3 x 3 convolution, as torchvision has it."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from jaxrec.models.sms.network.layers import ConvNorm, Style, When
from jaxrec.ops.segmentation.grids import fold, neighbourhood_max

EXPANSION = 4  # of a bottleneck


class Block(nn.Module):
    """A residual block: two 3 x 3, or as `bottleneck` 1 x 1, 3 x 3 and 1 x 1 to four times the width."""

    width: int
    stride: int
    bottleneck: bool
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array, when: When) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, width or 4 width]."""
        conv = lambda width, kernel, stride, name, active=True: ConvNorm(
            width, kernel, stride, self.style, active, name=name
        )
        out = self.width * (EXPANSION if self.bottleneck else 1)
        if self.bottleneck:
            y = conv(self.width, 1, 1, 'conv1')(x, when)
            y = conv(self.width, 3, self.stride, 'conv2')(y, when)
            y = conv(out, 1, 1, 'conv3', False)(y, when)
        else:
            y = conv(self.width, 3, self.stride, 'conv1')(x, when)
            y = conv(out, 3, 1, 'conv2', False)(y, when)
        if x.shape[-1] != out or self.stride > 1:
            x = conv(out, 1, self.stride, 'downsample', False)(x, when)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """The trunk.

    Attributes:
      blocks, widths: of the stages of strides 4, 8, 16 and 32; the stem is as wide as the first.
      bottleneck: as in `Block`.
      folded: the stem reads squares of 4 x 4 pixels as 48 channels, where ResNet convolves and pools pixels.
      style: of the network.
      stem: of a folded one, channels of two convolutions over squares of 2 x 2 pixels; 0 for none.
      fine: give the map of stride 2 too, before the others; a folded one without `stem` has none.
    """

    blocks: Sequence[int]
    widths: Sequence[int]
    bottleneck: bool
    folded: bool
    style: Style
    stem: int = 0
    fine: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, when: When) -> list[jax.Array]:
        """[B, H, W, 3] -> the maps of the stages, [B, H / 4, W / 4, C] and so on."""
        if self.fine and self.folded and not self.stem:
            raise ValueError('a folded ResNet without a stem has no map of stride 2: give it one')
        if self.stem:
            x = fold(x, 2)
            for i in range(2):
                x = ConvNorm(self.stem, 3, 1, self.style, name=f'fine_{i}')(x, when)
        elif not self.folded:
            x = ConvNorm(self.widths[0], 7, 2, self.style, name='stem')(x, when)
        found = [x] if self.fine else []
        if self.folded:
            x = fold(x, 2 if self.stem else 4)
            x = ConvNorm(self.widths[0], 3, 1, self.style, name='stem')(x, when)
        else:
            x = neighbourhood_max(x, stride=2)
        for stage, (count, width) in enumerate(zip(self.blocks, self.widths, strict=True)):
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                block = Block(width, stride, self.bottleneck, self.style, name=f'layer{stage + 1}_{i}')
                x = block(x, when)
            found.append(x)
        return found
