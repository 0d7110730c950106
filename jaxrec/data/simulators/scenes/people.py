"""Articulated people: a skeleton in three dimensions, and the shapes of its parts, in shares of a person's height."""

import dataclasses
import math

from jaxrec.data.simulators.scenes.stage import Frame, Look, Point, Stage, between, plain_look
from jaxrec.data.simulators.scenes.world import PARTS, SIDES, Draws

LEG, SHIN, ARM, FOREARM, TRUNK, NECK, HEAD = 0.225, 0.215, 0.15, 0.145, 0.25, 0.055, 0.095
SHOULDER, PELVIS, FOOT, ANKLE = 0.115, 0.06, 0.085, 0.03
SIGN = {'left': 1.0, 'right': -1.0}
PART = {name: number + 1 for number, name in enumerate(PARTS)}  # as they stand in a part map
_SKIN = ((236, 188, 152), (198, 134, 92), (141, 85, 54), (250, 214, 180), (92, 58, 40))
_HAIR = ((40, 28, 22), (104, 66, 34), (196, 158, 84), (140, 52, 30), (120, 120, 124))


@dataclasses.dataclass
class Limb:
    """Angles of an arm or a leg in radians, or the point that its end reaches for."""

    swing: float = 0.0  # forward from hanging down
    spread: float = 0.1  # away from the body's middle
    bend: float = 0.2  # of the elbow, forward, or of the knee, backward
    reach: Point | None = None  # where the hand or the ankle is; it replaces the angles


@dataclasses.dataclass
class Person:
    """A person, posed by `settle`."""

    frame: Frame  # origin on the ground, or what the person stands on, and the way the body faces
    height: float  # in units
    arms: dict[str, Limb]  # {side: limb}
    legs: dict[str, Limb]  # {side: limb}
    lean: float = 0.0  # of the trunk, forward, in radians
    seat: float | None = None  # height of the hip above the origin, None for standing
    joints: dict[str, Point] = dataclasses.field(default_factory=dict)  # {name: point}, of `settle`
    face: Frame = dataclasses.field(default_factory=lambda: Frame((0, 0, 0), 0))  # of the head
    nod: float = 0.0  # how far the face looks down, in radians

    def settle(self) -> None:
        """Finds the joints: legs, hip, trunk, head, arms."""
        frame, height, joints = self.frame, self.height, self.joints
        up = self.seat if self.seat is not None else (LEG + SHIN + ANKLE) * height
        joints['hip'] = frame.at(up=up)
        self._settle_legs()
        if self.seat is None:  # the lower foot stands on the ground
            low = min(joints[f'{side} ankle'][1] for side in SIDES) - ANKLE * height - frame.origin[1]
            joints['hip'] = frame.at(up=up - low)
            self._settle_legs()
        sine, cosine = math.sin(self.lean), math.cos(self.lean)
        joints['chest'] = frame.at(up=TRUNK * height * cosine, ahead=TRUNK * height * sine, of=joints['hip'])
        joints['middle'] = frame.at(up=TRUNK * height * cosine / 2, ahead=TRUNK * height * sine / 2, of=joints['hip'])
        above = (NECK + HEAD) * height
        joints['head'] = frame.at(up=above * cosine, ahead=above * sine, of=joints['chest'])
        self.face = Frame(joints['head'], self.face.yaw)
        self.settle_arms()

    def settle_arms(self) -> None:
        """Finds the joints of the arms, as after a hand got something to reach for."""
        for side, sign in SIGN.items():
            self._settle_arm(side, sign)

    def look_at(self, point: Point) -> bool:
        """Turns the head towards a point as far as a neck allows; whether it looks there now."""
        x, y, z = (a - b for a, b in zip(point, self.joints['head'], strict=True))
        turn = math.remainder(math.atan2(x, z) - self.frame.yaw, 2 * math.pi)
        nod = math.atan2(-y, math.hypot(x, z))
        self.nod = min(max(nod, -0.6), 1.1)
        self.face = Frame(self.joints['head'], self.frame.yaw + min(max(turn, -1.2), 1.2))
        return abs(turn) <= 1.2 and -0.6 <= nod <= 1.1

    @property
    def gaze(self) -> Point:
        """The unit vector in which the face looks."""
        flat = math.cos(self.nod)
        return (self.face.sine * flat, -math.sin(self.nod), self.face.cosine * flat)

    def _settle_arm(self, side: str, sign: float) -> None:
        joints, limb, frame = self.joints, self.arms[side], self.frame
        height, lengths = self.height, (ARM * self.height, FOREARM * self.height)
        shoulder = frame.at(left=sign * SHOULDER * height, up=-0.02 * height, of=joints['chest'])
        joints[f'{side} shoulder'] = shoulder
        if limb.reach is not None:
            pole = frame.at(left=sign * 0.5, up=-1.0, ahead=-0.4, of=(0, 0, 0))
            elbow, hand = _reach(shoulder, limb.reach, *lengths, pole)
        else:
            elbow = _along(frame, shoulder, lengths[0], limb.swing, sign * limb.spread)
            hand = _along(frame, elbow, lengths[1], limb.swing + limb.bend, sign * limb.spread * 0.6)
        joints[f'{side} elbow'], joints[f'{side} hand'] = elbow, hand

    def _settle_legs(self) -> None:
        joints, frame, height = self.joints, self.frame, self.height
        for side, sign in SIGN.items():
            limb = self.legs[side]
            root = joints[f'{side} root'] = frame.at(left=sign * PELVIS * height, of=joints['hip'])
            lengths = LEG * height, SHIN * height
            if limb.reach is not None:
                knee, ankle = _reach(root, limb.reach, *lengths, frame.at(ahead=1.0, of=(0, 0, 0)))
            else:
                knee = _along(frame, root, lengths[0], limb.swing, sign * limb.spread)
                ankle = _along(frame, knee, lengths[1], limb.swing - limb.bend, sign * limb.spread * 0.5)
            joints[f'{side} knee'], joints[f'{side} ankle'] = knee, ankle
            toe = {'left': sign * 0.015 * height, 'up': -0.012 * height, 'ahead': FOOT * height}
            joints[f'{side} foot'] = frame.at(**toe, of=ankle)


