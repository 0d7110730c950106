"""The knobs of a world of scenes, the names of what it shows, and the draws that its splits share.

A scene is drawn in units of `UNIT`: people are about 80 tall and an image 128 wide, whatever its size in pixels. World
axes: x to the right, y up from the ground, z towards the viewer.

Held-out scenes differ from training scenes in two ways. Every angle and length of a pose is drawn from an interval cut
into eight cells: training uses six, held-out scenes the other two. And the textures come from other families.
"""

import dataclasses
import math

import numpy as np

from jaxrec.data.images.scene import Vocabulary
from jaxrec.data.simulators.worlds import check_knobs

UNIT = 128.0  # the width and height of a picture, whatever its pixels
BLOCK = 1024  # uniform numbers drawn at a time

CELLS = 8  # of the interval of a pose parameter
UNSEEN = (2, 5)  # the cells of held-out scenes
SEEN = tuple(cell for cell in range(CELLS) if cell not in UNSEEN)

SIDES = ('left', 'right')
PARTS = (
    'hair', 'head', 'torso', 'hip',
    *(f'{side} {part}' for part in ('upper arm', 'lower arm', 'hand', 'upper leg', 'lower leg', 'foot')
      for side in SIDES),
)  # fmt: skip

VOCABULARY = Vocabulary(
    entities=(
        'person', 'ball', 'cup', 'book', 'phone', 'hat', 'umbrella', 'bag', 'box', 'chair', 'bench', 'table',
        'bicycle', 'dog', 'tree', 'cart',
    ),
    relations=(
        'hold', 'carry', 'touch', 'kick', 'sit on', 'stand on', 'ride', 'push', 'wear', 'look', 'talk',
        'next to',
    ),
    parts=PARTS,
    geometric=('next to',),
    symmetric=('talk', 'next to'),
    mirrored=tuple((name, name.replace('left', 'right')) for name in PARTS if name.startswith('left')),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class World:
    """The knobs of a world of scenes."""

    size: int = 128  # height and width of the images in pixels
    least_people: int = 3  # placed people, at least; completely hidden ones do not count
    most_people: int = 5  # and at most
    pairs: float = 0.45  # share of the groups that are two people side by side or face to face
    least_things: int = 2  # unused things that lie about, at least
    most_things: int = 4  # and at most
    looks: float = 0.55  # share of the people who look at something
    crowding: float = 0.5  # share of the people in front who are moved before somebody in the back
    noise: float = 4.0  # standard deviation of the pixels' noise, of 255
    null: bool = False  # draws the parts of relations at random, as many as there were, unrelated to the image

    def __post_init__(self) -> None:
        check_knobs(self, shares=('pairs', 'looks', 'crowding'))
        if self.size < 32:
            raise ValueError(f'world.size = {self.size}: hands vanish below 32 pixels; give more')
        for least, most in (('least_people', 'most_people'), ('least_things', 'most_things')):
            if getattr(self, least) > getattr(self, most):
                raise ValueError(
                    f'world.{least} = {getattr(self, least)} is more than world.{most} = '
                    f'{getattr(self, most)}: lower the one or raise the other'
                )
        if self.noise < 0:
            raise ValueError(f'world.noise = {self.noise}: it must not be negative')


class Draws:
    """Random numbers of one scene, drawn in blocks: one by one they would cost more than the picture."""

    def __init__(self, entropy: tuple[int, ...], held_out: bool):
        self.generator = np.random.default_rng(entropy)
        self.held_out = held_out
        self._cells = UNSEEN if held_out else SEEN
        self._block: list[float] = []

    def random(self) -> float:
        """Uniform in [0, 1)."""
        if not self._block:
            self._block = self.generator.random(BLOCK).tolist()
        return self._block.pop()

    def uniform(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self.random()

    def pose(self, low: float, high: float) -> float:
        """Uniform in this split's cells of [low, high)."""
        cell = self._cells[int(self.random() * len(self._cells))]
        return low + (high - low) * (cell + self.random()) / CELLS

    def angle(self, low: float, high: float) -> float:
        """As `pose`, from degrees to radians."""
        return math.radians(self.pose(low, high))

    def chance(self, share: float) -> bool:
        """True in that share of cases."""
        return self.random() < share

    def index(self, count: int) -> int:
        """One of 0..count - 1."""
        return int(self.random() * count)

    def between(self, least: int, most: int) -> int:
        """One of least..most, both among them."""
        return least + self.index(most - least + 1)

    def pick(self, weights: dict[str, float]) -> str:
        """One of the keys, by weight."""
        left = self.random() * sum(weights.values())
        for key, weight in weights.items():
            left -= weight
            if left < 0:
                return key
        return key
