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
    """The knobs of a world."""

    users: int = 3_000  # U
    history: int = 2_000  # H, behaviours of each user before its impressions
    impressions: int = 60  # T, impressions of each user
    page: int = 1  # impressions that a user sees at the same time; the last page may hold fewer
    categories: int = 40  # K
    themes: int = 40  # Q, each in two categories
    theme_groups: int = 3  # J; a behaviour of each lends odds to one group of its theme and takes them from another
    cell_items: int = 4  # items of each group in each of its two categories
    staples: int = 16  # items of each category without a group
    interests: int = 8  # I, themes in which a user has an interest in one group
    returns: int = 2  # R, episodes of an interest, one a period as far as the history reaches back
    episode: int = 12  # E, behaviours an episode
    strays: float = 0.05  # share of the history that is of any group
    habits: int = 12  # categories from which a user takes its staples
    session: int = 10  # staples in a row from one category
    near: int = 500  # last behaviours of the history, all staples
    recent: int = 10  # behaviours that make up the recent interest
    shortest_period: float = 48.0  # days, of a theme
    periods: int = 3  # how many periods there are, each twice as long as the one before
    days: float = 8.0  # over which the impressions spread
    related: float = 0.75  # share of impressions from the themes of the user's interests
    lately: float = 0.15  # share of impressions of staples from the recent categories; the rest are of any item
    long_effect: float = 1.25  # logits that an average episode lends at full strength; 0 for recent interests only
    gap_effect: float = 1.0  # how far the effect of a behaviour depends on its age, 0 is not at all
    short_effect: float = 1.0  # logits for a candidate of a recent category
    quality_effect: float = 0.4  # standard deviation of item quality in logits
    bias: float = -0.6  # logit of an average candidate outside all interests
    seed: int = 0  # of everything

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
        """Behaviours of interests and strays in a history."""
        return self.interests * self.returns * self.episode + round(self.strays * self.history)

    @property
    def old_staples(self) -> int:
        """Staples before the near behaviours."""
        return self.history - self.near - self.grouped

    @property
    def near_age(self) -> float:
        """Seconds: the near behaviours are younger, all interests and strays are older."""
        return (YOUNGEST - JITTER) * self.shortest_period * DAY

    @property
    def span(self) -> float:
        """Seconds that histories reach back."""
        return (OLDEST + 2 * JITTER) * self.shortest_period * 2 ** (self.periods - 1) * DAY


def interest_share(world: World) -> float:
    """The share of a history that matters to a candidate of an interest: its episodes and the expected strays."""
    strays = 2 * world.strays * world.history / world.groups  # of one group that lends and one that takes
    return (world.returns * world.episode + strays) / world.history
