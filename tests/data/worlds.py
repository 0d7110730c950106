"""Small random logs for the tests of `jaxrec.data`."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.behaviour_log import BehaviourLog, ColumnSpec, compile_log
from jaxrec.data.click_log import ClickLog, compile_clicks
from jaxrec.data.columns import Ragged

COLUMNS = {
    'genres': ColumnSpec('multi'),
    'category': ColumnSpec('categorical'),
    'year': ColumnSpec('numeric'),
    'age': ColumnSpec('categorical'),
    'position': ColumnSpec('categorical'),
    'rating': ColumnSpec('numeric'),
}


def raw_world(
    users: int = 12, items: int = 40, events: int = 600, span: int = 50, seed: int = 0
) -> dict[str, Any]:
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
