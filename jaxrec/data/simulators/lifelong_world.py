"""The knobs of a lifelong world, and the ages that follow from them.

U users, H history, T impressions a user, K categories, Q themes, J groups a theme, G = Q J hidden groups, I interests a
  user, R returns, E behaviours an episode.
"""

import dataclasses

from jaxrec.data.simulators.worlds import check_knobs

DAY = 86_400
YOUNGEST, OLDEST = 0.45, 2.0  # ages of an interest's latest episode, in periods
JITTER = 0.03  # of the ages of behaviours within an episode


@dataclasses.dataclass(frozen=True)
class World:
    """The knobs of a world.

    Attributes:
      users: U.
      history: H, behaviours of each user before its impressions.
      impressions: T, impressions of each user.
      page: impressions that a user sees at the same time; the last page may hold fewer.
      categories: K.
      themes: Q, each in two categories.
      theme_groups: J; of each a behaviour lends odds to candidates of one group of its theme and takes them from those
        of another.
      cell_items: items of each group in each of its two categories.
      staples: items of each category without a group.
      interests: I, themes in which a user has an interest in one group.
      returns: R, episodes of an interest, one a period as far as the history reaches back.
      episode: E, behaviours an episode.
      strays: share of the history that is of any group.
      habits: categories from which a user takes its staples.
      session: staples in a row from one category.
      near: last behaviours of the history, all staples.
      recent: behaviours that make up the recent interest.
      shortest_period: days, of a theme.
      periods: how many periods there are, each twice as long as the one before.
      days: over which the impressions spread.
      related: share of impressions from the themes of the user's interests.
      lately: share of impressions of staples from the recent categories; the rest are of any item.
      long_effect: logits lent by an episode at its average season to a candidate at full strength; 0 leaves recent
        interests only.
      gap_effect: how far the effect of a behaviour depends on its age, 0 is not at all.
      short_effect: logits for a candidate of a recent category.
      quality_effect: standard deviation of item quality in logits.
      bias: logit of an average candidate outside all interests.
      seed: of everything.
    """

    users: int = 3_000
    history: int = 2_000
    impressions: int = 60
    page: int = 1
    categories: int = 40
    themes: int = 40
    theme_groups: int = 3
    cell_items: int = 4
    staples: int = 16
    interests: int = 8
    returns: int = 2
    episode: int = 12
    strays: float = 0.05
    habits: int = 12
    session: int = 10
    near: int = 500
    recent: int = 10
    shortest_period: float = 48.0
    periods: int = 3
    days: float = 8.0
    related: float = 0.75
    lately: float = 0.15
    long_effect: float = 1.25
    gap_effect: float = 1.0
    short_effect: float = 1.0
    quality_effect: float = 0.4
    bias: float = -0.6
    seed: int = 0

    def __post_init__(self) -> None:
        check_knobs(self, shares=('strays', 'related', 'lately'))
        for name, least in (('theme_groups', 2), ('categories', 2 + self.themes // self.categories)):
            if getattr(self, name) < least:
                raise ValueError(f'world.{name} = {getattr(self, name)}; at least {least} are needed here')
        for name, most in (('interests', self.themes), ('recent', self.near)):
            if getattr(self, name) > most:
                raise ValueError(f'world.{name} = {getattr(self, name)}; at most {most} are possible here')
        for name in ('shortest_period', 'days'):
            if getattr(self, name) <= 0:
                raise ValueError(f'world.{name} = {getattr(self, name)}; it must be above 0')
        if self.related + self.lately > 1:
            raise ValueError(
                f'world.related = {self.related} and world.lately = {self.lately} are shares of the same '
                'impressions: together at most 1'
            )
        if self.old_staples < 0:
            raise ValueError(
                f'world.history = {self.history} has no room for {self.near} near behaviours, '
                f'{self.grouped} of interests and strays: raise it, or lower interests, episode or near'
            )

    @property
    def groups(self) -> int:
        """G."""
        return self.themes * self.theme_groups

    @property
    def grouped(self) -> int:
        """Behaviours of a history that interests and strays take up."""
        return self.interests * self.returns * self.episode + round(self.strays * self.history)

    @property
    def old_staples(self) -> int:
        """Behaviours that are left for staples before the near ones."""
        return self.history - self.near - self.grouped

    @property
    def near_age(self) -> float:
        """Seconds: the near behaviours are younger than this, all interests and strays are older."""
        return (YOUNGEST - JITTER) * self.shortest_period * DAY

    @property
    def span(self) -> float:
        """Seconds that histories reach back."""
        return (OLDEST + 2 * JITTER) * self.shortest_period * 2 ** (self.periods - 1) * DAY


def interest_share(world: World) -> float:
    """Share of a history that matters to a candidate of an interest: its episodes and the expected strays."""
    strays = 2 * world.strays * world.history / world.groups  # of one group that lends and one that takes
    return (world.returns * world.episode + strays) / world.history
