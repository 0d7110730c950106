"""The knobs of a world of sessions, and its ground truth.

U users, V items, K categories, P user groups, G item groups, I interests a user, D content width.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxrec.data.simulators.worlds import check_knobs, read_truth

DAY = 86_400
START = 1_700_000_000  # seconds since 1970, of the first day


@dataclasses.dataclass(frozen=True)
class World:
    """The knobs of a world."""

    users: int = 5_000  # U
    items: int = 2_000  # V
    requests: int = 20  # of each user
    days: float = 14.0  # over which they spread
    least: int = 5  # items that a session shows, at least
    most: int = 10  # and at most
    categories: int = 40  # K, which the log holds
    user_groups: int = 12  # P, hidden
    item_groups: int = 16  # G, hidden
    interests: int = 4  # I, categories that a user is interested in
    content_dim: int = 32  # D
    content_noise: float = 0.5  # standard deviation of content vectors around category and group
    shortest: int = 10  # seconds of an item, at least
    longest: int = 60  # and at most
    view_share: float = 0.5  # share of its length that makes a watched item an effective view
    interest_effect: float = 1.8  # logits of a view in the strongest interest; the others are weaker
    taste_effect: float = 0.5  # standard deviation over (user group, item group) in logits
    quality_effect: float = 0.5  # standard deviation over items in logits
    length_effect: float = 1.0  # logits that the longest item has lost against the shortest
    bias: float = 0.3  # logit of a view of an average first item outside all interests
    coupling: float = 1.0  # factor of all that items of one session do to each other; 0 switches it off
    repeat_effect: float = 0.7  # logits lost for each earlier item of the same category
    again_effect: float = 4.0  # logits lost for each earlier showing of the same item
    lift_effect: float = 0.8  # logits that an item lends to the next one, if their groups complement each other
    related: float = 0.15  # share of pairs of item groups that complement each other; as many spoil each other
    memory: float = 0.5  # how much of a lift is left one item later
    fatigue: float = 0.1  # logits lost for each earlier item
    like_bias: float = -3.0  # logit of a like of an average view
    like_effect: float = 0.6  # how much of the view's logit counts for a like
    charm_effect: float = 0.7  # standard deviation over items of a like's own logit
    follow_bias: float = -4.6  # of follows, as the next two
    follow_effect: float = 0.5
    appeal_effect: float = 0.9
    exploration: float = 0.5  # share of shown items that the logger draws from all; others are of the interests
    popularity: float = 0.5  # exponent of the logger's choice within what it draws from; 0 is uniform
    seed: int = 0  # of everything

    def __post_init__(self) -> None:
        check_knobs(self, shares=('related', 'memory', 'exploration', 'view_share'))
        for low, high in (
            ('least', 'most'), ('shortest', 'longest'), ('interests', 'categories'), ('categories', 'items'),
            ('most', 'items'),
        ):  # fmt: skip
            if getattr(self, low) > getattr(self, high):
                raise ValueError(
                    f'world.{low} = {getattr(self, low)} is more than world.{high} = {getattr(self, high)}: '
                    'lower the one or raise the other'
                )
        if self.related > 0.5:
            raise ValueError(f'world.related = {self.related}: as many pairs spoil each other, so at most 0.5')
        for name in ('days', 'view_share'):
            if getattr(self, name) <= 0:
                raise ValueError(f'world.{name} = {getattr(self, name)}; it must be above 0')


class Truth(NamedTuple):
    """The ground truth of a world, which no log holds."""

    category: np.ndarray  # int32 [V]
    group: np.ndarray  # int32 [V]
    length: np.ndarray  # int32 [V], seconds
    quality: np.ndarray  # float32 [V], logits of views
    charm: np.ndarray  # float32 [V], logits of likes
    appeal: np.ndarray  # float32 [V], logits of follows
    content: np.ndarray  # float32 [V, D]
    user_group: np.ndarray  # int32 [U]
    interest: np.ndarray  # int32 [U, I], categories
    strength: np.ndarray  # float32 [U, I], logits, falling
    taste: np.ndarray  # float32 [P, G], logits
    lifts: np.ndarray  # float32 [G, G], symmetric; logits that an item of one group lends to the next of another


PARTS = {
    'items': ('category', 'group', 'length', 'quality', 'charm', 'appeal', 'content'),
    'users': ('user_group', 'interest', 'strength'),
    'taste': ('taste',),
    'lifts': ('lifts',),
}


def make_truth(world: World) -> Truth:
    """Draws items, users and the tables of their groups."""
    rng = np.random.default_rng((world.seed, 1))
    normal = lambda scale, *shape: (scale * rng.normal(size=shape)).astype(np.float32)
    items, categories, groups = world.items, world.categories, world.item_groups
    category = rng.permutation(np.arange(items) % categories)
    group = rng.integers(0, groups, items)
    content = normal(1, categories, world.content_dim)[category] + normal(1, groups, world.content_dim)[group]
    content += normal(world.content_noise, items, world.content_dim)
    scale = np.linspace(1, 0.5, world.interests) * world.interest_effect
    return Truth(
        category=category.astype(np.int32),
        group=group.astype(np.int32),
        length=rng.integers(world.shortest, world.longest + 1, items).astype(np.int32),
        quality=normal(world.quality_effect, items),
        charm=normal(world.charm_effect, items),
        appeal=normal(world.appeal_effect, items),
        content=content,
        user_group=rng.integers(0, world.user_groups, world.users).astype(np.int32),
        interest=rng.random((world.users, categories)).argsort(1)[:, : world.interests].astype(np.int32),
        strength=np.tile(scale, (world.users, 1)).astype(np.float32),
        taste=normal(world.taste_effect, world.user_groups, groups),
        lifts=_lifts(world, rng),
    )


def _lifts(world: World, rng: np.random.Generator) -> np.ndarray:
    """A seeded random table: some pairs of groups lift, as many spoil each other, to different degrees."""
    shape = (world.item_groups, world.item_groups)
    place, degree = rng.random(shape), rng.uniform(0.5, 1.5, shape)
    table = degree * ((place < world.related).astype(float) - (place >= 1 - world.related))
    upper = np.triu(table)
    return (world.lift_effect * (upper + np.triu(upper, 1).T)).astype(np.float32)


def load_truth(folder: str | Path) -> Truth:
    """Reads the ground truth of the simulated log in `folder`, by raw numbers; a ValueError if it has none."""
    return read_truth(folder, Truth, PARTS)
