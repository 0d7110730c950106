"""What a person does: every act poses the person and places what it needs. Angles are drawn in degrees."""

import dataclasses
import math
from collections.abc import Callable

from jaxrec.data.simulators.scenes.people import HEAD, Limb, Person
from jaxrec.data.simulators.scenes.render import FAMILIES
from jaxrec.data.simulators.scenes.stage import Colour, Frame, Look, Point
from jaxrec.data.simulators.scenes.things import BENCH, SEAT, Thing, make_held, make_thing
from jaxrec.data.simulators.scenes.world import SIDES, Draws

HOLDABLE = {'ball': 0.24, 'cup': 0.17, 'book': 0.19, 'phone': 0.12, 'umbrella': 0.12, 'hat': 0.08, 'bag': 0.08}
HAT, PACK = 0.14, 0.10  # shares of people who wear one


@dataclasses.dataclass
class Draft:
    """The people and things placed so far, and the draws of the scene."""

    draws: Draws
    people: list[Person]
    things: list[Thing]

    def look(self) -> Look:
        """Two colours and a texture of this split."""
        return draw_look(self.draws)

    def thing(self, category: str, at: Point, yaw: float) -> Thing:
        """Makes a thing and keeps it."""
        self.things.append(make_thing(category, at, yaw, self.look()))
        return self.things[-1]


def draw_look(draws: Draws) -> Look:
    """Two colours and a texture of this split."""
    return Look(_colour(draws), _colour(draws), 1 + draws.index(FAMILIES), draws.uniform(1.6, 3.2))


def _colour(draws: Draws) -> Colour:
    """A colour that is rarely grey: one channel high, one low."""
    shades = [draws.uniform(150, 245), draws.uniform(30, 235), draws.uniform(15, 110)]
    turn = draws.index(6)
    order = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))[turn]
    return shades[order[0]], shades[order[1]], shades[order[2]]


def any_yaw(draws: Draws) -> float:
    """Any of eight ways, give or take: the ways of both splits are spread over the whole turn."""
    return math.radians(45.0 * draws.index(8)) + draws.angle(-22.5, 22.5)


def facing(draws: Draws, most: float) -> float:
    """More or less towards the viewer."""
    return draws.angle(-most, most)


def sideways(draws: Draws) -> float:
    """In profile, to the left or to the right of the picture."""
    return math.radians(90.0 if draws.chance(0.5) else -90.0) + draws.angle(-20, 20)


def new_person(draws: Draws, at: Point, yaw: float, height: float | None = None) -> Person:
    """Somebody who stands there."""
    arm = lambda: Limb(draws.angle(-22, 22), draws.angle(6, 22), draws.angle(4, 34))
    leg = lambda: Limb(draws.angle(-16, 18), draws.angle(0, 9), draws.angle(0, 16))
    person = Person(
        Frame(at, yaw), draws.pose(72, 86) if height is None else height, {side: arm() for side in SIDES},
        {side: leg() for side in SIDES}, lean=draws.angle(-4, 8),
    )  # fmt: skip
    person.face = Frame(at, yaw)
    person.settle()
    return person


def keep(draft: Draft, person: Person) -> None:
    """Keeps a person, who may wear a hat or carry a bag on the back."""
    draws = draft.draws
    draft.people.append(person)
    if draws.chance(HAT):
        draft.thing('hat', person.face.at(up=0.72 * HEAD * person.height), person.face.yaw)
    elif draws.chance(PACK) and person.frame.cosine < 0.75:
        draft.thing('bag', person.frame.at(ahead=-0.1 * person.height, of=person.joints['middle']), person.frame.yaw)


def hold(draft: Draft, person: Person, side: str) -> Person:
    """A hand holds something before or beside the body, or a bag hangs from it."""
    draws = draft.draws
    category = draws.pick(HOLDABLE)
    if category == 'bag':
        person.arms[side] = Limb(draws.angle(-10, 12), draws.angle(14, 26), draws.angle(0, 12))
    elif category == 'umbrella':
        person.arms[side] = Limb(draws.angle(25, 55), draws.angle(10, 30), draws.angle(60, 95))
    else:
        # Seen from behind, the body would hide what is held before it: the arm goes further aside.
        aside = 14.0 if person.frame.cosine < -0.5 else 0.0
        person.arms[side] = Limb(draws.angle(20, 62), draws.angle(12 + aside, 44 + aside), draws.angle(30, 75))
    person.settle_arms()
    draft.things.append(make_held(category, person.joints[f'{side} hand'], person.frame.yaw, draft.look()))
    keep(draft, person)
    return person