def _along(frame: Frame, start: Point, length: float, swing: float, spread: float) -> Point:
    """The end of a bone that hangs from `start`."""
    flat = length * math.cos(spread)
    return frame.at(length * math.sin(spread), -flat * math.cos(swing), flat * math.sin(swing), of=start)


def _reach(root: Point, target: Point, first: float, second: float, pole: Point) -> tuple[Point, Point]:
    """Middle joint and end of two bones from `root` towards `target`; the joint bends towards `pole`."""
    span = [b - a for a, b in zip(root, target, strict=True)]
    whole = math.sqrt(sum(d * d for d in span))
    if whole < 1e-6:  # there is no way towards the own root: straight down
        span, whole = [0.0, -1.0, 0.0], 1.0
    distance = min(max(math.dist(root, target), abs(first - second) * 1.01), 0.999 * (first + second))
    unit = [d / whole for d in span]
    along = (first**2 - second**2 + distance**2) / (2 * distance)
    aside = math.sqrt(max(first**2 - along**2, 0.0))
    dot = sum(p * d for p, d in zip(pole, unit, strict=True))
    bend = [p - dot * d for p, d in zip(pole, unit, strict=True)]
    norm = math.sqrt(sum(b * b for b in bend)) or 1e-6
    middle = [r + along * d + aside * b / norm for r, d, b in zip(root, unit, bend, strict=True)]
    end = [r + distance * d for r, d in zip(root, unit, strict=True)]
    return (middle[0], middle[1], middle[2]), (end[0], end[1], end[2])


@dataclasses.dataclass(frozen=True)
class Clothes:
    """What a person wears and looks like."""

    skin: Look
    hair: Look
    shirt: Look
    sleeve: Look
    trousers: Look
    calf: Look
    shoes: Look
    locks: float  # how far the hair hangs down, of the head's radius


def dress(draws: Draws, look: Look, legs: Look) -> Clothes:
    """Draws skin, hair and clothes; `look` and `legs` are of the shirt and the trousers."""
    skin = plain_look(_SKIN[draws.index(len(_SKIN))])
    shoes = plain_look((draws.uniform(20, 235), draws.uniform(20, 235), draws.uniform(20, 235)))
    return Clothes(
        skin, plain_look(_HAIR[draws.index(len(_HAIR))], 0.3), look, look if draws.chance(0.5) else skin, legs,
        legs if draws.chance(0.7) else skin, shoes, draws.uniform(0.0, 0.7),
    )  # fmt: skip


