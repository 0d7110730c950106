"""The ground truth of a lifelong world: which behaviours matter to a candidate, and how much.

Every item has a category. Some items also belong to a hidden group; the groups of one hidden theme lend odds to each
other or take them, by a seeded random table, and every theme lives in two categories. So of the behaviours that matter
to a candidate about half are outside its category, a category match also keeps behaviours that do not matter, and items
without a group (staples) matter to nobody.

How much a behaviour lends depends on its age: little or less than nothing just after it, most when about one period of
the theme has passed, and something ever after.

V items, G groups, Q themes, K categories. Items of batches are vocabulary ids, so V is the vocabulary's rows there.
"""

import dataclasses
from pathlib import Path

import numpy as np

from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.vocabulary import FIRST
from jaxrec.data.simulators.lifelong_world import DAY, World
from jaxrec.data.simulators.worlds import read_truth, truth_folder

NO_GROUP = -1  # the last row and column of `lends`, which are zeros
DUE, PAST = 2 / 3, 4 / 3  # ages in periods at which a behaviour falls due and at which it is past
SEASONS = (-0.5, 2.0, 0.6)  # what a behaviour lends before it is due, while it is and afterwards
PARTS = {'items': ('category', 'group', 'quality'), 'groups': ('lends', 'period')}
PARTS |= {'seasons': ('seasons',), 'scale': ('scale',)}


@dataclasses.dataclass(frozen=True)
class Truth:
    """The ground truth of a lifelong world."""

    category: np.ndarray  # int32 [V]
    group: np.ndarray  # int32 [V], `NO_GROUP` for staples
    quality: np.ndarray  # float32 [V], logits
    lends: np.ndarray  # float32 [G + 1, G + 1], odds that a behaviour of g lends to a candidate of h; 0 across themes
    period: np.ndarray  # float32 [G + 1], seconds
    seasons: np.ndarray  # float32 [3], factor of `lends` before a behaviour is due, while it is, and afterwards
    scale: np.ndarray  # float32 [1], logits of a behaviour that lends 1; 0 without long-range interests

    def relevant(self, candidate: np.ndarray, history: np.ndarray) -> np.ndarray:
        """Marks the behaviours that matter to a candidate, whatever their age or the size of the long-range effect.

        Args:
          candidate: item ids, such as `batch['candidate/item'][:, :, None]`.
          history: item ids that broadcast with them, such as `batch['long/item'][:, None, :]`.

        Returns:
          bool of the shape they broadcast to; False on padding and unknown items.
        """
        return self.lends[self.group[history], self.group[candidate]] != 0

    def lent(self, candidate: np.ndarray, history: np.ndarray, gap: np.ndarray) -> np.ndarray:
        """The logits, float32, that behaviours lend to a candidate; their sum is the long-range part of its logit.

        Args:
          candidate, history: as in `relevant`.
          gap: seconds from the behaviour to the candidate, of a shape that broadcasts with them.
        """
        return self.lent_by_groups(self.group[candidate], self.group[history], gap)

    def lent_by_groups(self, candidate: np.ndarray, history: np.ndarray, gap: np.ndarray) -> np.ndarray:
        """As `lent`, of groups instead of items."""
        period = self.period[candidate]
        season = (gap >= DUE * period).astype(np.int8) + (gap >= PAST * period)
        return self.scale * self.lends[history, candidate] * self.seasons[season]


def make_truth(world: World) -> Truth:
    """Draws items, by their raw numbers, themes and the table of what groups lend."""
    rng = np.random.default_rng((world.seed, 1))
    themes, groups, categories = world.themes, world.theme_groups, world.categories
    # Themes join places of a ring of categories: neighbours in the first round, then places further apart.
    ring, theme = rng.permutation(categories), np.arange(themes)
    sides = np.stack([ring[theme % categories], ring[(theme + 1 + theme // categories) % categories]], 1)
    cells = np.repeat(sides, groups, 0)  # [G, 2]
    category = np.concatenate(
        [np.repeat(cells.reshape(-1), world.cell_items), np.repeat(np.arange(categories), world.staples)]
    )
    group = np.full(len(category), NO_GROUP)
    group[: cells.size * world.cell_items] = np.repeat(np.arange(world.groups), 2 * world.cell_items)
    number = rng.permutation(len(category))
    lends = np.zeros((world.groups + 1, world.groups + 1), np.float32)
    for q in range(themes):
        partner = rng.permutation(groups)
        for sign, shift in ((1, 0), (-1, 1)):
            rows, columns = q * groups + np.arange(groups), q * groups + np.roll(partner, shift)
            lends[rows, columns] = sign * rng.uniform(0.5, 1.5, groups)
    period = world.shortest_period * DAY * 2.0 ** rng.integers(0, world.periods, themes)
    mean = np.mean(SEASONS)
    return Truth(
        category=category[number].astype(np.int32),
        group=group[number].astype(np.int32),
        quality=(world.quality_effect * rng.normal(size=len(category))).astype(np.float32),
        lends=lends,
        period=np.append(np.repeat(period, groups), 1).astype(np.float32),
        seasons=(mean + world.gap_effect * (np.asarray(SEASONS) - mean)).astype(np.float32),
        scale=np.full(1, world.long_effect / world.episode / mean, np.float32),
    )


def load_truth(folder: str | Path) -> Truth:
    """Reads the ground truth of the log in `folder`, from `lifelong.simulate`, by the ids of its vocabularies.

    Rows 0 (padding) and 1 (unknown) are staples of category 0.

    Raises:
      ValueError: the folder holds no log, or it has no ground truth of this kind.
    """
    beside = truth_folder(folder)
    if not (beside / 'groups').exists():
        raise ValueError(f'{beside} holds no truth of a lifelong world: make the log by lifelong.simulate')
    log = BehaviourLog(folder)
    raw = log.vocabulary('item').decode(np.arange(FIRST, log.schema['item'].rows))
    truth = read_truth(folder, Truth, PARTS)
    blank = {'category': 0, 'group': NO_GROUP, 'quality': 0}
    items = {name: np.asarray(getattr(truth, name))[raw] for name in blank}
    items['category'] = log.vocabulary('category').encode(items['category'])
    rows = {name: np.concatenate([np.full(FIRST, blank[name], x.dtype), x]) for name, x in items.items()}
    others = {name: np.asarray(getattr(truth, name)) for name in ('lends', 'period', 'seasons', 'scale')}
    return Truth(**rows, **others)


def beside_search(relevant: np.ndarray, length: np.ndarray, keep: int) -> dict[str, np.ndarray]:
    """Counts what choices that ignore the candidate find, to compare with a search's `relevant(...).sum(-1)`.

    Args:
      relevant: bool [..., L], left aligned, oldest first, False on padding.
      length: integer, broadcasts with [...], behaviours there are.
      keep: K, behaviours kept.

    Returns:
      'all', 'recent' (the K most recent) and 'random' (K at random, expected), relevant behaviours, float64 [...].
    """
    length = np.asarray(length)
    place = np.arange(relevant.shape[-1])
    found = relevant.sum(-1).astype(np.float64)
    recent = (relevant & (place >= length[..., None] - keep)).sum(-1).astype(np.float64)
    return {'all': found, 'recent': recent, 'random': found * np.minimum(1, keep / np.maximum(length, 1))}
