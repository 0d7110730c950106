"""A large log for load tests: some users of a lifetime's length, the rest of an ordinary one.

It has ragged users, items of unequal popularity, and users who return to their own categories. N events, U users.
"""

from pathlib import Path

import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.logs.behaviour_log import BehaviourLog, ColumnSpec, compile_log

START = 1_500_000_000
DAY = 86_400
FAVOURITES = 40  # categories that a user comes back to


@configurable('log')
def lifelong_users(
    folder: str | Path,
    users: int = 1000,
    events: int = 10_000_000,
    longest: int = 54_000,
    long_users: int = 100,
    items: int = 200_000,
    categories: int = 1000,
    seed: int = 0,
) -> BehaviourLog:
    """Compiles the log.

    Args:
      folder: of the log.
      users, items, categories: how many of each.
      events: N, at least.
      longest, long_users: behaviours of each of the long users, and how many of them.
      seed: of all draws.

    Raises:
      ValueError: too few events for the long users.
    """
    others = users - long_users
    rest = -(-(events - long_users * longest) // max(others, 1))
    if others < 1 or not 0 < rest <= longest:
        raise ValueError(
            f'{events} events leave {rest} to each of {others} users beside {long_users} of {longest}: give '
            'other numbers'
        )
    draw = np.random.default_rng(seed)
    lengths = np.where(np.arange(users) < long_users, longest, rest)
    user = np.repeat(np.arange(users), lengths)
    favourites = draw.integers(0, categories, (users, FAVOURITES))
    # A cubed uniform number: a tenth of the items of a category takes half of its events.
    within = (items // categories * draw.random(len(user)) ** 3).astype(np.int64)
    item = favourites[user, draw.integers(0, FAVOURITES, len(user))] + categories * within
    time = np.concatenate([np.sort(draw.integers(0, 3 * 365 * DAY, length)) for length in lengths]) + START
    kept = np.arange(items)
    return compile_log(
        folder,
        {'user': user, 'item': item, 'time': time, 'click': np.ones(len(user), np.int8)},
        {'item': kept, 'category': kept % categories},
        columns={'category': ColumnSpec('categorical')},
        seed=seed,
        provenance='simulated',
    )
