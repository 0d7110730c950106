"""A seeded simulator of long histories in which old behaviours matter: 500 to tens of thousands of events back.

A user's history is H clicks. Its last `near` ones are staples, items that matter to nobody, in sessions of one category
each. Further back it also holds interests: episodes of behaviours of one hidden group, each in either category of its
theme, that return once a period; and strays, items of any group. Then come T impressions, a page at once, each clicked
or not, and their clicks are history for later pages. The candidate's odds depend on its quality and on

- recent interest: whether any of the last `recent` behaviours is of its category,
- long-range interest: what all behaviours before it lend (`lifelong_truth`), by hidden groups and the behaviour's age,
which `long_effect=0` switches off.

Both are functions of the history, so a model can learn all but chance. About `interest_share(world)` of a history
matters to a candidate of an interest.

U users, H history, T impressions a user, M behaviours with a group.
"""

from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.logs.behaviour_log import BehaviourLog, ColumnSpec, compile_log
from jaxrec.data.logs.raw_columns import Coded
from jaxrec.data.simulators.lifelong_histories import Histories, Shelves, make_histories
from jaxrec.data.simulators.lifelong_truth import NO_GROUP, PARTS, Truth, load_truth, make_truth
from jaxrec.data.simulators.lifelong_world import DAY, World, interest_share
from jaxrec.data.simulators.worlds import compile_once, make_world, truth_columns

__all__ = ['World', 'generate', 'interest_share', 'load_truth', 'make_truth', 'simulate']


