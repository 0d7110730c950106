"""Who stands where: groups of people in two rows, what they use, and lying things; `relations` finds what holds."""

import dataclasses
import math

from jaxrec.data.simulators.scenes.acts import ACTS, Draft, hold, keep, new_person, touch_shoulder
from jaxrec.data.simulators.scenes.people import Person
from jaxrec.data.simulators.scenes.stage import Stage
from jaxrec.data.simulators.scenes.things import TABLE, THINGS, Thing, make_thing
from jaxrec.data.simulators.scenes.world import SIDES, UNIT, Draws, World

DISTANCE = 200.0  # of the camera from the front row
ROWS = {'front': (-12.0, 4.0), 'back': (-92.0, -66.0)}  # depths
APART = 52.0  # of people who do not belong together and stand in one row
TRIES = 14
SHOULDER = 0.25  # share of the pairs side by side where one has a hand on the other's shoulder
SINGLE = {
    'hold': 0.28, 'kick': 0.16, 'sit': 0.14, 'stand': 0.09, 'carry': 0.10, 'push': 0.07, 'ride': 0.06,
    'touch': 0.10, 'idle': 0.03,
}  # fmt: skip
LOOSE = {
    'ball': 0.17, 'cup': 0.06, 'book': 0.06, 'hat': 0.05, 'bag': 0.12, 'box': 0.09, 'chair': 0.09,
    'bench': 0.05, 'table': 0.06, 'bicycle': 0.06, 'dog': 0.10, 'tree': 0.09, 'phone': 0.03,
    'umbrella': 0.02, 'cart': 0.03,
}  # fmt: skip
SMALL = ('ball', 'cup', 'book', 'hat', 'bag', 'phone')


@dataclasses.dataclass
class Layout:
    """A scene before it is drawn: its people and things, posed and placed."""

    people: list[Person]
    things: list[Thing]


def lay_out(world: World, draws: Draws, stage: Stage) -> Layout:
    """Places groups of people and things by the draws of a scene, for the camera of its stage."""
    draft, left = Draft(draws, [], []), draws.between(world.least_people, world.most_people)
    groups: list[int] = []
    while left > 0:
        groups.append(2 if left > 1 and draws.chance(world.pairs) else 1)
        left -= groups[-1]
    first = draws.index(2)
    for number, size in enumerate(groups):
        row = ('back', 'front')[(first + number) % 2]
        face = draws.chance(0.5)
        gap = draws.pose(0.52, 0.64) if face else draws.pose(0.36, 0.45)
        for name in (row, 'back' if row == 'front' else 'front'):
            place = _free_place(world, draft, stage, name, gap * 80.0 * (size - 1))
            if place is not None:
                _add_group(draft, size, face, gap, *place)
                break
    _look(world, draft)
    for _ in range(draws.between(world.least_things, world.most_things)):
        _add_loose(draft, stage)
    return Layout(draft.people, draft.things)


def _edge(z: float) -> float:
    """Half of what the camera sees at a depth."""
    return UNIT / 2 * (DISTANCE - z) / DISTANCE


def _free_place(world: World, draft: Draft, stage: Stage, row: str, width: float) -> tuple[float, float] | None:
    """x and z of the middle of a group that keeps away from others of its row; None without room."""
    draws = draft.draws
    z = draws.uniform(*ROWS[row])
    edge = _edge(z) - 14.0 - width / 2
    others = [p.frame.origin for p in draft.people]
    near = [x for x, _, other in others if abs(other - z) < 30]
    hidden = [x * (DISTANCE - z) / (DISTANCE - other) for x, _, other in others if other < z - 30]
    for number in range(TRIES):
        x = draws.uniform(-edge, edge)
        if hidden and row == 'front' and number < TRIES // 2 and draws.chance(world.crowding):
            x = hidden[draws.index(len(hidden))] + draws.uniform(-16, 16) - width / 2
            x = min(max(x, -edge), edge)
        if all(abs(x - other) > APART + width / 2 for other in near):
            return x, z
    return None