def draw_person(stage: Stage, person: Person, clothes: Clothes) -> None:
    """Adds the shapes of all parts of a person to a stage, for the stage's entity."""
    joints, height = person.joints, person.height

    def limb(part: str, a: str, b: str, thick: float, thin: float, look: Look, front: float) -> None:
        stage.part = PART[part]
        stage.limb(joints[a], joints[b], thick * height, thin * height, look, front)

    for side in SIDES:
        limb(f'{side} upper leg', f'{side} root', f'{side} knee', 0.05, 0.042, clothes.trousers, 0.0)
        limb(f'{side} lower leg', f'{side} knee', f'{side} ankle', 0.041, 0.031, clothes.calf, 0.2)
        limb(f'{side} foot', f'{side} ankle', f'{side} foot', 0.034, 0.027, clothes.shoes, 1.0)
        limb(f'{side} upper arm', f'{side} shoulder', f'{side} elbow', 0.042, 0.036, clothes.shirt, 1.0)
        limb(f'{side} lower arm', f'{side} elbow', f'{side} hand', 0.034, 0.028, clothes.sleeve, 1.5)
        stage.part = PART[f'{side} hand']
        stage.disc(joints[f'{side} hand'], 0.042 * height, 0.042 * height, clothes.skin, 7.0)
    frame = person.frame
    # Seen from the side a trunk is not as broad as from the front.
    broad = 0.115 * height * math.hypot(frame.cosine, 0.62 * frame.sine)
    low, high = joints['hip'], joints['chest']
    stage.part = PART['hip']
    stage.limb(frame.at(up=0.02 * height, of=low), low, 0.8 * broad, 0.74 * broad, clothes.trousers, 0.4)
    stage.part = PART['torso']
    stage.limb(between(low, high, 0.28), between(low, high, 0.8), 0.82 * broad, broad, clothes.shirt, 0.5)
    _draw_head(stage, person, clothes)


def _draw_head(stage: Stage, person: Person, clothes: Clothes) -> None:
    """Neck, head, hair, and a face that says where the person looks."""
    radius, face, nod = HEAD * person.height, person.face, person.nod
    stage.part = PART['head']
    stage.limb(person.joints['chest'], face.origin, 0.4 * radius, 0.4 * radius, clothes.skin, 0.2)
    stage.disc(face.origin, 0.88 * radius, radius, clothes.skin, 1.0)
    ahead, down = math.cos(nod), math.sin(nod)
    for left, up in ((0.38, 0.12), (-0.38, 0.12)):
        eye = face.at(left * radius, (up - 0.8 * down) * radius, 0.85 * ahead * radius)
        if eye[2] - face.origin[2] > 0.1 * radius:
            stage.disc(eye, 0.15 * radius, 0.17 * radius, plain_look((18, 18, 22), 0.0), 0.9 * radius)
    nose = face.at(0.0, (-0.12 - 0.9 * down) * radius, 1.02 * ahead * radius)
    red, green, blue = clothes.skin.first
    dark = plain_look((0.8 * red, 0.8 * green, 0.8 * blue))
    if nose[2] - face.origin[2] > -0.5 * radius:
        stage.disc(nose, 0.2 * radius, 0.2 * radius, dark, 0.8 * radius)
    stage.part = PART['hair']
    # A cap that sits back and up frames a face seen from the front and covers a head seen from behind.
    cap = face.at(0.0, (0.36 + 0.25 * down) * radius, -0.34 * radius)
    front = 1.0 + 0.6 * radius * -face.cosine
    stage.disc(cap, 1.04 * radius, 0.94 * radius, clothes.hair, front)
    if face.cosine > -0.2:  # a fringe over the forehead
        fringe = face.at(0.0, (0.72 - 0.1 * down) * radius, 0.1 * radius)
        stage.disc(fringe, 0.8 * radius, 0.36 * radius, clothes.hair, 0.8 * radius)
    if clothes.locks > 0.3:
        locks = face.at(0.0, -clothes.locks * radius, -0.5 * radius)
        stage.disc(locks, 0.75 * radius, 0.6 * radius, clothes.hair, front - 0.2)
