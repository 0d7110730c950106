"""The things of a scene: their shapes, and the grips by which a person touches them. Lengths are in units.

A thing that is held or worn has its origin in its middle, any other where it stands.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxrec.data.simulators.scenes.stage import Colour, Frame, Look, Point, Stage, plain_look

WOOD: Colour = (150, 104, 62)
DARK = plain_look((44, 44, 50), 0.2)
SEAT, BENCH, TABLE = 18.0, 17.0, 33.0  # heights of the surfaces


class Grip(NamedTuple):
    """A place where a part of a person within the radius is in contact; `kind` is a key of `relations.CONTACTS`."""

    kind: str
    at: Point
    radius: float


@dataclasses.dataclass
class Thing:
    """A thing in the scene; `shapes` are drawn in order: method of `Stage`, arguments, keywords."""

    category: str  # its class by name
    frame: Frame  # where it is and which way it faces
    centre: Point  # where a person looks who looks at it
    grips: list[Grip] = dataclasses.field(default_factory=list)  # its grips
    shapes: list[tuple[str, tuple[Any, ...], dict[str, float]]] = dataclasses.field(default_factory=list)

    def limb(self, a: Point, b: Point, thick: float, look: Look, **more: float) -> None:
        """A capsule of one thickness; `thin` is that of its end."""
        self.shapes.append(('limb', (a, b, thick, more.pop('thin', thick), look), more))

    def disc(self, at: Point, wide: float, high: float, look: Look, **more: float) -> None:
        """See `Stage.disc`."""
        self.shapes.append(('disc', (at, wide, high, look), more))

    def slab(self, at: Point, wide: float, high: float, look: Look, **more: float) -> None:
        """See `Stage.slab`."""
        self.shapes.append(('slab', (at, wide, high, look), more))

    def draw(self, stage: Stage) -> None:
        """Adds its shapes to a stage, for the stage's entity."""
        stage.part = 0
        for method, given, more in self.shapes:
            getattr(stage, method)(*given, **more)


def _ball(frame: Frame, look: Look) -> Thing:
    thing = Thing('ball', frame, frame.origin)
    thing.disc(frame.origin, 7.0, 7.0, look._replace(shade=0.55), front=1.0)
    thing.grips = [Grip('grasp', frame.origin, 9.5), Grip('ball', frame.origin, 11.0)]
    return thing


def _cup(frame: Frame, look: Look) -> Thing:
    thing = Thing('cup', frame, frame.origin)
    thing.disc(frame.at(left=5.0), 3.4, 3.7, look, front=0.8, hole=0.5)
    thing.slab(frame.origin, 4.5, 6.0, look, front=1.0, flare=-0.22)
    thing.disc(frame.at(up=5.8), 5.3, 1.8, plain_look((250, 250, 246), 0.2), front=1.1)
    thing.grips = [Grip('grasp', frame.origin, 6.0)]
    return thing


def _book(frame: Frame, look: Look) -> Thing:
    thing = Thing('book', frame, frame.origin)
    thing.slab(frame.origin, 8.4, 6.4, look._replace(shade=0.25), front=1.0, tilt=0.12)
    thing.slab(frame.at(up=0.9), 7.3, 4.7, plain_look((246, 242, 226), 0.12), front=1.1, tilt=0.12)
    thing.slab(frame.at(up=0.9), 0.8, 5.3, look, front=1.2, tilt=0.12)
    thing.grips = [Grip('grasp', frame.at(up=-5.0), 5.0)]
    return thing


def _phone(frame: Frame, look: Look) -> Thing:
    thing = Thing('phone', frame, frame.origin)
    thing.slab(frame.origin, 4.0, 6.6, DARK, front=1.0, tilt=-0.15)
    thing.slab(frame.at(up=0.4), 2.9, 4.9, plain_look((120, 214, 255), 0.1), front=1.1, tilt=-0.15)
    thing.grips = [Grip('grasp', frame.at(up=-4.7), 4.5)]
    return thing


