"""Small random logs for the tests of `jaxrec.data`."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.logs.behaviour_log import BehaviourLog, ColumnSpec, compile_log
from jaxrec.data.logs.click_log import ClickLog, compile_clicks
from jaxrec.data.logs.columns import Ragged
from jaxrec.data.pools.log import PoolLog, compile_pools
from jaxrec.data.sessions.log import SessionLog, compile_sessions

COLUMNS = {
    'genres': ColumnSpec('multi'),
    'category': ColumnSpec('categorical'),
    'year': ColumnSpec('numeric'),
    'age': ColumnSpec('categorical'),
    'position': ColumnSpec('categorical'),
    'rating': ColumnSpec('numeric'),
}


def raw_world(users: int = 12, items: int = 40, events: int = 600, span: int = 50, seed: int = 0) -> dict[str, Any]:
    """Raw tables with string users, many events of one second, and items of 0 to 3 genres."""
    draw = np.random.default_rng(seed)
    return {
        'events': {
            'user': np.char.add('u', draw.integers(0, users, events).astype(str)),
            'item': draw.integers(100, 100 + items, events),
            'time': draw.integers(0, span, events),
            'rating': draw.integers(1, 6, events).astype(np.float32),
            'click': draw.integers(0, 2, events),
            'position': draw.integers(0, 4, events),
        },
        'items': {
            'item': np.arange(100, 100 + items),
            'genres': Ragged.from_rows([['drama', 'war', 'noir'][: n % 4] for n in range(items)], str),
            'category': np.arange(items) % 5,
            'year': np.arange(1950, 1950 + items),
        },
        'users': {'user': np.char.add('u', np.arange(users).astype(str)), 'age': np.arange(users) % 3},
    }


def small_log(folder: Path, **sizes: int) -> BehaviourLog:
    """A compiled `raw_world`."""
    return compile_log(folder, **raw_world(**sizes), columns=COLUMNS, provenance='simulated')


CLICK_COLUMNS = {
    'site': ColumnSpec('categorical'),
    'ad': ColumnSpec('categorical'),
    'device': ColumnSpec('categorical', buckets=6),
    'keywords': ColumnSpec('multi'),
    'price': ColumnSpec('numeric'),
}


def raw_clicks(events: int = 400, days: int = 5, seed: int = 0) -> dict[str, Any]:
    """Raw impressions of five days, hours in order; clicks depend on the pair of site and ad."""
    draw = np.random.default_rng(seed)
    site, ad = draw.integers(0, 9, events), draw.integers(0, 11, events)
    rate = draw.uniform(0.05, 0.95, (9, 11))[site, ad]
    return {
        'site': np.char.add('s', site.astype(str)),
        'ad': ad + 100,
        'device': draw.integers(0, 50, events),
        'keywords': Ragged.from_rows([['red', 'big', 'new'][: n % 4] for n in range(events)], str),
        'price': draw.uniform(0, 9, events),
        'click': (draw.uniform(size=events) < rate).astype(np.int8),
        'time': 1_400_025_600 + np.sort(draw.integers(0, 24 * days, events)) * 3600,
        'fold': draw.integers(0, 10, events),
    }


def small_clicks(folder: Path, **sizes: int) -> ClickLog:
    """A compiled `raw_clicks`."""
    return compile_clicks(folder, raw_clicks(**sizes), columns=CLICK_COLUMNS, provenance='simulated')


POOL_COLUMNS = {
    'traits': ColumnSpec('multi'),
    'device': ColumnSpec('categorical'),
    'age': ColumnSpec('numeric'),
    'affinity': ColumnSpec('numeric'),
    'topic': ColumnSpec('categorical'),
    'words': ColumnSpec('multi'),
    'price': ColumnSpec('numeric'),
}


def raw_visits(visits: int = 300, items: int = 20, every: int = 50, seed: int = 0) -> dict[str, Any]:
    """Visits whose pool of 3 to 7 of the items changes every so often; items are called i100, i101, ...

    Pools list their items in no order; every other change brings back an earlier pool, listed otherwise.
    """
    draw = np.random.default_rng(seed)
    names = np.char.add('i', (100 + np.arange(items)).astype(str))
    pools: list[np.ndarray] = []
    for n in range(-(-visits // every)):
        pool = pools[0] if n % 2 else draw.choice(names, int(draw.integers(3, 8)), replace=False)
        pools.append(draw.permutation(pool))
    rows = [pools[n // every] for n in range(visits)]
    shown = [str(draw.choice(row)) for row in rows]
    met = [draw.choice(names, int(draw.integers(0, 4))).tolist() for _ in rows]
    return {
        'time': 1_000 + np.sort(draw.integers(0, 500, visits)),
        'item': np.asarray(shown),
        'pool': Ragged.from_rows(rows, str),
        'click': draw.integers(0, 2, visits),
        'propensity': np.asarray([1 / len(row) for row in rows]),
        'history': Ragged.from_rows(met, str),
        'traits': Ragged.from_rows([draw.permutation(9)[: n % 5].tolist() for n in range(visits)], np.int64),
        'device': draw.integers(0, 4, visits),
        'age': draw.uniform(10, 90, visits),
        'affinity': Ragged.from_rows([draw.uniform(size=len(row)) for row in rows], np.float64),
        'true_user': draw.integers(0, 99, visits),
    }


def raw_articles(items: int = 20) -> dict[str, Any]:
    """Attributes of the items of `raw_visits`, and of one that is never there."""
    count = items + 1
    return {
        'item': np.char.add('i', (100 + np.arange(count)).astype(str)),
        'topic': np.arange(count) % 4,
        'words': Ragged.from_rows([['a', 'b', 'c'][: n % 4] for n in range(count)], str),
        'price': np.arange(count) / 2,
    }


def small_pools(folder: Path, **sizes: int) -> PoolLog:
    """A compiled `raw_visits`."""
    raw = raw_visits(**sizes)
    return compile_pools(folder, raw, raw_articles(), columns=POOL_COLUMNS, provenance='simulated')


SESSION_COLUMNS = {
    'category': ColumnSpec('categorical'),
    'tags': ColumnSpec('multi'),
    'length': ColumnSpec('numeric'),
    'device': ColumnSpec('categorical'),
}


def raw_sessions(requests: int = 150, users: int = 9, items: int = 30, seed: int = 0) -> dict[str, Any]:
    """Requests in no order, some of one user at the same instant, of 1 to 7 items called v100, v101, ..."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, 8, requests)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    number = lambda low, high: Ragged(draw.integers(low, high, offsets[-1]), offsets)
    return {
        'user': np.char.add('u', draw.integers(0, users, requests).astype(str)),
        'time': 1_000 + draw.integers(0, 60, requests),
        'item': Ragged(np.char.add('v', number(100, 100 + items).values.astype(str)), offsets),
        'watch_time': Ragged(draw.integers(0, 40, offsets[-1]) / 2, offsets),
        'view': number(0, 2),
        'like': Ragged((draw.random(offsets[-1]) < 0.2).astype(np.int64), offsets),
        'follow': Ragged((draw.random(offsets[-1]) < 0.05).astype(np.int64), offsets),
        'position_bias': Ragged(draw.random(offsets[-1]), offsets),
        'device': draw.integers(0, 3, requests),
    }


def raw_videos(items: int = 33) -> dict[str, Any]:
    """Attributes of the items of `raw_sessions`, and of three that were never shown."""
    return {
        'item': np.char.add('v', (100 + np.arange(items)).astype(str)),
        'category': np.arange(items) % 4,
        'tags': Ragged.from_rows([['a', 'b'][: n % 3] for n in range(items)], str),
        'length': np.arange(items) + 5,
    }


def small_sessions(folder: Path, **sizes: int) -> SessionLog:
    """A compiled `raw_sessions`."""
    raw = raw_sessions(**sizes)
    return compile_sessions(folder, raw, raw_videos(), columns=SESSION_COLUMNS, provenance='simulated')