def touch_shoulder(person: Person, other: Person) -> None:
    """The nearer hand goes to the nearer shoulder of somebody else."""
    pairs = [(a, b) for a in SIDES for b in SIDES]
    between = lambda pair: math.dist(person.joints[f'{pair[0]} shoulder'], other.joints[f'{pair[1]} shoulder'])
    mine, theirs = min(pairs, key=between)
    person.arms[mine] = Limb(reach=other.joints[f'{theirs} shoulder'])
    person.settle_arms()


def _holding(draft: Draft, at: Point) -> None:
    person = new_person(draft.draws, at, any_yaw(draft.draws))
    hold(draft, person, SIDES[draft.draws.index(2)])


def _kicking(draft: Draft, at: Point) -> None:
    """A foot swings into a ball; the other leg stands."""
    draws = draft.draws
    side = SIDES[draws.index(2)]
    person = new_person(draws, at, any_yaw(draws))
    person.legs[side] = Limb(draws.angle(32, 62), draws.angle(4, 22), draws.angle(0, 22))
    person.legs['left' if side == 'right' else 'right'] = Limb(draws.angle(-10, 2), 0.05, draws.angle(4, 14))
    person.settle()
    toe = person.joints[f'{side} foot']
    draft.thing('ball', person.frame.at(up=1.5, ahead=7.5, of=toe), person.frame.yaw)
    keep(draft, person)


def _sitting(draft: Draft, at: Point) -> None:
    """On a chair or a bench, the hands free or with something in them."""
    draws = draft.draws
    yaw = facing(draws, 110) if draws.chance(0.85) else any_yaw(draws)
    person = new_person(draws, at, yaw)
    chair = draws.chance(0.55)
    person.seat = (SEAT if chair else BENCH) + 3.5
    person.lean = draws.angle(-6, 12)
    for side in SIDES:
        person.legs[side] = Limb(draws.angle(76, 94), draws.angle(2, 14), draws.angle(72, 98))
        person.arms[side] = Limb(draws.angle(8, 40), draws.angle(4, 16), draws.angle(20, 60))
    person.settle()
    draft.thing('chair' if chair else 'bench', at, yaw)
    if draws.chance(0.5):
        hold(draft, person, SIDES[draws.index(2)])
    else:
        keep(draft, person)


def _standing(draft: Draft, at: Point) -> None:
    """On a box or on a bench, and so higher than the others."""
    draws = draft.draws
    box, (x, _, z) = draws.chance(0.65), at
    person = new_person(draws, (x, 13.0 if box else BENCH + 2.0, z), any_yaw(draws), draws.pose(68, 78))
    for side in SIDES:
        person.legs[side] = Limb(draws.angle(-8, 8), draws.angle(0, 6), draws.angle(0, 10))
        person.arms[side] = Limb(draws.angle(-20, 50), draws.angle(15, 75), draws.angle(0, 40))
    person.settle()
    draft.thing('box' if box else 'bench', (x, 0.0, z), draws.angle(-30, 30))
    keep(draft, person)


def _carrying(draft: Draft, at: Point) -> None:
    """A box between both hands."""
    draws = draft.draws
    person = new_person(draws, at, facing(draws, 115))
    up, ahead = draws.pose(0.06, 0.2) * person.height, draws.pose(0.18, 0.23) * person.height
    at = person.frame.at(up=up - 6.0, ahead=ahead, of=person.joints['hip'])
    box = make_thing('box', at, person.frame.yaw, draft.look())
    for side, grip in zip(SIDES, box.grips, strict=False):
        person.arms[side] = Limb(reach=grip.at)
    person.settle_arms()
    draft.things.append(box)
    keep(draft, person)


