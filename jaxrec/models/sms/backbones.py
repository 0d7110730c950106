"""From an image to one map of stride 4: a trunk, by name, and the neck that all trunks share.

B batch, H, W image, C channels.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.models.sms.dla import Dla, Neck
from jaxrec.models.sms.layers import Style, When
from jaxrec.models.sms.resnet import ResNet

STRIDE = 4  # of the map that heads read


@dataclasses.dataclass(frozen=True)
class Trunk:
    """The shape of a trunk.

    Attributes:
      kind: 'dla' or 'resnet'.
      depths: levels of a DLA, blocks of a ResNet.
      widths: channels of each.
      bottleneck: of a ResNet's blocks.
      folded: of a ResNet's stem.
    """

    kind: str
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    bottleneck: bool = False
    folded: bool = False

    @property
    def maps(self) -> int:
        """Maps that it makes, of strides 4, 8 and so on."""
        return len(self.depths) - (2 if self.kind == 'dla' else 0)

    @property
    def coarsest(self) -> int:
        """Stride of its last map, of which an image's sides are multiples."""
        return STRIDE * 2 ** (self.maps - 1)

    def scaled(self, factor: float) -> 'Trunk':
        """The same with so many times the channels, in multiples of eight."""
        widths = tuple(max(8, round(width * factor / 8) * 8) for width in self.widths)
        return dataclasses.replace(self, widths=widths)


TRUNKS = {
    'dla34': Trunk('dla', (1, 1, 1, 2, 2, 1), (16, 32, 64, 128, 256, 512)),
    'resnet18': Trunk('resnet', (2, 2, 2, 2), (64, 128, 256, 512)),
    'resnet50': Trunk('resnet', (3, 4, 6, 3), (64, 128, 256, 512), bottleneck=True),
    # For images of 128 pixels and a CPU, and for tests.
    'dla_small': Trunk('dla', (1, 1, 1, 1, 1, 1), (8, 16, 32, 64, 128, 256)),
    'dla_tiny': Trunk('dla', (1, 1, 1, 1), (8, 8, 16, 32)),
    # The same for a CPU in a hurry: nothing is computed for every pixel, where convolutions of few channels
    # take most of a small DLA's time.
    'resnet_folded': Trunk('resnet', (1, 2, 2), (32, 64, 128), folded=True),
}


def make_trunk(trunk: Trunk, style: Style, name: str | None = None) -> Dla | ResNet:
    """The Flax module of a trunk: (images [B, H, W, 3], `When`) -> its maps, finest first."""
    if trunk.kind == 'dla':
        return Dla(trunk.depths, trunk.widths, style, name=name)
    return ResNet(trunk.depths, trunk.widths, trunk.bottleneck, trunk.folded, style, name=name)


def normalise(image: jax.Array, mean: Sequence[float], std: Sequence[float], dtype: Any) -> jax.Array:
    """Pixels uint8 [B, H, W, 3] less their mean over their deviation, both of pixels in [0, 1]."""
    middle, deviation = (255 * jnp.asarray(x, jnp.float32) for x in (mean, std))
    return ((image.astype(jnp.float32) - middle) / deviation).astype(dtype)


class Backbone(nn.Module):
    """Trunk and neck.

    Attributes:
      trunk: its shape.
      width: channels of the neck's finest map; they double with the stride.
      kernel: of the neck's projections.
      mean, std: by which pixels are normalised, in [0, 1], red, green, blue.
      style: of the network.
    """

    trunk: Trunk
    width: int
    kernel: int
    mean: Sequence[float]
    std: Sequence[float]
    style: Style

    @nn.compact
    def __call__(self, image: jax.Array, when: When) -> jax.Array:
        """uint8 [B, H, W, 3] -> [B, H / 4, W / 4, width]."""
        x = normalise(image, self.mean, self.std, self.style.dtype)
        with jax.named_scope('trunk'):
            maps = make_trunk(self.trunk, self.style, name='trunk')(x, when)
        widths = tuple(self.width * 2**i for i in range(self.trunk.maps))
        with jax.named_scope('neck'):
            return Neck(widths, self.kernel, self.style, name='neck')(maps, when)
