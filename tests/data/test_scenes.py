"""The world of scenes: what its pictures hold, what follows from geometry, and how its splits differ."""

import dataclasses
import math
import pickle
from collections import Counter

import numpy as np
import pytest

from jaxrec.data.images.scene import UNKNOWN_PART
from jaxrec.data.simulators.scenes import VOCABULARY, World
from jaxrec.data.simulators.scenes.acts import ACTS, Draft, draw_look, new_person, touch_shoulder
from jaxrec.data.simulators.scenes.relations import relations_of
from jaxrec.data.simulators.scenes.render import FAMILIES, TILE, fill, textures
from jaxrec.data.simulators.scenes.simulator import SimulatedScenes, simulate, simulate_scene, stage_scene, survey
from jaxrec.data.simulators.scenes.stage import COLUMNS, Frame, Stage
from jaxrec.data.simulators.scenes.things import HELD, THINGS, make_held, make_thing
from jaxrec.data.simulators.scenes.world import CELLS, PARTS, SEEN, UNSEEN, Draws
from tests.data.images.worlds import assert_same
from tests.oracles import scenes as oracle

WORLD = World()
ENTITY = {name: number for number, name in enumerate(VOCABULARY.entities)}
RELATION = {name: number for number, name in enumerate(VOCABULARY.relations)}


@pytest.fixture(scope='module')
def held_out():
    """200 held-out scenes."""
    return [stage_scene(WORLD, 0, index, True) for index in range(200)]


def draws_of(seed, held_out=False):
    return Draws((9, seed), held_out)


def test_held_out_scenes_hold_what_they_must(held_out):
    facts = survey(held_out)
    assert facts['people'] >= 3
    assert facts['things'] >= 4
    assert facts['relations'] >= 6
    assert facts['mirrored'] >= 0.3
    assert facts['occluded'] >= 0.2
    assert facts['several'] >= 0.2
    assert facts['hidden_parts'] <= 0.1
    trained = survey(stage_scene(WORLD, 0, index, False) for index in range(60))
    assert trained['people'] >= 3 and trained['things'] >= 4 and trained['relations'] >= 5


def test_every_class_and_relation_is_met(held_out):
    classes = Counter(c for staged in held_out for c in staged.scene.categories.tolist())
    relations = Counter(r for staged in held_out for r in staged.scene.relations[:, 2].tolist())
    parts = np.sum([staged.scene.relation_parts.sum(0) for staged in held_out], 0)
    assert min(classes[number] for number in range(len(VOCABULARY.entities))) >= 10
    assert min(relations[number] for number in range(len(VOCABULARY.relations))) >= 10
    acting = [PARTS.index(f'{side} {part}') for side in ('left', 'right') for part in ('hand', 'foot')]
    assert parts[acting].min() >= 20
    assert 0.5 < parts[PARTS.index('left hand')] / parts[PARTS.index('right hand')] < 2


def test_the_same_pair_of_classes_carries_different_relations_by_part(held_out):
    found = Counter()
    for staged in held_out:
        scene = staged.scene
        balls = np.flatnonzero(scene.categories == ENTITY['ball'])
        for (_, target, relation), taking in zip(scene.relations.tolist(), scene.relation_parts, strict=True):
            if target in balls and relation != RELATION['look']:
                found[VOCABULARY.relations[relation], tuple(PARTS[p] for p in np.flatnonzero(taking))] += 1
        found['none'] += sum(ball not in scene.relations[:, 1] for ball in balls)
    for key in (
        ('hold', ('left hand',)), ('hold', ('right hand',)), ('kick', ('left foot',)),
        ('kick', ('right foot',)), 'none',
    ):  # fmt: skip
        assert found[key] >= 10, (key, found)


def test_masks_and_parts_belong_together(held_out):
    for staged in held_out[:40]:
        scene = staged.scene
        scene.check(VOCABULARY)
        assert scene.masks.sum(0).max() <= 1
        people = scene.masks[scene.categories == ENTITY['person']].any(0)
        labelled = (scene.parts > 0) & (scene.parts != UNKNOWN_PART)
        np.testing.assert_array_equal(labelled, people)
        assert (scene.masks.sum((1, 2)) <= staged.whole).all()


def test_a_scene_is_a_pure_function_of_its_arguments(held_out):
    assert_same(simulate_scene(WORLD, 0, 7, True), held_out[7].scene)
    assert_same(pickle.loads(pickle.dumps(held_out[7].scene)), held_out[7].scene)
    others = (simulate_scene(WORLD, 1, 7, True), simulate_scene(WORLD, 0, 8, True), simulate_scene(WORLD, 0, 7, False))
    for other in others:
        assert (other.image != held_out[7].scene.image).any()


