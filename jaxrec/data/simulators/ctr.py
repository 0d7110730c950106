"""A seeded simulator of users, items and clicks whose true click probabilities are known.

Users have interests of three ranges: lifelong (fixed), long (renewed every few sessions) and short (one category a
session). Items have a category, a content vector near their category's, a quality, and a hidden group. A click also
depends on pairs: every recently clicked item lends or takes odds by a random table over (its group, the candidate's
group), centred in rows and columns, so that no sum of effects of the two sides expresses it. The log does not hold
groups.

U users, T impressions a user, V items, K categories, G hidden groups, D content width.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.logs.behaviour_log import BehaviourLog, ColumnSpec, compile_log
from jaxrec.data.simulators.worlds import check_knobs, compile_once, make_world, read_truth, truth_columns

DAY = 86_400
PARTS = {'items': ('category', 'group', 'content', 'quality'), 'users': ('taste', 'lifelong'), 'pairs': ('pairs',)}


@dataclasses.dataclass(frozen=True)
class World:
    """The knobs of a world."""

    users: int = 20_000  # U
    items: int = 4_000  # V
    impressions: int = 50  # T, of each user; clicks are history, of about T times the click rate
    categories: int = 40  # K
    groups: int = 16  # G, hidden groups of items
    content_dim: int = 16  # D
    pair_window: int = 20  # clicks that the pair effect looks back on
    pair_effect: float = 1.5  # standard deviation of the pair effect in logits; 0 switches it off
    interest_effect: float = 0.6  # logits for a candidate in each matching range of interest
    content_effect: float = 0.4  # standard deviation of the taste for content in logits
    quality_effect: float = 0.4  # standard deviation of item quality in logits
    bias: float = -1.2  # logit of an average candidate outside all interests
    exploration: float = 0.5  # share of impressions drawn from all items by popularity; the rest are from interests
    popularity: float = 0.5  # exponent of item popularity, 0 is uniform
    session: int = 5  # impressions a session, over which the short interest lasts
    long_sessions: int = 4  # sessions over which a long interest lasts
    seed: int = 0  # of everything

    def __post_init__(self) -> None:
        check_knobs(self, shares=('exploration',))
        if self.items < self.categories:
            raise ValueError(f'world.items = {self.items} leaves some of {self.categories} categories empty; raise it')


@dataclasses.dataclass(frozen=True)
class Truth:
    """The ground truth of a world, which no log holds."""

    category: np.ndarray  # int [V]
    group: np.ndarray  # int [V]
    content: np.ndarray  # float [V, D], unit vectors
    quality: np.ndarray  # float [V], logits
    pairs: np.ndarray  # float [G, G], odds that a clicked item of group g lends to a candidate of group h, centred
    taste: np.ndarray  # float [U, D]
    lifelong: np.ndarray  # int [U, 2], categories of lifelong interest


def make_truth(world: World) -> Truth:
    """Draws items, users and the pair table."""
    rng = np.random.default_rng((world.seed, 1))
    more = rng.integers(0, world.categories, world.items - world.categories)
    category = np.concatenate([np.arange(world.categories), more])
    centre = rng.normal(size=(world.categories, world.content_dim))
    content = centre[category] + rng.normal(size=(world.items, world.content_dim))
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    pairs = rng.choice([-1.0, 1.0], size=(world.groups, world.groups))
    pairs -= pairs.mean(0, keepdims=True)
    pairs -= pairs.mean(1, keepdims=True)
    pairs /= max(pairs.std(), 1e-9)
    return Truth(
        category=category, group=rng.integers(0, world.groups, world.items), content=content,
        quality=world.quality_effect * rng.normal(size=world.items), pairs=pairs,
        taste=rng.normal(size=(world.users, world.content_dim)),
        lifelong=rng.integers(0, world.categories, (world.users, 2)),
    )  # fmt: skip


def load_truth(folder: str | Path) -> Truth:
    """Reads the ground truth of the simulated log in `folder`, by raw numbers; a ValueError if it has none."""
    return read_truth(folder, Truth, PARTS)


class Catalogue:
    """Draws items by popularity, from all or from one category, by inverting a cumulative sum."""

    def __init__(self, category: np.ndarray, categories: int, popularity: float, rng: np.random.Generator):
        """Gives each item, int [V] categories of K, a popularity.

        Ranks are drawn by `rng`; `popularity` is their exponent, 0 is uniform.
        """
        weight = (1.0 + rng.permutation(len(category))) ** -popularity
        self.order = np.argsort(category, kind='stable')
        self.total = np.concatenate([[0.0], np.cumsum(weight[self.order])])
        edge = np.searchsorted(category[self.order], np.arange(categories + 1))
        self.low, self.high = self.total[edge[:-1]], self.total[edge[1:]]

    def draw(self, category: np.ndarray, anywhere: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Draws one item each, int [...].

        Args:
          category: int [...], of the item.
          anywhere: bool [...], where any category will do.
          u: float [...], uniform in [0, 1).
        """
        low = np.where(anywhere, 0.0, self.low[category])
        high = np.where(anywhere, self.total[-1], self.high[category])
        place = np.searchsorted(self.total, low + u * (high - low), side='right') - 1
        return self.order[np.minimum(place, len(self.order) - 1)]


