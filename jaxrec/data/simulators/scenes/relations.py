"""Which relations hold between posed people and things, by distances of joints and grips in three dimensions."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxrec.data.simulators.scenes.people import Person
from jaxrec.data.simulators.scenes.stage import Point
from jaxrec.data.simulators.scenes.things import Grip, Thing
from jaxrec.data.simulators.scenes.world import SIDES

_HAND = {f'{side} hand': f'{side} hand' for side in SIDES}
_TOE = {f'{side} foot': f'{side} foot' for side in SIDES}
_SOLE = {f'{side} foot': f'{side} ankle' for side in SIDES}
# kind of grip: ({part: its joint}, relation)
CONTACTS: dict[str, tuple[dict[str, str], str]] = {
    'grasp': (_HAND, 'hold'), 'strap': (_HAND, 'carry'), 'side': (_HAND, 'carry'), 'surface': (_HAND, 'touch'),
    'ball': (_TOE, 'kick'), 'seat': ({'hip': 'hip'}, 'sit on'), 'top': (_SOLE, 'stand on'),
    'saddle': ({'hip': 'hip'}, 'ride'), 'bars': (_HAND, 'ride'), 'pedal': (_SOLE, 'ride'), 'handle': (_HAND, 'push'),
    'brim': ({'head': 'head'}, 'wear'), 'back': ({'torso': 'middle'}, 'wear'),
}  # fmt: skip
NEEDED = {'ride': 'hip'}  # hands at the bars alone do not ride
GAZE = math.cos(math.radians(12))  # the cone of what somebody looks at
SIGHT, TALK = 1.3, 0.85  # how far one looks at a thing and talks with a person, in heights
REACH = 1.1  # beyond that many heights no limb and no grip meet, so none need be tried
BESIDE, ABREAST = 0.5, 0.2  # side by side: at most so far aside and in depth, in heights


class Relation(NamedTuple):
    """Rows of subject and object, people first and then things; the relation and its parts by name."""

    subject: int
    object: int
    name: str
    parts: tuple[str, ...]


def relations_of(people: Sequence[Person], things: Sequence[Thing]) -> list[Relation]:
    """All relations that hold; entities are numbered people first."""
    found = [relation for s, person in enumerate(people) for relation in _contacts(s, person, people, things)]
    gazes = [_gaze(s, person, people, things) for s, person in enumerate(people)]
    for s, seen in enumerate(gazes):
        if seen is None:
            continue
        talks = seen < len(people) and gazes[seen] == s and _near(people[s], people[seen])
        found.append(Relation(s, seen, 'talk' if talks else 'look', ('head',)))
    talking = {(r.subject, r.object) for r in found if r.name == 'talk'}
    for a, b in _abreast(people):
        if (a, b) not in talking:
            found += [Relation(a, b, 'next to', ()), Relation(b, a, 'next to', ())]
    return found


def _near(one: Person, other: Person) -> bool:
    """Whether two can talk: measured by the mean of their heights, so that both do or neither."""
    height = (one.height + other.height) / 2
    return math.dist(one.joints['head'], other.joints['head']) < TALK * height


def _contacts(s: int, person: Person, people: Sequence[Person], things: Sequence[Thing]) -> list[Relation]:
    """What parts of one person touch."""
    found = []
    for o, other in enumerate(people):
        if o != s:
            shoulders = [Grip('surface', other.joints[f'{side} shoulder'], 0.075 * other.height) for side in SIDES]
            found += _by_relation(s, o, person, shoulders)
    middle = person.joints['hip'][0]
    for o, thing in enumerate(things, len(people)):
        if abs(thing.frame.origin[0] - middle) < REACH * person.height:
            found += _by_relation(s, o, person, thing.grips)
    return found


def _by_relation(s: int, o: int, person: Person, grips: Sequence[Grip]) -> list[Relation]:
    parts: dict[str, set[str]] = {}
    for kind, at, radius in grips:
        joints, relation = CONTACTS[kind]
        for part, joint in joints.items():
            if math.dist(person.joints[joint], at) <= radius:
                parts.setdefault(relation, set()).add(part)
    return [
        Relation(s, o, relation, tuple(sorted(taking)))
        for relation, taking in parts.items()
        if NEEDED.get(relation, next(iter(taking))) in taking
    ]


def _gaze(s: int, person: Person, people: Sequence[Person], things: Sequence[Thing]) -> int | None:
    """The nearest entity in the cone that a person looks along."""
    places: list[Point] = [p.joints['head'] for p in people] + [thing.centre for thing in things]
    head, gaze = person.joints['head'], person.gaze
    best, nearest = None, SIGHT * person.height
    for o, place in enumerate(places):
        distance = math.dist(head, place)
        if o == s or not 0.16 * person.height < distance < nearest:  # nobody sees the own hat
            continue
        if sum((a - b) * g for a, b, g in zip(place, head, gaze, strict=True)) >= GAZE * distance:
            best, nearest = o, distance
    return best


def _abreast(people: Sequence[Person]) -> list[tuple[int, int]]:
    """Pairs who are side by side with nobody between them."""
    pairs = []
    for a, first in enumerate(people):
        for b in range(a + 1, len(people)):
            second, height = people[b], (first.height + people[b].height) / 2
            (x, _, z), (other_x, _, other_z) = first.joints['hip'], second.joints['hip']
            if abs(x - other_x) < BESIDE * height and abs(z - other_z) < ABREAST * height:
                middles = [p.joints['hip'] for c, p in enumerate(people) if c not in (a, b)]
                between = any(
                    min(x, other_x) < m[0] < max(x, other_x) and abs(m[2] - z) < ABREAST * height for m in middles
                )
                if not between:
                    pairs.append((a, b))
    return pairs
