"""Indexes of small logs, and what a loop over the log's own events says of them."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.serving.behaviour_index import BehaviourIndex, build_index
from tests.data.worlds import small_log

LABEL = {'kind': 'rating', 'column': 'rating', 'threshold': 3.0}
COLUMNS = ('item', 'category', 'genres', 'year', 'position')
CATEGORIES = 9  # beyond the ids that a world has


def world(folder: Path, **sizes: int) -> tuple[BehaviourLog, BehaviourIndex]:
    """A log of ragged users with many equal times, and its index."""
    log = small_log(folder / 'log', **sizes)
    return log, build_index(folder / 'index', log, LABEL, COLUMNS)


def drawn_events(log: BehaviourLog, count: int, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """New events, some of them earlier than what the log holds, many of one time."""
    draw = np.random.default_rng(seed)
    columns = {
        'item': draw.integers(1, log.schema['item'].rows, count),
        'position': draw.integers(1, log.schema['position'].rows, count),
        'time': draw.integers(0, 80, count),
    }
    return draw.integers(1, log.schema['user'].rows, count), columns


def loop(log: BehaviourLog, added: list[tuple[np.ndarray, dict[str, np.ndarray]]] = ()) -> dict[int, list[dict]]:
    """{user: behaviours, oldest first}: the positive events of the log and what was added to it."""
    users: dict[int, list[dict[str, Any]]] = {}
    for n in range(len(log)):
        if log.events['rating'][n] >= LABEL['threshold']:
            event = {name: int(log.events[name][n]) for name in ('item', 'position', 'time')}
            users.setdefault(int(log.events['user'][n]), []).append(event)
    for who, columns in added:
        for n, user in enumerate(who):
            event = {name: int(column[n]) for name, column in columns.items()}
            users.setdefault(int(user), []).append(event)
    for events in users.values():
        events.sort(key=lambda event: event['time'])
        for event in events:
            event['category'] = int(log.items['category'][event['item']])
    return users


def agree(index: BehaviourIndex, users: dict[int, list[dict]]) -> None:
    """Asserts that every lookup of every user gives what the loop gives."""
    for user in range(index.log.schema['user'].rows + 2):
        events, view = users.get(user, []), index.view(user)
        assert len(view) == len(events)
        for name in ('item', 'position', 'time'):
            assert view.columns[name].tolist() == [event[name] for event in events], (user, name)
        assert view.recent(4).tolist() == list(range(len(events)))[::-1][:4]
        for time in (None, -1, 0, 20, 79.5, 1000):
            end = view.before(time)
            assert end == sum(time is None or event['time'] < time for event in events)
            for category in range(CATEGORIES):
                for start, count in ((0, 3), (2, 100), (end - 5, 2)):
                    wanted = [n for n in range(max(start, 0), end) if events[n]['category'] == category][::-1]
                    found = view.matching(category, count, start, end)
                    assert found.tolist() == wanted[:count], (user, time, category, start, count)