def _hat(frame: Frame, look: Look) -> Thing:
    thing = Thing('hat', frame, frame.origin)
    thing.slab(frame.at(up=3.5), 6.4, 4.4, look, front=2.0, flare=0.18)
    thing.disc(frame.at(up=7.7), 5.3, 1.7, look, front=2.0)
    thing.disc(frame.at(up=-0.8), 11.0, 2.5, look._replace(shade=0.2), front=2.2)
    thing.grips = [Grip('brim', frame.origin, 8.5), Grip('grasp', frame.at(left=8.8, up=-0.8), 5.0)]
    thing.grips.append(Grip('grasp', frame.at(left=-8.8, up=-0.8), 5.0))
    return thing


def _umbrella(frame: Frame, look: Look) -> Thing:
    thing = Thing('umbrella', frame, frame.at(up=16.0))
    thing.limb(frame.at(up=-16.0), frame.at(up=18.0), 0.9, DARK, front=1.0)
    thing.slab(frame.at(up=15.0), 11.0, 4.6, look, front=1.5, flare=0.72)
    thing.disc(frame.at(up=20.0), 1.2, 2.0, DARK, front=1.4)
    thing.grips = [Grip('grasp', frame.at(up=-13.0), 5.0)]
    return thing


def _bag(frame: Frame, look: Look) -> Thing:
    thing = Thing('bag', frame, frame.origin)
    thing.disc(frame.at(up=7.0), 4.4, 5.2, DARK, front=0.6, hole=0.66)
    thing.slab(frame.origin, 7.2, 6.6, look, front=1.0, flare=0.14)
    thing.slab(frame.at(up=3.6), 7.0, 1.0, DARK, front=1.1)
    thing.grips = [Grip('strap', frame.at(up=11.5), 5.0), Grip('back', frame.origin, 9.5)]
    return thing


def _box(frame: Frame, look: Look) -> Thing:
    thing = Thing('box', frame, frame.at(up=7.0))
    cardboard = look._replace(first=(196, 152, 98), second=(176, 132, 82), shade=0.15)
    thing.slab(frame.at(up=6.0), 11.0, 6.0, cardboard, front=1.0)
    thing.slab(frame.at(up=12.4), 10.0, 1.9, plain_look((222, 184, 132), 0.05), front=0.9, flare=0.1)
    thing.slab(frame.at(up=6.0), 1.5, 6.0, plain_look((232, 214, 170), 0.05), front=1.1)
    thing.grips = [Grip('side', frame.at(left=side * 11.0, up=6.0), 5.0) for side in (1, -1)]
    thing.grips.append(Grip('top', frame.at(up=13.0), 11.5))
    return thing


def _chair(frame: Frame, look: Look) -> Thing:
    thing = Thing('chair', frame, frame.at(up=SEAT))
    wood = plain_look(look.first, 0.25)
    for left in (7.5, -7.5):
        for ahead in (7.0, -7.0):
            thing.limb(frame.at(left, SEAT, ahead), frame.at(left * 1.1, 0.0, ahead * 1.1), 1.2, wood)
        thing.limb(frame.at(left, SEAT, -8.0), frame.at(left, SEAT + 21.0, -9.5), 1.3, wood)
    flat, narrow = abs(frame.cosine), abs(frame.sine)
    thing.slab(frame.at(up=SEAT), 8.8, 1.9, wood, front=0.3)
    thing.slab(frame.at(up=SEAT + 15.0, ahead=-9.2), 8.4 * flat + 1.5 * narrow, 6.0, look._replace(shade=0.25))
    thing.grips = [Grip('seat', frame.at(up=SEAT), 7.0)]
    return thing


def _bench(frame: Frame, look: Look) -> Thing:
    thing = Thing('bench', frame, frame.at(up=BENCH))
    wood = look._replace(first=WOOD, second=(126, 84, 48), shade=0.25)
    for left in (17.0, -17.0):
        for ahead in (5.0, -5.0):
            thing.limb(frame.at(left, BENCH, ahead), frame.at(left, 0.0, ahead), 1.5, DARK)
    for ahead in (-5.0, 0.0, 5.0):
        thing.limb(frame.at(-21.0, BENCH, ahead), frame.at(21.0, BENCH, ahead), 2.1, wood)
    thing.grips = [Grip('seat', frame.at(left, BENCH), 7.0) for left in (-10.0, 0.0, 10.0)]
    thing.grips += [Grip('top', frame.at(left, BENCH + 1.0), 9.0) for left in (-10.0, 0.0, 10.0)]
    return thing


