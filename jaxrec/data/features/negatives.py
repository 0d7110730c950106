"""Sampled negatives: for a positive event, items that its user never responded to.

Every draw is a hash of (seed, epoch, event, slot): it depends neither on the order of batches nor on how many processes
share them. A draw that hits one of the user's positives is repeated with the next counter; the few that keep hitting
are settled by listing what is allowed, which makes exclusion exact. For each entry of a history an item other than that
entry can be drawn too; it may be another item of the same history.

Samplers: 'uniform' over the items of the log, 'popularity' (the item of a uniformly drawn positive event), and
'same_category' (uniform within the category of the positive; over all items when the user knows that whole category,
which is counted).

N events, P positive events, M draws, B examples, L history, V item rows.
"""

import dataclasses

import numpy as np

from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.vocabulary import FIRST, hash64

SAMPLERS = ('uniform', 'popularity', 'same_category')
HISTORY_SAMPLERS = ('uniform', 'popularity')
REDRAWS = 64  # vectorised and rarely needed; listing what is left costs a pass over the pool for each draw


@dataclasses.dataclass(frozen=True, eq=False)
class NegativeTables:
    """Tables for drawing negatives, prepared once for a log."""

    sampler: str
    rows: int
    pool: np.ndarray  # int32, the items to draw from, by category for 'same_category'; repeated by 'popularity'
    taken: np.ndarray  # int64, sorted keys `user * item rows + item` of the users' positives
    user: np.ndarray
    start: np.ndarray  # int64 [N], where the slice of `pool` begins that an event draws from
    count: np.ndarray  # int64 [N], the length of that slice
    fallbacks: int  # positive events that draw from all items, because their user knows the whole category