def test_a_larger_picture_shows_the_same_scene():
    alike = 0
    for index in range(6):
        small, large = (simulate_scene(World(size=size), 0, index, True) for size in (128, 256))
        assert large.image.shape == (256, 256, 3)
        if len(small.categories) != len(large.categories):
            continue  # something is just too small to be an entity at one of the sizes
        alike += 1
        np.testing.assert_array_equal(small.categories, large.categories)
        np.testing.assert_array_equal(small.relations, large.relations)
        for one, other in zip(small.masks, large.masks, strict=True):
            assert other.sum() == pytest.approx(4 * one.sum(), rel=0.25, abs=40)
    assert alike >= 4


@pytest.mark.parametrize('split', [False, True])
@pytest.mark.parametrize(
    ('act', 'relation', 'parts'),
    [
        ('kick', 'kick', {('left foot',), ('right foot',)}),
        ('sit', 'sit on', {('hip',)}),
        ('carry', 'carry', {('left hand', 'right hand')}),
        ('push', 'push', {('left hand', 'right hand')}),
        ('ride', 'ride', {('hip', 'left foot', 'left hand', 'right foot', 'right hand')}),
        ('stand', 'stand on', {('left foot', 'right foot')}),
    ],
)
def test_an_act_brings_its_relation_about(split, act, relation, parts):
    seen = Counter()
    for seed in range(60):
        draft = Draft(draws_of(seed, split), [], [])
        ACTS[act](draft, (0.0, 0.0, 0.0))
        found = [r.parts for r in relations_of(draft.people, draft.things) if r.name == relation]
        seen.update(found if found else ['none'])
    assert seen.total() == 60
    assert set(seen) >= parts
    assert sum(seen[key] for key in parts) >= 58


@pytest.mark.parametrize('act', ['hold', 'touch'])
def test_one_hand_is_enough_to_hold_and_to_touch(act):
    names = {'hold': {'hold', 'carry'}, 'touch': {'touch'}}[act]
    hands = Counter()
    for seed in range(60):
        draft = Draft(draws_of(seed), [], [])
        ACTS[act](draft, (0.0, 0.0, 0.0))
        found = [r.parts for r in relations_of(draft.people, draft.things) if r.name in names]
        assert len(found) == 1
        hands[found[0]] += 1
    assert hands[('left hand',)] > 10 and hands[('right hand',)] > 10


def standing(x=0.0, z=0.0, yaw=0.0, seed=0):
    return new_person(draws_of(seed), (x, 0.0, z), yaw, 80.0)


@pytest.mark.parametrize('category', [name for name in HELD if name != 'bag'])
def test_what_merely_covers_a_hand_is_not_held(category):
    person, look = standing(), draw_look(draws_of(0))
    hand = person.joints['left hand']
    held = make_held(category, hand, 0.0, look)
    names = lambda thing: {(r.name, r.parts) for r in relations_of([person], [thing])}
    assert names(held) == {('hold', ('left hand',))}
    x, y, z = held.frame.origin
    assert names(make_thing(category, (x, y, z + 15.0), 0.0, look)) == set()


@pytest.mark.parametrize('yaw', [0, 60, 120, 180, 240, 300])
def test_left_and_right_are_the_persons_own(yaw):
    person, stage = standing(yaw=math.radians(yaw)), Stage(128, 36.0, 85.0, 200.0)
    for part in ('hand', 'shoulder', 'foot'):
        left, right = (stage.see(person.joints[f'{side} {part}'])[0] for side in ('left', 'right'))
        if abs(math.cos(math.radians(yaw))) > 0.9:
            assert (left > right) == (yaw == 0), part
    ahead = person.frame.at(ahead=1.0, of=(0, 0, 0))
    shoulders = [person.joints[f'{side} shoulder'] for side in ('left', 'right')]
    across = [a - b for a, b in zip(*shoulders, strict=True)]
    # Ahead, turned a quarter about the vertical to the left, is where the left shoulder is.
    assert across[0] * ahead[2] - across[2] * ahead[0] > 0


def test_bones_keep_their_length_whatever_they_reach_for():
    person = standing()
    for reach in ((30.0, 40.0, 0.0), (400.0, 10.0, 5.0), (0.0, 60.0, 12.0), person.joints['left shoulder']):
        person.arms['left'].reach = reach
        person.settle_arms()
        joints = person.joints
        upper = math.dist(joints['left shoulder'], joints['left elbow'])
        lower = math.dist(joints['left elbow'], joints['left hand'])
        assert upper == pytest.approx(0.15 * 80) and lower == pytest.approx(0.145 * 80)
    assert math.dist(joints['left hand'], person.joints['left shoulder']) < 1


