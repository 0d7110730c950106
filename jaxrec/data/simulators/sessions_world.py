"""The knobs of a world of sessions, and its latent truth.

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
    """The knobs of a world.

    Attributes:
      users: U.
      items: V.
      requests: of each user.
      days: over which they spread.
      least, most: items that a session shows.
      categories: K, which the log tells.
      user_groups: P, hidden.
      item_groups: G, hidden.
      interests: I, categories that a user is interested in.
      content_dim: D.
      content_noise: standard deviation of what content vectors tell beside category and group.
      shortest, longest: seconds that an item lasts.
      view_share: share of its length that makes a watched item an effective view.
      interest_effect: logits of a view in the strongest interest; the others are weaker.
      taste_effect: standard deviation over (user group, item group) in logits.
      quality_effect: standard deviation over items in logits.
      length_effect: logits that the longest item has lost against the shortest.
      bias: logit of a view of an average item outside all interests, at the beginning of a session.
      coupling: factor of all that items of one session do to each other; 0 switches it off.
      repeat_effect: logits lost for each earlier item of the same category.
      again_effect: logits lost for each earlier showing of the same item.
      lift_effect: logits that an item lends to the next one, if their groups complement each other.
      related: share of pairs of item groups that complement each other; as many spoil each other.
      memory: how much of a lift is left one item later.
      fatigue: logits lost for each earlier item.
      like_bias, like_effect: logit of a like of an average view, and how much of the view's logit counts.
      charm_effect: standard deviation over items of what likes hang on besides, in logits.
      follow_bias, follow_effect, appeal_effect: the same of follows.
      exploration: share of shown items that the logger draws from all; the others are of the user's
        interests.
      popularity: exponent of the logger's choice within what it draws from; 0 is uniform.
      seed: of everything.
    """

    users: int = 5_000
    items: int = 2_000
    requests: int = 20
    days: float = 14.0
    least: int = 5
    most: int = 10
    categories: int = 40
    user_groups: int = 12
    item_groups: int = 16
    interests: int = 4
    content_dim: int = 32
    content_noise: float = 0.5
    shortest: int = 10
    longest: int = 60
    view_share: float = 0.5
    interest_effect: float = 1.8
    taste_effect: float = 0.5
    quality_effect: float = 0.5
    length_effect: float = 1.0
    bias: float = 0.3
    coupling: float = 1.0
    repeat_effect: float = 0.7
    again_effect: float = 4.0
    lift_effect: float = 0.8
    related: float = 0.15
    memory: float = 0.5
    fatigue: float = 0.1
    like_bias: float = -3.0
    like_effect: float = 0.6
    charm_effect: float = 0.7
    follow_bias: float = -4.6
    follow_effect: float = 0.5
    appeal_effect: float = 0.9
    exploration: float = 0.5
    popularity: float = 0.5
    seed: int = 0

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
    """What the world knows and no log tells.

    Attributes:
      category: int32 [V].
      group: int32 [V].
      length: int32 [V], seconds.
      quality, charm, appeal: float32 [V], logits of views, likes and follows.
      content: float32 [V, D].
      user_group: int32 [U].
      interest: int32 [U, I], categories.
      strength: float32 [U, I], logits, falling.
      taste: float32 [P, G], logits.
      lifts: float32 [G, G], symmetric; logits that an item of one group lends to the next of another.
    """

    category: np.ndarray
    group: np.ndarray
    length: np.ndarray
    quality: np.ndarray
    charm: np.ndarray
    appeal: np.ndarray
    content: np.ndarray
    user_group: np.ndarray
    interest: np.ndarray
    strength: np.ndarray
    taste: np.ndarray
    lifts: np.ndarray


PARTS = {
    'items': ('category', 'group', 'length', 'quality', 'charm', 'appeal', 'content'),
    'users': ('user_group', 'interest', 'strength'),
    'taste': ('taste',),
    'lifts': ('lifts',),
}


def make_truth(world: World) -> Truth:
    """Draws items, users and the tables of their groups.

    Args:
      world: the knobs.

    Returns:
      The truth.
    """
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
    """Reads the truth of a simulated log, items and users by their raw numbers.

    Args:
      folder: of the log; the truth lies beside it.

    Raises:
      ValueError: when it does not.
    """
    return read_truth(folder, Truth, PARTS)