class _Memory:
    """All behaviours that have a group, and the categories of the last ones, of all users."""

    def __init__(self, world: World, truth: Truth, histories: Histories):
        self.truth = truth
        group = truth.group[histories.item]
        # No user has more behaviours of groups than interests and strays make.
        columns = np.argsort(group == NO_GROUP, 1, kind='stable')[:, : world.grouped]
        room = ((0, 0), (0, world.impressions))
        self.group = np.pad(np.take_along_axis(group, columns, 1), room, constant_values=NO_GROUP)
        self.since = np.pad(-np.take_along_axis(histories.age, columns, 1).astype(np.int64), room)
        self.theme_of = np.append(np.arange(world.groups) // world.theme_groups, -1).astype(np.int16)
        self.theme = self.theme_of[self.group]
        self.taken = world.grouped
        self.recent = truth.category[histories.item[:, -world.recent :]]
        self.clicks = np.zeros(world.users, np.int64)

    def lent(self, item: np.ndarray, now: np.ndarray) -> np.ndarray:
        """float [U]: what all behaviours so far lend to one candidate each."""
        candidate = self.truth.group[item]
        # Only groups of the candidate's theme lend; to gather for all M behaviours costs ten times more.
        theme = np.where(candidate == NO_GROUP, np.int16(-2), self.theme_of[candidate])
        who, place = np.nonzero(self.theme[:, : self.taken] == theme[:, None])
        gap = now[who] - self.since[who, place]
        lent = self.truth.lent_by_groups(candidate[who], self.group[who, place], gap)
        return np.bincount(who, lent, minlength=len(item))

    def add(self, who: np.ndarray, item: np.ndarray, now: np.ndarray) -> None:
        group = self.truth.group[item]
        self.group[who, self.taken], self.theme[who, self.taken] = group, self.theme_of[group]
        self.since[who, self.taken] = now
        self.taken += 1
        self.recent[who, self.clicks[who] % self.recent.shape[1]] = self.truth.category[item]
        self.clicks[who] += 1


def generate(world: World, truth: Truth) -> dict[str, np.ndarray]:
    """Draws histories, then the impressions of all users side by side, with the ground truth of `make_truth`.

    Returns:
      Event columns of length U * (H + T), ordered by user and time: user and item int32, time (int64 seconds), click
      and judged (int8) and true_ctr (float32). Events of the history have click 1, judged 0 and true_ctr 1; impressions
      have judged 1.
    """
    histories = make_histories(world, truth)
    rng, shelves = np.random.default_rng((world.seed, 3)), Shelves(world, truth)
    shape = (world.users, world.impressions)
    item, time = np.empty(shape, np.int32), np.empty(shape, np.int64)
    click, ctr = np.empty(shape, np.int8), np.empty(shape, np.float32)
    memory, now = _Memory(world, truth, histories), np.zeros(world.users, np.int64)
    pause = max(2, int(2 * world.days * DAY * world.page / world.impressions))
    for first in range(0, world.impressions, world.page):
        now += rng.integers(1, pause, world.users)
        page = range(first, min(first + world.page, world.impressions))
        for t in page:
            shown = _show(world, truth, shelves, histories.interests, memory.recent, rng)
            lately = (memory.recent == truth.category[shown][:, None]).any(1)
            logit = world.bias + truth.quality[shown] + world.short_effect * lately + memory.lent(shown, now)
            item[:, t], time[:, t], ctr[:, t] = shown, now, 1 / (1 + np.exp(-logit))
            click[:, t] = rng.random(world.users) < ctr[:, t]
        for t in page:  # what is clicked on a page is history for later pages alone
            who = np.flatnonzero(click[:, t])
            memory.add(who, item[who, t], now[who])
    start = 1_600_000_000 + rng.integers(0, 30 * DAY, (world.users, 1))
    old = histories.item.shape
    columns = {
        'user': np.repeat(np.arange(world.users, dtype=np.int32), world.history + world.impressions),
        'item': np.concatenate([histories.item, item], 1),
        'time': np.concatenate([start - histories.age, start + time], 1),
        'click': np.concatenate([np.ones(old, np.int8), click], 1),
        'judged': np.concatenate([np.zeros(old, np.int8), np.ones(shape, np.int8)], 1),
        'true_ctr': np.concatenate([np.ones(old, np.float32), ctr], 1),
    }
    return {name: column.reshape(-1) for name, column in columns.items()}


def _show(
    world: World, truth: Truth, shelves: Shelves, interests: np.ndarray, recent: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """int [U]: one item each, of a theme of the user's interests, of a recent category, or any."""
    users, places = np.arange(world.users), rng.random(world.users)
    theme = interests[users, rng.integers(0, world.interests, world.users)] // world.theme_groups
    group = theme * world.theme_groups + rng.integers(0, world.theme_groups, world.users)
    related = shelves.of_groups(group, rng.integers(0, 2, world.users), rng)
    lately = shelves.of_staples(recent[users, rng.integers(0, world.recent, world.users)], rng)
    shown = np.where(places < world.related, related, lately)
    anything = rng.integers(0, len(truth.group), world.users)
    return np.where(places < world.related + world.lately, shown, anything)


@configurable('log')
def simulate(folder: str | Path, **knobs: Any) -> BehaviourLog:
    """Simulates a world and compiles its log; a log of the same world is opened, not simulated again.

    Impressions are cut into parts by the split {'kind': 'per_user_time', 'column': 'judged', 'among': (1,)}; the label
    is {'kind': 'impressions', 'column': 'click'}.

    Args:
      folder: of the log; `<folder>-truth` takes the ground truth, see
        `jaxrec.data.simulators.lifelong_truth.load_truth`, and the knobs as `world.json`.
      **knobs: fields of `World`.

    Returns:
      The log: events with click, judged and, for evaluation only, true_ctr; items with their category.

    Raises:
      ValueError: a knob that does not exist or a value out of its range.
    """
    world = make_world(World, knobs)
    return compile_once(folder, world, lambda: _compile(folder, world), BehaviourLog)


def _compile(folder: str | Path, world: World) -> tuple[BehaviourLog, dict[str, dict[str, np.ndarray]]]:
    truth = make_truth(world)
    items, users = (np.arange(n, dtype=np.int32) for n in (len(truth.group), world.users))
    events = generate(world, truth)
    # Coded columns are encoded by one gather, not by a search for every event.
    coded = {'user': Coded(events['user'], users), 'item': Coded(events['item'], items)}
    log = compile_log(
        folder, events | coded, items={'item': items, 'category': truth.category},
        columns={'category': ColumnSpec('categorical')}, seed=world.seed, provenance='simulated',
    )  # fmt: skip
    return log, truth_columns(truth, PARTS)
