"""A seeded feed whose true click rates are known: items arrive and leave, and their quality is unknown.

Some 38 items are live at a time, each for some days. A user clicks an item at a rate that depends on the item's
quality, on a random table over (hidden group of the user, hidden group of the item), on tastes of user groups for
single items, and fades with the item's age. Known are of items a category, which often reveals the group, and a source,
which reveals a part of the quality; of users traits, which often reveal the group.

The logger draws uniformly from the live items. `Feed` is the world behind a log: it knows the true rates of picks, and
answers other picks than the logger's with clicks, so that a policy can be run in a closed loop: the same users at the
same times, and the same luck for the same pick.

B visits, C candidates, L history, U users, V items, N visits of the log.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.logs.columns import Ragged, offsets_of
from jaxrec.data.logs.vocabulary import hash64
from jaxrec.data.pools.log import ColumnSpec, PoolLog, Pools, compile_pools
from jaxrec.data.simulators.feed_world import DAY, PARTS, START, Truth, World, load_truth, make_truth, true_rate
from jaxrec.data.simulators.worlds import compile_once, make_world, read_world, truth_columns

__all__ = ['Feed', 'Visits', 'World', 'load_truth', 'make_truth', 'simulate', 'true_rate']

BLOCK = 1 << 16  # visits drawn at a time


class Visits:
    """All visits of a world under the uniform logger, in blocks each time they are iterated."""

    def __init__(self, world: World, truth: Truth):
        self.world, self.truth = world, truth
        times = np.concatenate([truth.born, truth.died])
        self.changes = np.unique(times[(times > START) & (times < world.end)])
        since = np.concatenate([[float(START)], self.changes])
        live = [np.flatnonzero((truth.born <= t) & (truth.died > t)) for t in since]
        self.pools = Ragged.from_rows(live, np.int32)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Blocks as `compile_pools` takes them; `user` is a number and no feature."""
        clicks = _Clicks(self.world.history)
        for block, first in enumerate(range(0, self.world.visits, BLOCK)):
            count = min(BLOCK, self.world.visits - first)
            yield self._block(block, first, count, clicks)

    def _block(self, block: int, first: int, count: int, clicks: '_Clicks') -> dict[str, Any]:
        world, truth = self.world, self.truth
        rng = np.random.default_rng((world.seed, 2, block))
        number = first + np.arange(count)
        time = START + (number + rng.random(count)) * (world.days * DAY / world.visits)
        user = rng.integers(0, world.users, count).astype(np.int32)
        pool = np.searchsorted(self.changes, time, side='right')
        size = self.pools.lengths[pool]
        item = self.pools.values[self.pools.offsets[pool] + (rng.random(count) * size).astype(np.int64)]
        click = _draw_clicks(world, number, item, true_rate(world, truth, user, item, time))
        clicks.add(user[click], number[click], item[click])
        return {
            'time': time, 'item': item, 'pool': Pools(pool, self.pools), 'click': click.astype(np.int8),
            'propensity': 1 / size, 'user': user, 'traits': truth.traits.take(user),
            'history': clicks.before(user, number),
        }  # fmt: skip


class _Clicks:
    """The clicks so far, by user and visit."""

    def __init__(self, length: int):
        self._length = length
        self._key = np.zeros(0, np.int64)
        self._item = np.zeros(0, np.int32)

    def add(self, user: np.ndarray, number: np.ndarray, item: np.ndarray) -> None:
        key = np.concatenate([self._key, user.astype(np.int64) << 32 | number])
        order = np.argsort(key, kind='stable')
        self._key, self._item = key[order], np.concatenate([self._item, item])[order]

    def before(self, user: np.ndarray, number: np.ndarray) -> Ragged:
        """The last clicks of users before visits, oldest first."""
        base = user.astype(np.int64) << 32
        end = np.searchsorted(self._key, base | number)
        begin = np.maximum(np.searchsorted(self._key, base), end - self._length)
        offsets = offsets_of(end - begin)
        place = np.arange(offsets[-1]) + np.repeat(begin - offsets[:-1], end - begin)
        return Ragged(self._item[place], offsets)