def _pushing(draft: Draft, at: Point) -> None:
    """A cart, with both hands at its handle."""
    draws = draft.draws
    person = new_person(draws, at, sideways(draws))
    person.lean = draws.angle(8, 24)
    for side, swing in zip(SIDES, (1, -1) if draws.chance(0.5) else (-1, 1), strict=True):
        person.legs[side] = Limb(swing * draws.angle(8, 26), 0.03, draws.angle(4, 18))
    person.settle()
    cart = make_thing('cart', person.frame.at(ahead=0.24 * person.height + 19.0), person.frame.yaw, draft.look())
    for side, grip in zip(SIDES, cart.grips, strict=True):
        person.arms[side] = Limb(reach=grip.at)
    person.settle_arms()
    draft.things.append(cart)
    keep(draft, person)


def _riding(draft: Draft, at: Point) -> None:
    """A bicycle: the hip on the saddle, feet on the pedals, hands at the bars."""
    draws = draft.draws
    yaw = sideways(draws)
    bicycle = make_thing('bicycle', at, yaw, draft.look())
    of_kind = lambda kind: [grip.at for grip in bicycle.grips if grip.kind == kind]
    saddle, bars, pedals = of_kind('saddle'), of_kind('bars'), of_kind('pedal')
    person = new_person(draws, (saddle[0][0], 0.0, saddle[0][2]), yaw, draws.pose(74, 84))
    person.seat, person.lean = saddle[0][1] + 3.5, draws.angle(22, 36)
    for side, bar, pedal in zip(SIDES, bars, pedals, strict=True):
        person.legs[side] = Limb(reach=(pedal[0], pedal[1] + 2.5, pedal[2]))
        person.arms[side] = Limb(reach=bar)
    person.settle()
    draft.things.append(bicycle)
    keep(draft, person)


def _touching(draft: Draft, at: Point) -> None:
    """A hand on a table, a tree or a dog."""
    draws = draft.draws
    what = draws.pick({'table': 0.27, 'tree': 0.22, 'dog': 0.4})
    side = SIDES[draws.index(2)]
    sign = 1 if side == 'left' else -1
    person = new_person(draws, at, any_yaw(draws))
    frame, height = person.frame, person.height
    if what == 'tree':
        tree = frame.at(left=sign * draws.pose(0.2, 0.27) * height, ahead=draws.pose(0.05, 0.14) * height)
        thing = draft.thing('tree', tree, 0.0)
        person.arms[side] = Limb(reach=thing.grips[2 + draws.index(2)].at)
    elif what == 'table':
        thing = draft.thing('table', frame.at(left=sign * 12.0, ahead=draws.pose(0.2, 0.26) * height), frame.yaw)
        person.lean = draws.angle(6, 20)
        nearest = min(thing.grips, key=lambda grip: math.dist(grip.at, person.joints[f'{side} hand']))
        person.arms[side] = Limb(reach=(nearest.at[0], nearest.at[1] + 1.5, nearest.at[2]))
    else:
        ahead = draws.pose(0.12, 0.18) * height
        yaw = frame.yaw + sign * draws.angle(60, 130)
        thing = draft.thing('dog', frame.at(left=sign * 9.0, ahead=ahead - 2.0), yaw)
        head = frame.at(left=sign * 9.0, ahead=ahead, of=(at[0], 0, at[2]))
        shift = [a - b for a, b in zip(head, thing.grips[0].at, strict=True)]
        place = (thing.frame.origin[0] + shift[0], 0.0, thing.frame.origin[2] + shift[2])
        draft.things[-1] = thing = make_thing('dog', place, thing.frame.yaw, draft.look())
        person.lean = draws.angle(16, 30)
        person.arms[side] = Limb(reach=thing.grips[0].at)
    person.settle()
    keep(draft, person)


def _idling(draft: Draft, at: Point) -> None:
    keep(draft, new_person(draft.draws, at, any_yaw(draft.draws)))


ACTS: dict[str, Callable[[Draft, Point], None]] = {
    'hold': _holding, 'kick': _kicking, 'sit': _sitting, 'stand': _standing, 'carry': _carrying, 'push': _pushing,
    'ride': _riding, 'touch': _touching, 'idle': _idling,
}  # fmt: skip
