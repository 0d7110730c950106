"""From an image to one map of stride 4: a trunk, by name, and the neck that all trunks share."""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.models.sms.network.dla import Dla, Neck
from jaxrec.models.sms.network.layers import Style, When
from jaxrec.models.sms.network.resnet import ResNet

STRIDE = 4  # of the map that heads read


@dataclasses.dataclass(frozen=True)
class Trunk:
    """The shape of a trunk.

    Attributes:
      kind: 'dla' or 'resnet'.
      depths, widths: levels of a DLA or blocks of a ResNet, and channels of each.
      bottleneck, folded: of a ResNet's blocks, and of its stem.
      stem: channels of a folded one's convolutions at stride 2; 0 for none.
    """

    kind: str
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    bottleneck: bool = False
    folded: bool = False
    stem: int = 0

    @property
    def maps(self) -> int:
        """Maps that it makes, of strides 4, 8 and so on."""
        return len(self.depths) - (2 if self.kind == 'dla' else 0)

    @property
    def fine(self) -> bool:
        """Whether it has a map of stride 2."""
        return not self.folded or self.stem > 0

    @property
    def coarsest(self) -> int:
        """Stride of its last map, of which an image's sides are multiples."""
        return STRIDE * 2 ** (self.maps - 1)

    def scaled(self, factor: float) -> 'Trunk':
        """The same with so many times the channels, in multiples of eight."""
        times = lambda width: max(8, round(width * factor / 8) * 8)
        widths = tuple(times(width) for width in self.widths)
        return dataclasses.replace(self, widths=widths, stem=times(self.stem) if self.stem else 0)


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
    # With a little for every fourth pixel: on 128 pixels edges of masks, faces and small things live there.
    'resnet_fine': Trunk('resnet', (1, 2, 2), (32, 64, 128), folded=True, stem=24),
}


def make_trunk(trunk: Trunk, style: Style, fine: bool = False, name: str | None = None) -> Dla | ResNet:
    """The Flax module of a trunk: (images [B, H, W, 3], `When`) -> its maps, finest first, stride 2 too if `fine`."""
    if trunk.kind == 'dla':
        return Dla(trunk.depths, trunk.widths, style, fine, name=name)
    shape = (trunk.depths, trunk.widths, trunk.bottleneck, trunk.folded)
    return ResNet(*shape, style, trunk.stem, fine, name=name)


class Backbone(nn.Module):
    """Trunk and neck.

    Attributes:
      trunk: its shape.
      width: channels of the neck's finest map; they double with the stride.
      kernel: of the neck's projections.
      mean, std: by which pixels are normalised, in [0, 1], RGB.
      style: of the network.
      fine: give the trunk's map of stride 2 too.
    """

    trunk: Trunk
    width: int
    kernel: int
    mean: Sequence[float]
    std: Sequence[float]
    style: Style
    fine: bool = False

    @nn.compact
    def __call__(self, image: jax.Array, when: When) -> tuple[jax.Array, jax.Array | None]:
        """uint8 [B, H, W, 3] -> [B, H / 4, W / 4, width], and [B, H / 2, W / 2, C] or None."""
        mean, std = (255 * jnp.asarray(x, jnp.float32) for x in (self.mean, self.std))
        x = ((image.astype(jnp.float32) - mean) / std).astype(self.style.dtype)
        with jax.named_scope('trunk'):
            maps = make_trunk(self.trunk, self.style, self.fine, name='trunk')(x, when)
        fine = maps.pop(0) if self.fine else None
        widths = tuple(self.width * 2**i for i in range(self.trunk.maps))
        with jax.named_scope('neck'):
            return Neck(widths, self.kernel, self.style, name='neck')(maps, when), fine