def _draw_clicks(world: World, number: np.ndarray, item: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Whether visits `number` end in a click on raw `item` at its true `rate`; the same luck whoever shows it."""
    key = number.astype(np.int64) << 24 | item
    luck = (hash64(key.reshape(-1), world.seed + 1) >> np.uint64(11)) * 2.0**-53
    return luck.reshape(key.shape) < rate


@configurable('log')
def simulate(folder: str | Path, **knobs: Any) -> PoolLog:
    """Simulates a feed and compiles its log; a log of the same world is opened, not simulated again.

    Args:
      folder: of the log; `<folder>-truth` takes the ground truth, and the knobs as `world.json`.
      **knobs: fields of `World`.

    Returns:
      The log: the user side is `traits` and histories of clicked items, the candidates' `item`, `category` and
      `source`; `user`, its raw number, is no feature.

    Raises:
      ValueError: a knob that does not exist or a value out of its range.
    """
    world = make_world(World, knobs)
    return compile_once(folder, world, lambda: _compile(folder, world), PoolLog)


def _compile(folder: str | Path, world: World) -> tuple[PoolLog, dict[str, dict[str, Any]]]:
    truth = make_truth(world)
    items = np.arange(len(truth.born), dtype=np.int32)
    log = compile_pools(
        folder,
        Visits(world, truth),
        {'item': items, 'category': truth.category, 'source': truth.source},
        columns={'traits': ColumnSpec('multi'), **dict.fromkeys(('category', 'source'), ColumnSpec('categorical'))},
        seed=world.seed,
        provenance='simulated',
    )
    return log, truth_columns(truth, PARTS)


class Feed:
    """The world behind a log."""

    def __init__(self, folder: str | Path):
        """Opens a simulated log and its ground truth; a ValueError if either is not there."""
        self.log = PoolLog(folder, check_ids=False)
        self.world = read_world(folder, World, 'feed: make it by `feed.simulate`')
        self.truth = load_truth(folder)
        # Padding and out-of-vocabulary are masked wherever this is used.
        self._raw = np.concatenate([[0, 0], self.log.vocabulary('item').keys])

    def rates(self, rows: np.ndarray) -> np.ndarray:
        """Returns the true click rates of all candidates of visits `rows` [B].

        They are float64 [B, C], in the order of each pool, 0 where there is no candidate.
        """
        events = self.log.events
        items = self.log.padded_pools[events['pool'][rows]]
        user, time = events['user'][rows][:, None], events['time'][rows][:, None]
        return np.where(items > 0, true_rate(self.world, self.truth, user, self._raw[items], time), 0)

    def clicks(self, rows: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Draws the clicks, float32 [B] of 0 and 1, on the candidates in `slots` [B] of visits `rows` [B].

        The logger's picks earn the logger's clicks.

        Raises:
          ValueError: a slot without a candidate.
        """
        items = self.log.padded_pools[self.log.events['pool'][rows], slots]
        if (items == 0).any():
            b = int(np.argmin(items))
            raise ValueError(
                f'visit {rows[b]} was given slot {slots[b]}, where its pool has no candidate: pick by the mask'
            )
        user, time = self.log.events['user'][rows], self.log.events['time'][rows]
        raw = self._raw[items]
        rate = true_rate(self.world, self.truth, user, raw, time)
        return _draw_clicks(self.world, np.asarray(rows), raw, rate).astype(np.float32)

    def buckets(self, rows: np.ndarray, shares: Sequence[float], seed: int = 0) -> np.ndarray:
        """Cuts the traffic by user, as an online experiment does: the bucket, int64 [B], of each visit in `rows` [B].

        `shares` of the users go to each bucket; the rest up to 1 has the bucket `len(shares)`. Another seed is another
        cut.

        Raises:
          ValueError: shares that are negative or sum to more than 1.
        """
        edges = np.cumsum(shares)
        if min(shares) < 0 or edges[-1] > 1 + 1e-9:
            raise ValueError(f'shares {tuple(shares)} are no shares of one traffic: give at most 1 in all')
        place = (hash64(self.log.events['user'][rows], seed) >> np.uint64(11)) * 2.0**-53
        return np.searchsorted(edges, place, side='right')