def negative_tables(
    log: BehaviourLog, positive: np.ndarray, sampler: str = 'uniform', category: str = 'category'
) -> NegativeTables:
    """Prepares drawing negatives for the positive events, bool [N], of a log.

    Raises:
      ValueError: an unknown sampler or category, or a user whose positives leave nothing to draw.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f'sampler {sampler!r} is unknown: use one of {", ".join(SAMPLERS)}')
    users, items, rows = log.events['user'], log.events['item'], log.schema['item'].rows
    known = positive & (items >= FIRST)
    taken = np.unique(users[known].astype(np.int64) * rows + items[known])
    pool = _pool(items, known, sampler)
    _check_something_left(log, taken, len(np.unique(pool)), rows)
    # Views of one number each: every event draws from the whole pool.
    start, count = (np.broadcast_to(np.int64(number), len(log)) for number in (0, len(pool)))
    fallbacks = 0
    if sampler == 'same_category':
        pool, start, count, fallbacks = _by_category(pool, _category(log, category), taken, log, positive)
    return NegativeTables(sampler, rows, pool.astype(np.int32), taken, users, start, count, fallbacks)


def _pool(items: np.ndarray, known: np.ndarray, sampler: str) -> np.ndarray:
    """Sorted items: those with a positive event, repeated, for 'popularity', else any that occurs, once."""
    return np.sort(items[known]) if sampler == 'popularity' else np.unique(items[items >= FIRST])


def _check_something_left(log: BehaviourLog, taken: np.ndarray, available: int, rows: int) -> None:
    users, known = np.unique(taken // rows, return_counts=True)
    if (known >= available).any():
        name = log.vocabulary(log.schema['user'].vocabulary or 'user').decode(users[np.argmax(known)])
        raise ValueError(
            f'user {name} of {log.folder} has a positive event with each of the {available} items, so no '
            'negative is left: drop that user, or use a label from impressions or ratings'
        )


def _category(log: BehaviourLog, category: str) -> np.ndarray:
    if category not in log.items or log.schema[category].kind != 'categorical':
        known = [name for name in log.items.names if name in log.schema and log.schema[name].kind == 'categorical']
        raise ValueError(
            f'sampler same_category wants a categorical item attribute, {category!r} is none of '
            f'{log.folder}; it has {", ".join(known) or "none"}'
        )
    return log.items[category]


def _by_category(
    pool: np.ndarray, attribute: np.ndarray, taken: np.ndarray, log: BehaviourLog, positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Groups the pool by category and gives each event its slice, all of it where the category is known."""
    users, items, rows = log.events['user'], log.events['item'], log.schema['item'].rows
    pool = pool[np.argsort(attribute[pool], kind='stable')]
    kinds = int(attribute.max(initial=0)) + 1
    sizes = np.bincount(attribute[pool], minlength=kinds)
    starts = np.cumsum(sizes) - sizes
    pairs, known = np.unique(taken // rows * kinds + attribute[taken % rows], return_counts=True)
    exhausted = pairs[known >= sizes[pairs % kinds]]
    category = attribute[items]  # [N]
    whole = np.isin(users.astype(np.int64) * kinds + category, exhausted) | (sizes[category] == 0)
    start = np.where(whole, 0, starts[category])
    count = np.where(whole, len(pool), sizes[category])
    return pool, start, count, int((whole & positive).sum())


def sample_negatives(
    tables: NegativeTables, events: np.ndarray, slots: np.ndarray, *, seed: int, epoch: int
) -> np.ndarray:
    """Draws int32 [M] items, none of them a positive of the event's user.

    `events` are the rows of positive events, integer [M], and `slots`, integer [M], the number of each among its
    event's negatives; `seed` and `epoch` are the rest of the counter.
    """
    drawn = np.zeros(len(events), np.int32)
    todo = np.arange(len(events))
    counter = hash64(events, hash_seed(seed, epoch)) ^ hash64(slots, seed)
    user = tables.user[events].astype(np.int64) * tables.rows
    for attempt in range(REDRAWS):
        rows = events[todo]
        place = tables.start[rows] + _below(hash64(counter[todo], attempt), tables.count[rows])
        drawn[todo] = tables.pool[place]
        todo = todo[_contains(tables.taken, user[todo] + drawn[todo])]
        if not len(todo):
            return drawn
    for m in todo:
        first, number = tables.start[events[m]], tables.count[events[m]]
        candidates = tables.pool[first : first + number]
        allowed = candidates[~_contains(tables.taken, user[m] + candidates)]
        drawn[m] = allowed[int(_below(hash64(counter[m : m + 1], REDRAWS), np.asarray([len(allowed)]))[0])]
    return drawn


@dataclasses.dataclass(frozen=True, eq=False)
class HistoryPool:
    """A table for drawing items for history entries, prepared once for a log."""

    items: np.ndarray  # int32, the items to draw from, sorted; popular items repeated for 'popularity'
    before: np.ndarray  # int64 [V], how many of them are smaller than an item
    copies: np.ndarray  # int64 [V], how often an item is among them


def history_pool(log: BehaviourLog, positive: np.ndarray, sampler: str = 'uniform') -> HistoryPool:
    """Prepares drawing items, 'uniform' or by 'popularity', that differ from history entries; `positive` is bool [N].

    Raises:
      ValueError: an unknown sampler, or a log with fewer than two items to draw from.
    """
    if sampler not in HISTORY_SAMPLERS:
        raise ValueError(f'history_negatives {sampler!r} is unknown: use one of {", ".join(HISTORY_SAMPLERS)}, or None')
    items = log.events['item']
    pool = _pool(items, positive & (items >= FIRST), sampler)
    copies = np.bincount(pool, minlength=log.schema['item'].rows)
    if (different := int((copies > 0).sum())) < 2:
        raise ValueError(
            f'{log.folder} has {different} items for history_negatives {sampler!r} to draw from: two are '
            'needed, so that one differs from the entry it stands beside; leave history_negatives out'
        )
    return HistoryPool(pool.astype(np.int32), np.cumsum(copies) - copies, copies)


def sample_beside(pool: HistoryPool, entries: np.ndarray, examples: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """Draws an item for each history entry, int32 [B, L], none equal to its entry; 0 for padding.

    `entries` are item ids, int32 [B, L]; `examples`, integer [B], identify an example: its draw does not depend on the
    batch. Each epoch draws anew.
    """
    slots = np.arange(entries.shape[1])
    counter = hash64(examples, hash_seed(seed, epoch))[:, None] ^ hash64(slots, seed)
    copies = pool.copies[entries]
    # A place among the items left when the entry's own copies, a run in sorted order, are taken out.
    place = _below(hash64(counter, REDRAWS + 1), len(pool.items) - copies)
    place += np.where(place >= pool.before[entries], copies, 0)
    return np.where(entries > 0, pool.items[place], 0)


def hash_seed(seed: int, epoch: int) -> int:
    """One seed out of a run's seed and an epoch."""
    return int(hash64(np.asarray([epoch]), seed)[0])


def _below(random: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Maps uint64 random bits to integers in [0, bound): multiply and shift, bias below bound / 2^32."""
    return (((random >> np.uint64(32)) * bound.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


def _contains(keys: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """bool [M]: whether each query occurs in the sorted keys."""
    if not len(keys):
        return np.zeros(len(queries), bool)
    place = np.minimum(np.searchsorted(keys, queries), len(keys) - 1)
    return keys[place] == queries