def by_name(people, things=()):
    return {(r.subject, r.object, r.name) for r in relations_of(people, things)}


def test_looking_is_a_matter_of_the_head_alone():
    person, look = standing(yaw=1.2), draw_look(draws_of(0))
    ball = make_thing('ball', person.frame.at(up=6.0, ahead=35.0), 0.0, look)
    assert by_name([person], [ball]) == set()
    assert person.look_at(ball.centre)
    assert by_name([person], [ball]) == {(0, 1, 'look')}
    nearer = make_thing('ball', person.frame.at(up=24.0, ahead=26.5), 0.0, look)
    assert by_name([person], [ball, nearer]) == {(0, 2, 'look')}
    assert not person.look_at(person.frame.at(ahead=-40.0))


def test_who_look_at_each_other_nearby_talk():
    one, other = standing(-22.0, yaw=math.pi / 2), standing(22.0, yaw=-math.pi / 2)
    one.look_at(other.joints['head'])
    other.look_at(one.joints['head'])
    assert by_name([one, other]) == {(0, 1, 'talk'), (1, 0, 'talk')}
    # Too far by the smaller one's height and near by the taller one's: the mean decides for both.
    child = new_person(draws_of(0), (30.0, 0.0, 0.0), -math.pi / 2, 60.0)
    one.look_at(child.joints['head'])
    child.look_at(one.joints['head'])
    apart = math.dist(one.joints['head'], child.joints['head'])
    assert 0.85 * child.height < apart < 0.85 * (one.height + child.height) / 2
    assert by_name([one, child]) == {(0, 1, 'talk'), (1, 0, 'talk')}
    far = standing(70.0, yaw=-math.pi / 2)
    one.look_at(far.joints['head'])
    far.look_at(one.joints['head'])
    assert by_name([one, far]) == {(0, 1, 'look'), (1, 0, 'look')}


def test_side_by_side_is_near_in_width_and_depth_with_nobody_between():
    pair = [standing(-15.0), standing(15.0)]
    both = {(0, 1, 'next to'), (1, 0, 'next to')}
    assert by_name(pair) == both
    assert by_name([pair[0], standing(40.0)]) == set()
    assert by_name([pair[0], standing(15.0, -30.0)]) == set()
    assert not by_name([*pair, standing(0.0)]) & both
    assert by_name([*pair, standing(0.0, -50.0)]) == both


def test_a_hand_on_a_shoulder():
    pair = [standing(-16.0), standing(16.0)]
    touch_shoulder(pair[0], pair[1])
    (touch,) = [r for r in relations_of(pair, []) if r.name == 'touch']
    assert (touch.subject, touch.object, touch.parts) == (0, 1, ('left hand',))


def test_poses_of_the_splits_are_drawn_from_cells_apart():
    assert set(SEEN) | set(UNSEEN) == set(range(CELLS)) and not set(SEEN) & set(UNSEEN)
    for held, cells in ((False, SEEN), (True, UNSEEN)):
        draws = draws_of(0, held)
        drawn = {int((draws.pose(10.0, 26.0) - 10.0) / 2.0) for _ in range(400)}
        assert drawn == set(cells)


def test_textures_of_the_splits_are_others():
    one, other = textures(False), textures(True)
    assert one.shape == other.shape == (1 + FAMILIES, TILE, TILE)
    for a in one[1:]:
        assert 0 <= a.min() and a.max() <= 1 and a.std() > 0.1
        assert min(np.abs(a - b).mean() for b in other[1:]) > 0.1


def test_parts_of_a_null_world_say_nothing():
    world = World(null=True)
    honest = [simulate_scene(WORLD, 0, index, False) for index in range(40)]
    null = [simulate_scene(world, 0, index, False) for index in range(40)]
    for one, other in zip(honest, null, strict=True):
        assert_same(one, other, but=('relation_parts',))
        np.testing.assert_array_equal(one.relation_parts.sum(1), other.relation_parts.sum(1))
    hands = [PARTS.index('left hand'), PARTS.index('right hand')]
    held = lambda found: np.concatenate(
        [s.relation_parts[s.relations[:, 2] == RELATION['hold']][:, hands].sum(1) for s in found]
    ).mean()
    assert held(honest) == 1
    assert held(null) < 0.35


