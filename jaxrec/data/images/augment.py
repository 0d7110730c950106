"""Changed scenes for training: mirrored with left and right parts swapped, scaled, cropped, of other colours.

H, W image size, P parts.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrec.data.images.geometry import crop, without_empty
from jaxrec.data.images.pixels import pillow
from jaxrec.data.images.scene import NO_PART, Scene, Vocabulary
from jaxrec.options import read_options


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How scenes are changed; the defaults are PPDM's, whose window alone moves further: by 30% of a side.

    Attributes:
      flip: chance of a mirrored scene.
      smallest, largest: factors of scale between .1 and 10, drawn uniformly; 1 and 1 leave the scale.
      shift: how far the middle of the window moves from the picture's at most, of its sides, so that even a
        scale of 1 crops.
      colour: brightness, contrast and saturation are multiplied by 1 - colour .. 1 + colour.
    """

    flip: float = 0.5
    smallest: float = 0.7
    largest: float = 1.3
    shift: float = 0.1
    colour: float = 0.4

    def __post_init__(self) -> None:
        for name in ('flip', 'shift', 'colour'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'augment.{name} = {getattr(self, name)}: it lies between 0 and 1')
        if not 0.1 <= self.smallest <= self.largest <= 10:
            raise ValueError(
                f'augment.smallest = {self.smallest} and largest = {self.largest}: between .1 and 10, and '
                'the first at most the second'
            )


def read_augmentation(config: Mapping[str, Any]) -> Augmentation:
    """Reads the section `augment` of a config; a ValueError names an unknown key or a value out of its range."""
    defaults = {field.name: field.default for field in dataclasses.fields(Augmentation)}
    return Augmentation(**read_options(config, 'augment', **defaults))


def flip(scene: Scene, vocabulary: Vocabulary) -> Scene:
    """Mirrors a scene; a left hand becomes a right hand in the part map and in the relations."""
    swap = mirror_parts(vocabulary)
    table = np.arange(256, dtype=np.uint8)
    table[1 : len(swap) + 1] = swap + NO_PART + 1
    return dataclasses.replace(
        scene,
        image=scene.image[:, ::-1],
        masks=scene.masks[:, :, ::-1],
        parts=table[scene.parts[:, ::-1]],
        relation_parts=scene.relation_parts[:, swap],
    )


def mirror_parts(vocabulary: Vocabulary) -> np.ndarray:
    """int [P]: the part that each part becomes in a mirror; it is its own inverse."""
    swap = np.arange(len(vocabulary.parts))
    for left, right in vocabulary.mirrored:
        a, b = vocabulary.parts.index(left), vocabulary.parts.index(right)
        swap[a], swap[b] = b, a
    return swap


def recolour(image: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """Multiplies brightness, contrast and saturation of uint8 [H, W, 3]; a factor of 1 leaves each as it is."""
    package = pillow()
    picture = package.Image.fromarray(np.ascontiguousarray(image))
    for kind, factor in (('Brightness', brightness), ('Contrast', contrast), ('Color', saturation)):
        picture = getattr(package.ImageEnhance, kind)(picture).enhance(factor)
    return np.array(picture)


def augment(scene: Scene, vocabulary: Vocabulary, options: Augmentation, seed: int, epoch: int, example: int) -> Scene:
    """Changes a scene by draws that depend on seed, epoch and example alone; the result has its own size.

    A scale above 1 shows a smaller window, enlarged when it is fitted to the network's size; below 1 the window reaches
    beyond the image. Entities without a pixel left are removed with their relations; parts outside still take part.
    """
    rng = np.random.default_rng((seed, epoch, example))
    mirrored, scale = rng.random() < options.flip, rng.uniform(options.smallest, options.largest)
    shifts, factors = rng.uniform(-1, 1, 2), 1 + options.colour * rng.uniform(-1, 1, 3)
    if mirrored:
        scene = flip(scene, vocabulary)
    sides = scene.image.shape[:2]
    window = [max(1, round(side / scale)) for side in sides]
    corner = [
        round((side - span) / 2 + shift * options.shift * side)
        for side, span, shift in zip(sides, window, shifts, strict=True)
    ]
    if window != list(sides) or any(corner):
        scene = without_empty(crop(scene, corner[0], corner[1], window[0], window[1]))
    if options.colour:
        scene = dataclasses.replace(scene, image=recolour(scene.image, *factors))
    return scene