def _table(frame: Frame, look: Look) -> Thing:
    thing = Thing('table', frame, frame.at(up=TABLE))
    wood = plain_look(WOOD, 0.25)
    for left in (18.0, -18.0):
        for ahead in (7.0, -7.0):
            thing.limb(frame.at(left, TABLE, ahead), frame.at(left, 0.0, ahead), 1.6, wood)
    for ahead in (-7.0, -3.5, 0.0, 3.5, 7.0):
        thing.limb(frame.at(-22.0, TABLE, ahead), frame.at(22.0, TABLE, ahead), 2.3, look._replace(shade=0.2))
    thing.grips = [Grip('surface', frame.at(left, TABLE + 2.0), 8.0) for left in (-20.0, -10.0, 0.0, 10.0, 20.0)]
    return thing


def _bicycle(frame: Frame, look: Look) -> Thing:
    thing = Thing('bicycle', frame, frame.at(up=18.0))
    paint, wide = plain_look(look.first, 0.2), max(abs(frame.sine), 0.18)
    hubs = [frame.at(up=10.5, ahead=ahead) for ahead in (-17.0, 17.0)]
    for hub in hubs:
        thing.disc(hub, 10.5 * wide, 10.5, DARK, hole=0.76)
        thing.disc(hub, 1.4, 1.4, DARK)
    crank, post, head = (frame.at(up=10.0, ahead=-1.0), frame.at(up=26.0, ahead=-6.0), frame.at(up=26.0, ahead=12.0))
    for a, b in ((hubs[0], crank), (hubs[0], post), (crank, post), (crank, head), (post, head), (head, hubs[1])):
        thing.limb(a, b, 1.3, paint, front=0.2)
    saddle, bars = frame.at(up=29.5, ahead=-7.0), frame.at(up=34.0, ahead=12.5)
    thing.limb(post, saddle, 1.0, paint)
    thing.limb(frame.at(ahead=-3.0, of=saddle), frame.at(ahead=3.5, of=saddle), 1.8, DARK, front=0.3)
    thing.limb(head, bars, 1.0, paint)
    thing.limb(frame.at(left=6.0, of=bars), frame.at(left=-6.0, of=bars), 1.3, DARK, front=0.4)
    thing.grips = [Grip('saddle', saddle, 7.0)]
    for side in (1, -1):
        thing.grips.append(Grip('bars', frame.at(left=side * 6.0, of=bars), 5.0))
        thing.grips.append(Grip('pedal', frame.at(left=side * 4.5, up=-side * 3.5, ahead=side * 2.0, of=crank), 5.0))
    return thing


def _dog(frame: Frame, look: Look) -> Thing:
    # A coat of browns and greys, dark or light as the drawn colour is.
    light = sum(look.first) / 3
    tint = (1.15 * light, 0.85 * light, 0.55 * light)
    fur = look._replace(first=tint, second=(0.75 * tint[0], 0.72 * tint[1], 0.7 * tint[2]))
    thing = Thing('dog', frame, frame.at(up=27.0, ahead=13.0))
    for left in (3.0, -3.0):
        for ahead in (9.0, -9.0):
            thing.limb(frame.at(left, 17.0, ahead), frame.at(left, 1.5, ahead + 1.0), 2.3, fur, thin=1.7)
    thing.limb(frame.at(up=19.0, ahead=-9.0), frame.at(up=20.0, ahead=9.0), 5.4, fur, thin=5.8, front=0.5)
    thing.limb(frame.at(up=22.0, ahead=-12.0), frame.at(up=30.0, ahead=-18.0), 1.6, fur, thin=1.0)
    thing.limb(frame.at(up=22.0, ahead=10.0), frame.at(up=28.0, ahead=13.0), 4.2, fur, front=0.6)
    thing.disc(frame.at(up=29.0, ahead=13.5), 5.0, 4.8, fur, front=0.8)
    thing.limb(frame.at(up=27.6, ahead=15.0), frame.at(up=26.6, ahead=20.0), 2.7, fur, thin=2.0, front=0.9)
    thing.disc(frame.at(up=27.0, ahead=21.0), 1.5, 1.4, DARK, front=1.0)
    for left in (3.6, -3.6):
        ear = frame.at(left, 32.0, 11.5), frame.at(left * 1.25, 27.0, 10.5)
        thing.limb(*ear, 1.8, plain_look((70, 48, 34), 0.2), front=1.0)
    thing.grips = [Grip('surface', frame.at(up=33.0, ahead=12.5), 6.0), Grip('surface', frame.at(up=26.0), 6.0)]
    return thing