@pytest.mark.parametrize('seed', range(4))
def test_shapes_are_filled_as_pixel_by_pixel(seed):
    rng = np.random.default_rng(seed)
    shapes = [
        {
            'x': rng.uniform(-4, 28), 'y': rng.uniform(-4, 28),
            'cosine': math.cos(turn), 'sine': math.sin(turn),
            'straight': rng.choice([0.0, 6.0]), 'end': rng.uniform(0.3, 7), 'side': rng.uniform(0.3, 7),
            'taper': rng.choice([0.0, 0.3, -0.4]), 'square': float(rng.random() < 0.3),
            'hole': rng.choice([0.0, 0.0, 0.6]), 'depth': float(rng.integers(5)),
            'entity': float(rng.integers(-1, 4)), 'part': float(rng.integers(0, 9)),
            **dict.fromkeys(COLUMNS[13:], 1.0),
        }
        for turn in rng.uniform(0, 7, 14)
    ]  # fmt: skip
    rows = [tuple(shape[name] for name in COLUMNS) for shape in shapes]
    picture = fill(rows, 4, np.zeros((3, 24, 24), np.float32), False, 0.0, 0)
    entity, part, whole = oracle.fill(shapes, 4, 24)
    # Single precision may put a pixel on the very rim on its other side.
    assert (picture.entity != entity).sum() + (picture.part != part).sum() <= 2
    np.testing.assert_allclose(picture.whole, whole, atol=2)


def test_every_thing_has_a_silhouette_of_its_own():
    shapes = {}
    for category, (_, up) in THINGS.items():
        stage = Stage(96, 20.0, 80.0, 200.0)
        stage.entity = 0
        make_thing(category, (0.0, up, 0.0), math.pi / 2, draw_look(draws_of(1))).draw(stage)
        backdrop = np.zeros((3, 96, 96), np.float32)
        shapes[category] = fill(stage.rows, 1, backdrop, False, 0.0, 0).entity == 0
        assert 20 < shapes[category].sum() < 96 * 96 / 2, category
    for a, one in shapes.items():
        for b, other in shapes.items():
            if a < b:
                assert (one & other).sum() < 0.9 * (one | other).sum(), (a, b)


def test_a_frame_turns_about_the_vertical():
    frame = Frame((1.0, 2.0, 3.0), math.pi / 2)
    np.testing.assert_allclose(frame.at(ahead=5.0), (6.0, 2.0, 3.0), atol=1e-9)
    np.testing.assert_allclose(frame.at(left=5.0, up=1.0), (1.0, 3.0, -2.0), atol=1e-9)


def test_a_log_has_training_scenes_and_unseen_ones(tmp_path):
    log = simulate(tmp_path / 'log', seed=4, train=3, validation=2, test=2, size=64)
    world = World(size=64)
    assert log.events['part'].tolist() == [0, 0, 0, 1, 1, 2, 2]
    for row, (index, held) in enumerate([(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (0, 1), (1, 1)]):
        assert_same(log.scene(row), simulate_scene(world, 4, index, bool(held)))
    assert log.names == VOCABULARY
    assert simulate(tmp_path / 'log', seed=4, train=3, validation=2, test=2, size=64).manifest == log.manifest
    with pytest.raises(ValueError, match='holds a log of other content or settings'):
        simulate(tmp_path / 'log', seed=5, train=3, validation=2, test=2, size=64)


@pytest.mark.parametrize(
    ('knobs', 'message'),
    [
        ({'size': 16}, r'world.size = 16: hands vanish below 32 pixels'),
        ({'least_people': 6}, r'world.least_people = 6 is more than world.most_people = 5'),
        ({'least_things': 9}, r'world.least_things = 9 is more than'),
        ({'pairs': 1.5}, r'world.pairs = 1.5 is a share'),
        ({'noise': -1.0}, r'world.noise = -1.0: it must not be negative'),
        ({'least_people': 0}, r'world.least_people = 0; at least 1 is needed'),
        ({'null': 1}, r'world.null = 1 is int, but bool'),
        ({'folks': 3}, r'world.folks is not an option'),
        ({'train': -1}, r'train = -1: give 0 or more'),
        ({'train': 0, 'validation': 0, 'test': 0}, 'gives no images'),
    ],
)
def test_knobs_out_of_range_are_refused(tmp_path, knobs, message):
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path / 'log', **knobs)


def test_what_counts_from_zero_is_no_less():
    with pytest.raises(ValueError, match='scene -1 of seed 0: both count from 0'):
        simulate_scene(WORLD, 0, -1, False)
    with pytest.raises(ValueError, match='seed = -2: give 0 or more'):
        SimulatedScenes({}, -2, 1, 1, 1)
    with pytest.raises(ValueError, match='a survey of no scenes says nothing'):
        survey([])


def test_the_noise_may_be_left_out():
    quiet = simulate_scene(dataclasses.replace(WORLD, noise=0.0), 0, 0, False)
    noisy = simulate_scene(WORLD, 0, 0, False)
    assert_same(quiet, noisy, but=('image',))
    difference = noisy.image.astype(int) - quiet.image
    assert difference.std() == pytest.approx(WORLD.noise, rel=0.2)