def _add_group(draft: Draft, size: int, face: bool, gap: float, x: float, z: float) -> None:
    """One person who does something, or two side by side or face to face who may hold something."""
    draws = draft.draws
    if size == 1:
        ACTS[draws.pick(SINGLE)](draft, (x, 0.0, z))
        return
    heights = [draws.pose(72, 86), draws.pose(72, 86)]
    shift = gap * sum(heights) / 4
    base = math.pi if draws.chance(0.25) else 0.0
    pair = []
    for sign, height in zip((-1, 1), heights, strict=True):
        yaw = -sign * math.pi / 2 + draws.angle(-22, 22) if face else base + draws.angle(-40, 40)
        person = new_person(draws, (x + sign * shift, 0.0, z + draws.uniform(-3, 3)), yaw, height)
        pair.append(person)
    toucher = -1 if face or not draws.chance(SHOULDER) else draws.index(2)
    if toucher >= 0:
        touch_shoulder(pair[toucher], pair[1 - toucher])
    for number, person in enumerate(pair):
        side = SIDES[draws.index(2)]
        if number != toucher and draws.chance(0.65):
            hold(draft, person, side)
        else:
            keep(draft, person)
    if face:
        for person, other in ((pair[0], pair[1]), (pair[1], pair[0])):
            person.look_at(other.joints['head'])


def _look(world: World, draft: Draft) -> None:
    """Some people turn their heads to what they use, to a neighbour or to something that is near."""
    draws = draft.draws
    for person in draft.people:
        straight = math.isclose(person.face.yaw, person.frame.yaw)
        if not straight or not draws.chance(world.looks):
            continue
        head = person.joints['head']
        places = [thing.centre for thing in draft.things]
        places += [other.joints['head'] for other in draft.people if other is not person]
        near = [at for at in places if 14.0 < math.dist(head, at) < 70.0 and _before(person, at)]
        if near:
            person.look_at(near[draws.index(len(near))])


def _before(person: Person, at: tuple[float, float, float]) -> bool:
    """Whether a neck can turn there."""
    x, z = at[0] - person.joints['head'][0], at[2] - person.joints['head'][2]
    return abs(math.remainder(math.atan2(x, z) - person.frame.yaw, 2 * math.pi)) < 1.1


def _add_loose(draft: Draft, stage: Stage) -> None:
    """A thing that nobody uses, often close to somebody who could."""
    draws = draft.draws
    category = draws.pick(LOOSE)
    radius = 7.0 if category in SMALL else 17.0
    tables = [t for t in draft.things if t.category == 'table']
    if category in ('cup', 'book', 'ball') and tables and draws.chance(0.7):
        at = tables[0].frame.at(draws.uniform(-14, 14), TABLE + 2.0 + THINGS[category][1], 2.0)
        draft.things.append(make_thing(category, at, 0.0, draft.look()))
        return
    for _ in range(TRIES):
        row = 'back' if category == 'tree' or draws.chance(0.45) else 'front'
        low, high = ROWS[row]
        z = draws.uniform(low, high + 18.0) - (28.0 if category == 'tree' else 0.0)
        x = draws.uniform(-1, 1) * (_edge(z) - radius)
        if category in SMALL and draft.people and draws.chance(0.5):
            px, _, pz = draft.people[draws.index(len(draft.people))].frame.origin
            z = pz + draws.uniform(2, 12)
            x = px + (1 if draws.chance(0.5) else -1) * draws.uniform(19, 27)
        clear = [p.frame.origin for p in draft.people] + [t.frame.origin for t in draft.things if t.frame.origin[1] < 9]
        if abs(x) < _edge(z) - 6 and all(math.hypot(x - a, z - c) > radius + 9.0 for a, _, c in clear):
            up = THINGS[category][1]
            draft.things.append(make_thing(category, (x, up, z), draws.angle(-180, 180), draft.look()))
            return
