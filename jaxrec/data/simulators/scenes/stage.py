"""A stage: shapes placed in three dimensions, seen by a camera, as rows that `render` fills.

Every shape is one formula in its own axes u and v, in pixels: with q = max(|u| - straight, 0) / end and w = |v| / (side
+ taper * u), it covers the points where sqrt(q^2 + w^2), or max(q, w) of square ones, is between `hole` and 1:
capsules, tapered limbs, ellipses, rectangles, trapezoids and rings, all filled at once.
"""

import math
from typing import NamedTuple

from jaxrec.data.simulators.scenes.world import UNIT

Point = tuple[float, float, float]  # x to the right, y up, z towards the viewer
Colour = tuple[float, float, float]  # red, green, blue, of 255

COLUMNS = (
    'x', 'y', 'cosine', 'sine', 'straight', 'end', 'side', 'taper', 'square', 'hole', 'depth', 'entity',
    'part', 'zoom', 'red', 'green', 'blue', 'red2', 'green2', 'blue2', 'family', 'pitch', 'shade',
)  # fmt: skip


class Look(NamedTuple):
    """The look of a surface."""

    first: Colour  # one colour that the texture mixes
    second: Colour  # the other
    family: int = 0  # row of the texture bank; 0 is plain
    pitch: float = 2.0  # texels a unit
    shade: float = 0.4  # how much darker the rim is than the middle


def plain_look(colour: Colour, shade: float = 0.4) -> Look:
    """One colour, no texture."""
    return Look(colour, colour, 0, 2.0, shade)


def between(a: Point, b: Point, share: float) -> Point:
    """The point that share of the way from a to b."""
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2])


class Frame:
    """The axes of a body that turns about the vertical: its left, up and ahead."""

    def __init__(self, origin: Point, yaw: float):
        """Takes the origin and the yaw; 0 faces the viewer, a quarter turn the right of the image."""
        self.origin, self.yaw = origin, yaw
        self.cosine, self.sine = math.cos(yaw), math.sin(yaw)

    def at(self, left: float = 0.0, up: float = 0.0, ahead: float = 0.0, of: Point | None = None) -> Point:
        """The point so far to the left, up and ahead of the origin, or of another point."""
        x, y, z = self.origin if of is None else of
        return (x + self.cosine * left + self.sine * ahead, y + up, z - self.sine * left + self.cosine * ahead)


class Stage:
    """Collects the shapes of a scene; `rows` are in the order of `COLUMNS`."""

    def __init__(self, size: int, horizon: float, height: float, distance: float):
        """Sets the camera.

        Args:
          size: of the image in pixels.
          horizon: in units from the top.
          height: of the camera above the ground, in units.
          distance: at which things have their own size, in units.
        """
        self.rows: list[tuple[float, ...]] = []
        self.zoom, self.horizon = size / UNIT, horizon
        self._height, self._distance = height, distance
        self.entity, self.part = -1, 0  # of the shapes to come

    def see(self, point: Point) -> tuple[float, float, float]:
        """Column and row in pixels, and pixels a unit at that depth."""
        x, y, z = point
        scale = self.zoom * self._distance / (self._distance - z)
        return UNIT / 2 * self.zoom + x * scale, self.horizon * self.zoom + (self._height - y) * scale, scale

    def limb(self, a: Point, b: Point, thick_a: float, thick_b: float, look: Look, front: float = 0.0) -> None:
        """A capsule from a to b whose radius goes from `thick_a` to `thick_b`, drawn `front` nearer."""
        ax, ay, scale_a = self.see(a)
        bx, by, scale_b = self.see(b)
        dx, dy = bx - ax, by - ay
        length = math.hypot(dx, dy)
        radius_a, radius_b = thick_a * scale_a, thick_b * scale_b
        side = (radius_a + radius_b) / 2
        if length < 0.05 * side:  # seen end on
            cosine, sine, length, taper = 1.0, 0.0, 0.0, 0.0
            side = max(radius_a, radius_b)
        else:
            cosine, sine, taper = dx / length, dy / length, (radius_b - radius_a) / length
        where = ((ax + bx) / 2, (ay + by) / 2, cosine, sine, length / 2, side, side, taper, 0.0, 0.0)
        self._add(where, (a[2] + b[2]) / 2 + front, scale_a, look)

    def disc(
        self, at: Point, wide: float, high: float, look: Look, front: float = 0.0, hole: float = 0.0, tilt: float = 0.0
    ) -> None:
        """An upright ellipse of half width and half height; with `hole` a ring, that share of it left out."""
        x, y, scale = self.see(at)
        where = (x, y, math.cos(tilt), math.sin(tilt), 0.0, wide * scale, high * scale, 0.0, 0.0, hole)
        self._add(where, at[2] + front, scale, look)

    def slab(
        self, at: Point, wide: float, high: float, look: Look, front: float = 0.0, flare: float = 0.0, tilt: float = 0.0
    ) -> None:
        """An upright rectangle of half width and half height; `flare` widens its foot and narrows its top."""
        x, y, scale = self.see(at)
        # The axis u runs down, so that the width may change along it.
        sine, cosine, taper = math.sin(tilt), math.cos(tilt), flare * wide / max(high, 1e-6)
        where = (x, y, -sine, cosine, 0.0, high * scale, wide * scale, taper, 1.0, 0.0)
        self._add(where, at[2] + front, scale, look)

    def _add(self, where: tuple[float, ...], depth: float, scale: float, look: Look) -> None:
        first, second, family, pitch, shade = look
        self.rows.append((*where, depth, self.entity, self.part, scale, *first, *second, family, pitch, shade))
