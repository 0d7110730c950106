"""Histories of a lifelong world: the behaviours of every user before its impressions.

U users, H history, I interests a user, R returns, E behaviours an episode, K categories, G hidden groups.
"""

from typing import NamedTuple

import numpy as np

from jaxrec.data.simulators.lifelong_truth import DUE, PAST, Truth
from jaxrec.data.simulators.lifelong_world import JITTER, OLDEST, YOUNGEST, World


class Shelves:
    """Items of each group in its two categories, `cells` int [G, 2, items], and `staples` int [K, items]."""

    def __init__(self, world: World, truth: Truth):
        order = np.lexsort((truth.category, truth.group))  # staples, whose group is -1, first
        staples = world.categories * world.staples
        self.staples = order[:staples].reshape(world.categories, world.staples)
        self.cells = order[staples:].reshape(world.groups, 2, world.cell_items)

    def of_groups(self, group: np.ndarray, side: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws an item for each group and side, of the shape of `group`."""
        return self.cells[group, side, rng.integers(0, self.cells.shape[2], group.shape)]

    def of_staples(self, category: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws a staple for each category."""
        return self.staples[category, rng.integers(0, self.staples.shape[1], category.shape)]


class Histories(NamedTuple):
    """Histories before the impressions."""

    item: np.ndarray  # int32 [U, H], oldest first
    age: np.ndarray  # int32 [U, H], seconds before the first impression could be
    interests: np.ndarray  # int [U, I], groups


def make_histories(world: World, truth: Truth) -> Histories:
    """Draws the behaviours before the impressions, with the ground truth of `make_truth`."""
    rng, shelves = np.random.default_rng((world.seed, 2)), Shelves(world, truth)
    habits = rng.integers(0, world.categories, (world.users, world.habits))
    themes = np.argsort(rng.random((world.users, world.themes)), 1)[:, : world.interests]
    interests = themes * world.theme_groups + rng.integers(0, world.theme_groups, themes.shape)
    episodes = _episodes(world, truth, shelves, interests, habits, rng)
    parts = [episodes, _strays(world, shelves, rng), _staples(world, shelves, habits, rng)]
    item, age = (np.concatenate(columns, 1) for columns in zip(*parts, strict=True))
    # One sort of whole numbers, oldest first, instead of an argsort and two gathers.
    packed = age * len(truth.group) + item
    packed.sort(1)
    age, item = np.divmod(packed[:, ::-1], len(truth.group))
    return Histories(item.astype(np.int32), age.astype(np.int32), interests)


def _episodes(
    world: World, truth: Truth, shelves: Shelves, interests: np.ndarray, habits: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """int64 [U, I R E]: items and ages of the interests; staples replace episodes beyond the span."""
    shape = (*interests.shape, world.returns, world.episode)
    edges = np.asarray([YOUNGEST, DUE, PAST, OLDEST])
    season = rng.integers(0, 3, interests.shape)
    latest = edges[season] + rng.random(interests.shape) * np.diff(edges)[season]  # in periods, [U, I]
    periods = latest[:, :, None, None] + np.arange(world.returns)[:, None]  # [U, I, R, 1]
    jitter = rng.uniform(1 - JITTER, 1 + JITTER, shape)
    age = periods * jitter * truth.period[interests][:, :, None, None]
    side = np.broadcast_to(rng.integers(0, 2, (*shape[:3], 1)), shape)
    item = shelves.of_groups(np.broadcast_to(interests[:, :, None, None], shape), side, rng)
    beyond = age > world.span
    who = np.nonzero(beyond)[0]
    age[beyond] = rng.uniform(world.near_age, world.span, len(who))
    item[beyond] = shelves.of_staples(habits[who, rng.integers(0, world.habits, len(who))], rng)
    return item.reshape(world.users, -1), age.reshape(world.users, -1).astype(np.int64)


def _strays(world: World, shelves: Shelves, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    shape = (world.users, round(world.strays * world.history))
    item = shelves.of_groups(rng.integers(0, world.groups, shape), rng.integers(0, 2, shape), rng)
    return item, _ages(rng, world.near_age, world.span, shape)


def _staples(
    world: World, shelves: Shelves, habits: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The near behaviours and the other staples, youngest first, in sessions of one category."""
    near = _ages(rng, 0, world.near_age, (world.users, world.near))
    old = _ages(rng, world.near_age, world.span, (world.users, world.old_staples))
    age = np.concatenate([near, old], 1)
    age.sort(1)
    sessions = -(-age.shape[1] // world.session)
    category = np.take_along_axis(habits, rng.integers(0, world.habits, (world.users, sessions)), 1)
    return shelves.of_staples(np.repeat(category, world.session, 1)[:, : age.shape[1]], rng), age


def _ages(rng: np.random.Generator, low: float, high: float, shape: tuple[int, int]) -> np.ndarray:
    return rng.integers(int(low) + 1, int(high) + 1, shape)
