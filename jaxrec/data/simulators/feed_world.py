"""The knobs of a feed, its latent truth, and the click rate of any user for any item at any time.

U users, V items, P user groups, Q item groups, K traits.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxrec.data.logs.columns import Ragged, offsets_of
from jaxrec.data.simulators.worlds import check_knobs, read_truth

DAY = 86_400
START = 1_700_000_000  # seconds since 1970, of the first visit
VACANT = 0.05  # share of its time that a place of the feed is vacant, between two items


@dataclasses.dataclass(frozen=True)
class World:
    """The knobs of a feed."""

    visits: int = 1_080_000  # of the log, evenly over its days
    days: float = 15.0  # that the log lasts
    users: int = 20_000  # U
    live: int = 38  # candidates at a time, on average; with `lifetime=0` always that many
    lifetime: float = 5.0  # days that an item lives, on average, until another replaces it; with 0 the first items stay
    user_groups: int = 12  # P, hidden
    item_groups: int = 10  # Q, hidden
    traits: int = 136  # K, what may be known of users
    active: int = 10  # traits that a user has, at most
    trait_signal: float = 0.7  # share of a user's traits that are drawn from those of its group
    categories: int = 20  # of items; each group of items has some of them
    category_signal: float = 0.8  # share of items whose category is one of their group's
    sources: int = 15  # of items; each has a quality of its own
    source_share: float = 0.25  # share of the variance of quality that is the source's
    quality_effect: float = 0.6  # standard deviation of an item's quality in logits, of which the source reveals a part
    pair_effect: float = 0.5  # standard deviation over (user group, item group) in logits
    own_effect: float = 0.3  # standard deviation over (user group, item) in logits, which no known column reveals
    activity_effect: float = 0.3  # standard deviation over users in logits
    fade: float = 0.5  # logits that an item has lost at the end of its life
    bias: float = -3.3  # logit of an average user and item
    history: int = 10  # clicks that a visit's history holds, at most
    seed: int = 0  # of everything

    def __post_init__(self) -> None:
        check_knobs(self, shares=('trait_signal', 'category_signal', 'source_share'))
        if self.days <= 0:
            raise ValueError(f'world.days = {self.days}; it must be above 0')
        if self.lifetime < 0:
            raise ValueError(f'world.lifetime = {self.lifetime}; 0 lets items stay, else it is above 0')
        for name, group in (('traits', 'user_groups'), ('categories', 'item_groups')):
            if getattr(self, name) < getattr(self, group):
                raise ValueError(
                    f'world.{name} = {getattr(self, name)} leaves some of {getattr(self, group)} {group} none; raise it'
                )
        if self.active > self.traits:
            raise ValueError(f'world.active = {self.active}; at most {self.traits} traits exist')

    @property
    def end(self) -> float:
        """Seconds since 1970, after the last visit."""
        return START + self.days * DAY


class Truth(NamedTuple):
    """The ground truth of a world, which no log holds."""

    born: np.ndarray  # float64 [V], seconds since 1970; -inf and inf of items that stay
    died: np.ndarray  # likewise
    item_group: np.ndarray  # int64 [V]
    category: np.ndarray  # int64 [V]
    source: np.ndarray  # int64 [V]
    quality: np.ndarray  # float64 [V], logits, the source's part included
    own: np.ndarray  # float64 [V, P], logits
    user_group: np.ndarray  # int64 [U]
    activity: np.ndarray  # float64 [U], logits
    traits: Ragged  # `Ragged` of U rows
    pairs: np.ndarray  # float64 [P, Q], logits


PARTS = {
    'items': ('born', 'died', 'item_group', 'category', 'source', 'quality', 'own'),
    'users': ('user_group', 'activity', 'traits'),
    'groups': ('pairs',),
}


def make_truth(world: World) -> Truth:
    """Draws items with their times, users, and the table of their groups."""
    rng = np.random.default_rng((world.seed, 1))
    born, died = _lives(world, rng)
    items = len(born)
    item_group = rng.integers(0, world.item_groups, items)
    source = rng.integers(0, world.sources, items)
    of_source = np.sqrt(world.source_share) * rng.normal(size=world.sources)
    of_item = np.sqrt(1 - world.source_share) * rng.normal(size=items)
    user_group = rng.integers(0, world.user_groups, world.users)
    pairs = rng.normal(size=(world.user_groups, world.item_groups))
    return Truth(
        born=born,
        died=died,
        item_group=item_group,
        category=_of_group(item_group, world.item_groups, world.categories, world.category_signal, rng),
        source=source,
        quality=world.quality_effect * (of_source[source] + of_item),
        own=world.own_effect * rng.normal(size=(items, world.user_groups)),
        user_group=user_group,
        activity=world.activity_effect * rng.normal(size=world.users),
        traits=_traits(world, user_group, rng),
        pairs=world.pair_effect * pairs,
    )


def _lives(world: World, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """When items come and go, in order of their coming.

    A place of the feed holds one item after the other, with a short gap between; the first is met in the middle of its
    life.
    """
    if world.lifetime == 0:
        return np.full(world.live, -np.inf), np.full(world.live, np.inf)
    mean, spans = world.lifetime * DAY, []
    for _ in range(round(world.live / (1 - VACANT))):
        life = rng.gamma(2.0, mean / 2)
        time = START - rng.uniform() * life
        while time < world.end:
            spans.append((time, time + life))
            time += life + rng.exponential(mean * VACANT / (1 - VACANT))
            life = rng.gamma(2.0, mean / 2)
    born, died = np.asarray(sorted(spans)).T
    return born, died


def _of_group(group: np.ndarray, groups: int, values: int, signal: float, rng: np.random.Generator) -> np.ndarray:
    """A value of each member: with probability `signal` one of its group's own, else any."""
    own = rng.integers(0, (values - group - 1) // groups + 1) * groups + group
    return np.where(rng.random(len(group)) < signal, own, rng.integers(0, values, len(group)))


def _traits(world: World, group: np.ndarray, rng: np.random.Generator) -> Ragged:
    repeated = np.repeat(group, world.active)
    drawn = _of_group(repeated, world.user_groups, world.traits, world.trait_signal, rng)
    rows = np.sort(drawn.reshape(world.users, world.active), 1)
    first = np.concatenate([np.ones((world.users, 1), bool), rows[:, 1:] != rows[:, :-1]], 1)
    return Ragged(rows[first].astype(np.int16), offsets_of(first.sum(1)))


def true_rate(world: World, truth: Truth, user: np.ndarray, item: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Computes the probability that users click items at a time, float64 of the broadcast shape.

    `user` and `item` are raw numbers, `time` is in seconds since 1970; their shapes broadcast.
    """
    group = truth.user_group[user]
    logit = world.bias + truth.quality[item] + truth.activity[user]
    logit = logit + truth.pairs[group, truth.item_group[item]] + truth.own[item, group]
    if world.lifetime:
        born = truth.born[item]
        logit = logit - world.fade * np.clip((time - born) / (truth.died[item] - born), 0, 1)
    return 1 / (1 + np.exp(-logit))


def load_truth(folder: str | Path) -> Truth:
    """Reads the ground truth of the compiled feed in `folder`; a ValueError if it has none."""
    return read_truth(folder, Truth, PARTS)