def _tree(frame: Frame, look: Look) -> Thing:
    thing = Thing('tree', frame, frame.at(up=70.0))
    bark = look._replace(first=(110, 76, 46), second=(84, 56, 34))
    leaves = look._replace(first=(62, 134, 58), second=(44, 104, 46), shade=0.35)
    thing.limb(frame.at(up=0.0), frame.at(up=58.0), 6.0, bark, thin=4.0)
    for left, up, radius in ((-12.0, 66.0, 15.0), (12.0, 68.0, 15.0), (0.0, 80.0, 18.0), (0.0, 64.0, 13.0)):
        thing.disc(frame.at(left, up), radius, radius * 0.9, leaves, front=0.5)
    thing.grips = [Grip('surface', frame.at(up=up), 8.0) for up in (24.0, 32.0, 40.0, 48.0)]
    return thing


def _cart(frame: Frame, look: Look) -> Thing:
    thing = Thing('cart', frame, frame.at(up=20.0))
    wide = 13.0 * abs(frame.sine) + 10.0 * abs(frame.cosine)
    thing.slab(frame.at(up=19.0), wide, 8.0, look._replace(shade=0.2), flare=-0.14)
    thing.limb(frame.at(9.0, 27.0, 13.0), frame.at(9.0, 27.0, -13.0), 1.2, DARK, front=0.2)
    thing.limb(frame.at(-9.0, 27.0, 13.0), frame.at(-9.0, 27.0, -13.0), 1.2, DARK, front=0.2)
    for ahead in (10.0, -10.0):
        thing.limb(frame.at(up=11.0, ahead=ahead), frame.at(up=4.0, ahead=ahead), 1.3, DARK)
        thing.disc(frame.at(up=4.0, ahead=ahead), 4.2, 4.2, DARK, front=0.4)
        thing.disc(frame.at(up=4.0, ahead=ahead), 1.6, 1.6, plain_look((190, 190, 190)), front=0.5)
    for left in (7.0, -7.0):
        thing.limb(frame.at(left, 24.0, -13.0), frame.at(left, 37.0, -19.0), 1.3, DARK, front=0.2)
        thing.grips.append(Grip('handle', frame.at(left * 0.9, 37.0, -19.0), 5.0))
    thing.limb(frame.at(7.0, 37.0, -19.0), frame.at(-7.0, 37.0, -19.0), 1.4, DARK, front=0.3)
    return thing


# category: (its maker, where its middle lies above the ground when it lies about).
THINGS: dict[str, tuple[Callable[[Frame, Look], Thing], float]] = {
    'ball': (_ball, 7.0), 'cup': (_cup, 6.0), 'book': (_book, 6.6), 'phone': (_phone, 6.6),
    'hat': (_hat, 3.0), 'umbrella': (_umbrella, 16.0), 'bag': (_bag, 6.6), 'box': (_box, 0.0),
    'chair': (_chair, 0.0), 'bench': (_bench, 0.0), 'table': (_table, 0.0), 'bicycle': (_bicycle, 0.0),
    'dog': (_dog, 0.0), 'tree': (_tree, 0.0), 'cart': (_cart, 0.0),
}  # fmt: skip
# Where the hand of somebody who holds it is, from its middle: to the left, up, ahead.
HELD = {
    'ball': (0.0, -4.2, -4.9), 'cup': (0.0, -1.5, -2.8), 'book': (0.0, -5.0, 0.0), 'phone': (0.0, -4.7, 0.0),
    'hat': (8.8, -0.8, 0.0), 'umbrella': (0.0, -13.0, 0.0), 'bag': (0.0, 11.5, 0.0),
}  # fmt: skip


def make_thing(category: str, at: Point, yaw: float, look: Look) -> Thing:
    """A thing of a class at a place, facing that way."""
    return THINGS[category][0](Frame(at, yaw), look)


def make_held(category: str, hand: Point, yaw: float, look: Look) -> Thing:
    """A thing that lies in a hand as its class is held."""
    left, up, ahead = HELD[category]
    return make_thing(category, Frame(hand, yaw).at(-left, -up, -ahead), yaw, look)
