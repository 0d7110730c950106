"""The classes and relations of Person in Context (PIC), by their published numbers.

Which 23 relations and 25 human parts the paper uses is not published; `CHOSEN_RELATIONS` and `CHOSEN_PARTS` are ours.
"""


def _names(text: str) -> tuple[str, ...]:
    """Names that a text lists."""
    return tuple(' '.join(text.split()).split(', '))


PEOPLE = ('human', 'person')  # what the class of people may be called
UNLABELLED = 'unlabelled'  # the class number 0; some instances have no other

# {edition: classes 1 to 84, or to 143}, spelled as published
ENTITIES = {
    1: _names(
        """
        human, floor, bed, window, cabinet, door, table, potting-plant, curtain, chair, sofa, shelf, rug,
        lamp, fridge, stairs, pillow, kitchen-island, sculpture, sink, document, painting/poster, barrel,
        basket, poke, stool, clothes, bottle, plate, cellphone, toy, cushion, box, display, blanket, pot,
        nameplate, banners/flag, cup, pen, digital, cooker, umbrella, decoration, straw, certificate,
        food, club, towel, pet/animals, tool, household-appliances, pram, car/bus/truck, grass,
        vegetation, water, ground, road, street-light, railing/fence, stand, steps, pillar, awnings/tent,
        building, mountrain/hill, stone, bridge, bicycle, motorcycle, airplane, boat/ship, balls,
        swimming-equipment, body-building-apparatus, gun, smoke, rope, amusement-facilities, prop,
        military-equipment, bag, instruments
        """
    ),
    2: _names(
        """
        human, hat, racket, plant, flag, food, cushion, tent, stick, bag, pot, flower, rug, blackboard,
        window, phone, car, ball, PC, instrument, fan, rope, electronics, kitchen_island, pillar, horse,
        basket, book, poke, lamp, guardrail, floor, scissor, stairs, kitchenware, decoration, document, pen,
        curtain, microphone, bottle, towel, brand, digital, tableware, certificate, box, barrel, umbrella,
        bicycle, pillow, luggage, tool, toy, cup, cigarette, door, stalls, money_coin, building, cabin, ice,
        stone, track, train, prop, road, street_light, body_building_apparatus, military_equipment, glass,
        parachute, ground, snow, amusement_facilities, motorcycle, net, sidewalk, shovel, property, wood,
        beach, water, paddle, straw, skis, field, animal, bridge, bench, grass, mountain, surfboard, wall,
        aircraft, bulletin, tree, hoe, bucket, steps, swimming_things, fishing_rod, table, skateboard,
        laptop, radiator, refrigerator, painting/poster, emblem, stool, handcart, nameplate, showcase,
        lighter, sculpture, shelf, chair, cabinet, clothes, sink, apparel, gun, stand, sofa, bed, sled,
        bird, cat, pram, plate, blender, remote_control, vase, toaster, boat, blanket, camel, dog,
        vegetation, display, banner, elephant, squirrel
        """
    ),
}  # fmt: skip
WITHOUT_INSTANCES = ('train', 'property')  # in edition 2, so that 141 classes are in use

# {edition: relations 1 to 30}
RELATIONS = {
    1: _names(
        """
        hold, touch, drive, eat, drink, play, look, throw, ride, talk, carry, use, pull, push, hit,
        feed, kick, wear, in-front-of, next-to, on-top-of, behind, on, with, in, sit-on, stand-on,
        lie-in, squat, other
        """
    ),
    2: _names(
        """
        in front of, behind, talk, next to, hold, drink, sit on, stand on, look, touch, wear, carry, in,
        others, use, lie down, eat, hit, with, drive, ride, squat, pull, on the top of, on, kick, throw,
        play, push, feed
        """
    ),
}  # fmt: skip
_GEOMETRIC_NUMBERS = {1: (19, 20, 21, 22, 23, 25), 2: (1, 2, 4, 13, 24, 25)}
GEOMETRIC = {
    edition: tuple(RELATIONS[edition][number - 1] for number in numbers)
    for edition, numbers in _GEOMETRIC_NUMBERS.items()
}
SYMMETRIC = {1: ('next-to',), 2: ('next to',)}

# Names, without ending, of images that public evaluators of edition 2 leave out; of their lists these are
# known.
BROKEN = {
    1: (),
    2: (
        '20136', 'indoor_03336', 'outdoor_02278', '23382', '23441', '20714', '20727', '23300', '21200',
    ),
}  # fmt: skip

# Those of them that the challenge's own script is known to leave out; its list for edition 2 has 19 names.
SKIPPED = {1: (), 2: BROKEN[2][:3]}

# Ours: edition 2 without its six geometric relations, which take no part of a person, and without 'others'.
CHOSEN_RELATIONS = tuple(name for name in RELATIONS[2] if name not in (*GEOMETRIC[2], 'others'))
# Ours: what touches, carries, looks, eats or is sat on, left and right apart.
_SIDED = ('ear', 'eye', 'upper arm', 'lower arm', 'hand', 'upper leg', 'knee', 'lower leg', 'foot')
CHOSEN_PARTS = (
    'hair', 'face', 'nose', 'mouth', 'neck', 'torso', 'hip',
    *(f'{side} {part}' for part in _SIDED for side in ('left', 'right')),
)  # fmt: skip
MIRRORED_PARTS = tuple((f'left {part}', f'right {part}') for part in _SIDED)


def published_classes(edition: int) -> tuple[str, ...]:
    """The names of an edition's classes by number, 0 included; a ValueError refuses an unknown edition."""
    if edition not in ENTITIES:
        raise ValueError(f'edition {edition} of PIC: there are {", ".join(map(str, ENTITIES))}')
    return (UNLABELLED, *ENTITIES[edition])
