"""A seeded renderer of scenes of people and things, with their complete ground truth.

People have 16 labelled parts, left and right their own, and face any way; whatever is nearer hides what is behind. A
relation follows from geometry and from the part: the same ball is held by a hand, kicked by a foot, or only near. A
scene is a pure function of (world, seed, index, split), so none is stored. `world` describes how the splits differ.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.images.log import SceneLog, compile_scenes
from jaxrec.data.images.scene import UNKNOWN_PART, Scene, Vocabulary
from jaxrec.data.simulators.scenes.acts import draw_look
from jaxrec.data.simulators.scenes.layout import DISTANCE, lay_out
from jaxrec.data.simulators.scenes.people import draw_person, dress
from jaxrec.data.simulators.scenes.relations import Relation, relations_of
from jaxrec.data.simulators.scenes.render import FAMILIES, TILE, Picture, fill, paint_backdrop
from jaxrec.data.simulators.scenes.stage import Stage
from jaxrec.data.simulators.scenes.world import PARTS, UNIT, VOCABULARY, Draws, World
from jaxrec.data.simulators.worlds import make_world
from jaxrec.data.sources.splits import TEST, TRAIN, VALIDATION

# What shows fewer pixels, at 128 of width, or less of itself is no entity: nobody would know it. Its pixels
# stay, those of a person of unknown part.
LEAST_PERSON, LEAST_THING, LEAST_SHARE = 60, 20, 0.15
_CLASS = {name: number for number, name in enumerate(VOCABULARY.entities)}
_RELATION = {name: number for number, name in enumerate(VOCABULARY.relations)}


class Staged(NamedTuple):
    """A scene, and int64 [N] `whole`, the pixels that each entity would cover if nothing occluded it."""

    scene: Scene
    whole: np.ndarray


def simulate_scene(world: World, seed: int, index: int, held_out: bool) -> Scene:
    """Renders one scene, without overlapping masks; held-out ones have unseen poses and textures."""
    return stage_scene(world, seed, index, held_out).scene


def stage_scene(world: World, seed: int, index: int, held_out: bool) -> Staged:
    """As `simulate_scene`, with the sizes of what is hidden; a ValueError refuses a negative seed or index."""
    if seed < 0 or index < 0:
        raise ValueError(f'scene {index} of seed {seed}: both count from 0')
    draws = Draws((seed, int(held_out), index), held_out)
    height = draws.uniform(78, 98)
    horizon = draws.uniform(117, 121) - height
    stage = Stage(world.size, horizon, height, DISTANCE)
    layout = lay_out(world, draws, stage)
    for number, person in enumerate(layout.people):
        stage.entity = number
        draw_person(stage, person, dress(draws, draw_look(draws), draw_look(draws)))
    for number, thing in enumerate(layout.things, len(layout.people)):
        stage.entity = number
        thing.draw(stage)
    names = ['person'] * len(layout.people) + [thing.category for thing in layout.things]
    picture = fill(
        stage.rows, len(names), _backdrop(world, draws, stage, held_out), held_out, world.noise,
        draws.index(TILE * TILE),
    )  # fmt: skip
    relations = relations_of(layout.people, layout.things)
    name = f'{"held-out" if held_out else "training"} scene {index} of seed {seed}'
    return _as_staged(world, draws, names, picture, relations, name)


def _backdrop(world: World, draws: Draws, stage: Stage, held_out: bool) -> np.ndarray:
    """Muted colours, so that people stand out."""
    base = np.array([[draws.uniform(110, 220) for _ in range(3)] for _ in range(2)], np.float32)
    grey = base.mean(1, keepdims=True)
    muted = grey + 0.45 * (base - grey)
    colours = np.repeat(muted, 2, axis=0)
    colours[1::2] *= np.float32(0.86)
    families = (1 + draws.index(FAMILIES), 1 + draws.index(FAMILIES))
    pitch = draws.uniform(0.8, 2.0) * UNIT / world.size
    line = (stage.horizon + 0.72 * (118 - stage.horizon)) * stage.zoom
    return paint_backdrop(world.size, line, colours, families, pitch, held_out)


def _as_staged(
    world: World, draws: Draws, names: list[str], picture: Picture, relations: list[Relation], name: str
) -> Staged:
    """Removes what nobody can see, and numbers the rest."""
    count = len(names)
    visible = np.bincount(picture.entity.ravel() + 1, minlength=count + 1)[1:]
    share = (world.size / UNIT) ** 2
    least = np.array([LEAST_PERSON if name == 'person' else LEAST_THING for name in names]) * share
    kept = np.flatnonzero((visible >= least) & (visible >= LEAST_SHARE * picture.whole))
    place = np.full(count + 1, -1)
    place[kept] = np.arange(len(kept))
    parts = np.where((picture.part > 0) & (place[picture.entity] < 0), np.uint8(UNKNOWN_PART), picture.part)
    stays = [r for r in relations if place[r.subject] >= 0 and place[r.object] >= 0]
    taking = np.zeros((len(stays), len(PARTS)), bool)
    for row, relation in enumerate(stays):
        taking[row, [PARTS.index(part) for part in relation.parts]] = True
    if world.null:
        for parts_of in taking:
            parts_of[:] = draws.generator.permutation(parts_of)
    triplets = [(place[r.subject], place[r.object], _RELATION[r.name]) for r in stays]
    scene = Scene(
        image=picture.image, masks=picture.entity == kept[:, None, None],
        categories=np.array([_CLASS[names[k]] for k in kept], np.int32), parts=parts,
        relations=np.array(triplets, np.int32).reshape(-1, 3), relation_parts=taking, name=name,
    )  # fmt: skip
    return Staged(scene, picture.whole[kept])


def survey(scenes: Iterable[Staged]) -> dict[str, float]:
    """Measures a set of scenes from `stage_scene`; a ValueError refuses none.

    Returns:
      `scenes`; on average a scene: `people`, `things`, `relations`; shares: `mirrored` of the scenes that hold a
      relation in both directions between two entities, `occluded` of the people of whom more than 20 % is hidden,
      `hidden_parts` of the relations with parts none of which is visible in the subject's mask, `several` of the scenes
      where one pair of entities has two relations in one direction.
    """
    found = [_facts(staged) for staged in scenes]
    if not found:
        raise ValueError('a survey of no scenes says nothing: give at least one')
    total = {key: float(sum(facts[key] for facts in found)) for key in found[0]}
    count = len(found)
    return {
        'scenes': float(count),
        **{key: total[key] / count for key in ('people', 'things', 'relations', 'mirrored', 'several')},
        'occluded': total['occluded'] / max(total['people'], 1.0),
        'hidden_parts': total['hidden_parts'] / max(total['with_parts'], 1.0),
    }


def _facts(staged: Staged) -> dict[str, float]:
    """The counts of one scene."""
    scene, whole = staged
    person = scene.categories == _CLASS['person']
    seen = scene.masks.sum((1, 2))
    triplets = {tuple(row) for row in scene.relations.tolist()}
    pairs = scene.relations[:, :2].tolist()
    hidden = with_parts = 0
    for (subject, _, _), taking in zip(scene.relations.tolist(), scene.relation_parts, strict=True):
        wanted = np.flatnonzero(taking) + 1
        with_parts += len(wanted) > 0
        hidden += len(wanted) > 0 and not np.isin(scene.parts[scene.masks[subject]], wanted).any()
    return {
        'people': int(person.sum()), 'things': int((~person).sum()), 'relations': len(scene.relations),
        'mirrored': any((b, a, r) in triplets for a, b, r in triplets),
        'several': len({tuple(pair) for pair in pairs}) < len(pairs),
        'occluded': int((seen[person] < 0.8 * whole[person]).sum()), 'hidden_parts': hidden, 'with_parts': with_parts,
    }  # fmt: skip


@configurable('reader')
class SimulatedScenes:
    """Scenes as a scene log reads them: rendered on demand, never stored.

    Validation scenes are of the training kind; those of the test are held out: unseen poses and textures. `splits` int8
    [scenes] has the part of each; `dropped` is empty.
    """

    def __init__(self, world: Mapping[str, Any], seed: int, train: int, validation: int, test: int):
        """Takes knobs of `World`, the seed of all scenes, and the number of scenes of each part.

        Raises:
          ValueError: for an unknown knob, a value out of its range, or a negative number of scenes.
        """
        self.world = make_world(World, world)
        for name, count in (('train', train), ('validation', validation), ('test', test), ('seed', seed)):
            if count < 0:
                raise ValueError(f'{name} = {count}: give 0 or more')
        self.vocabulary: Vocabulary = VOCABULARY
        self._seed, self._seen = seed, train + validation
        self.dropped: dict[str, int] = {}
        self.splits = np.repeat(np.array([TRAIN, VALIDATION, TEST], np.int8), (train, validation, test))

    def __len__(self) -> int:
        return len(self.splits)

    def usable(self) -> list[int]:
        """Numbers of all scenes."""
        return list(range(len(self)))

    def scene(self, index: int) -> Scene:
        """Returns a scene by its number; test scenes count from 0 among the held-out ones."""
        held_out = index >= self._seen
        return simulate_scene(self.world, self._seed, index - self._seen * held_out, held_out)

    def sources(self) -> list[Path]:
        """No files."""
        return []


@configurable('log')
def simulate(
    folder: str | Path, seed: int = 0, train: int = 4000, validation: int = 200, test: int = 200, **knobs: Any
) -> SceneLog:
    """Writes the log of simulated scenes, `config.data.log` for them, without rendering them.

    Args:
      folder: of the log.
      seed: of all scenes.
      train, validation, test: numbers of scenes.
      **knobs: fields of `World`.

    Raises:
      ValueError: as `SimulatedScenes`, or no scenes at all.
    """
    world = dataclasses.asdict(make_world(World, knobs))
    arguments = {'world': world, 'seed': seed, 'train': train, 'validation': validation, 'test': test}
    return compile_scenes(folder, 'jaxrec.data.simulators.scenes:SimulatedScenes', arguments, provenance='simulated')