class _Clicks:
    """The last W clicks of every user as counts of their groups, kept in a ring."""

    def __init__(self, users: int, groups: int, window: int):
        self.counts = np.zeros((users, groups), np.float32)
        self.ring = np.full((users, window), -1, np.int32)
        self.clicked = np.zeros(users, np.int64)

    def pair_sum(self, pairs: np.ndarray, group: np.ndarray) -> np.ndarray:
        """Sum of pairs[group, candidate's group] over the window's clicks, over the root of their number."""
        size = np.minimum(self.clicked, self.ring.shape[1])
        return np.einsum('ug,ug->u', self.counts, pairs.T[group]) / np.sqrt(np.maximum(size, 1))

    def add(self, who: np.ndarray, group: np.ndarray) -> None:
        slot = self.clicked[who] % self.ring.shape[1]
        old = self.ring[who, slot]
        full = old >= 0
        self.counts[who[full], old[full]] -= 1
        self.counts[who, group] += 1
        self.ring[who, slot] = group
        self.clicked[who] += 1


def generate(world: World, truth: Truth) -> dict[str, np.ndarray]:
    """Draws all users side by side, one impression after the other, with the ground truth of `make_truth`.

    Returns:
      Event columns of length U * T: user, item, time (int64 seconds), click (int8), true_ctr (float32), by impression.
    """
    rng = np.random.default_rng((world.seed, 2))
    users, steps = world.users, world.impressions
    catalogue = Catalogue(truth.category, world.categories, world.popularity, rng)
    clicks = _Clicks(users, world.groups, world.pair_window)
    item, click = np.empty((steps, users), np.int32), np.empty((steps, users), np.int8)
    ctr, time = np.empty((steps, users), np.float32), np.empty((steps, users), np.int64)
    now = 1_600_000_000 + rng.integers(0, 30 * DAY, users)
    short = long = truth.lifelong[:, 0]
    for t in range(steps):
        if t % world.session == 0:
            short = rng.integers(0, world.categories, users)
            now = now + rng.integers(DAY // 4, 3 * DAY, users)
        if t % (world.session * world.long_sessions) == 0:
            long = rng.integers(0, world.categories, users)
        ranges = np.stack([truth.lifelong[:, 0], truth.lifelong[:, 1], long, short])  # [4, U]
        wanted = ranges[rng.integers(0, len(ranges), users), np.arange(users)]
        item[t] = catalogue.draw(wanted, rng.random(users) < world.exploration, rng.random(users))
        pairs = clicks.pair_sum(truth.pairs, truth.group[item[t]])
        logit = _logits(world, truth, ranges, item[t]) + world.pair_effect * pairs
        ctr[t] = 1 / (1 + np.exp(-logit))
        click[t] = rng.random(users) < ctr[t]
        who = np.flatnonzero(click[t])
        clicks.add(who, truth.group[item[t, who]])
        now = now + rng.integers(1, 120, users)
        time[t] = now
    user = np.broadcast_to(np.arange(users, dtype=np.int32), (steps, users))
    columns = {'user': user, 'item': item, 'time': time, 'click': click, 'true_ctr': ctr}
    return {name: np.ascontiguousarray(column).reshape(-1) for name, column in columns.items()}


def _logits(world: World, truth: Truth, ranges: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Everything but the pair effect: bias, quality, interests of each range, taste for content; [U]."""
    matches = (ranges == truth.category[item]).sum(0)
    taste = np.einsum('ud,ud->u', truth.taste, truth.content[item])
    return world.bias + truth.quality[item] + world.interest_effect * matches + world.content_effect * taste


@configurable('log')
def simulate(folder: str | Path, **knobs: Any) -> BehaviourLog:
    """Simulates a world and compiles its log; a log of the same world is opened, not simulated again.

    Args:
      folder: of the log; `<folder>-truth` takes the ground truth by raw item and user number, and the knobs as
        `world.json`.
      **knobs: fields of `World`.

    Returns:
      The log: events with click and, for evaluation only, true_ctr; items with their category.

    Raises:
      ValueError: a knob that does not exist or a value out of its range.
    """
    world = make_world(World, knobs)
    return compile_once(folder, world, lambda: _compile(folder, world), BehaviourLog)


def _compile(folder: str | Path, world: World) -> tuple[BehaviourLog, dict[str, dict[str, np.ndarray]]]:
    truth = make_truth(world)
    items = {'item': np.arange(world.items, dtype=np.int32), 'category': truth.category.astype(np.int32)}
    log = compile_log(
        folder, generate(world, truth), items=items, columns={'category': ColumnSpec('categorical')}, seed=world.seed,
        provenance='simulated',
    )  # fmt: skip
    return log, truth_columns(truth, PARTS)
