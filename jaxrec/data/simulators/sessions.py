"""A seeded simulator of sessions whose true rewards are known, of those that were shown and of any other.

A request shows 5 to 10 items, and its user watches, likes and follows as in `sessions_truth`: the value of an item
depends on the items before it. The logger mixes popular items with those of the user's interests and ignores what items
do to each other, so a generator that does not can gain much. `Audience` is the world behind a log: it computes the
expected labels of any session, and draws responses to it.

B sessions, S items of a session, V rows of the item vocabulary, D content width.
"""

from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.logs.columns import Ragged, offsets_of
from jaxrec.data.logs.raw_columns import Coded
from jaxrec.data.logs.vocabulary import FIRST
from jaxrec.data.sessions.labels import SessionLabels
from jaxrec.data.sessions.log import ColumnSpec, SessionLog, compile_sessions
from jaxrec.data.simulators import sessions_truth
from jaxrec.data.simulators.ctr import Catalogue
from jaxrec.data.simulators.sessions_world import DAY, PARTS, START, Truth, World, load_truth, make_truth
from jaxrec.data.simulators.worlds import compile_once, make_world, read_world, truth_columns

__all__ = ['Audience', 'World', 'generate', 'load_truth', 'make_truth', 'simulate']

BLOCK = 1 << 13  # requests played at a time


def generate(world: World, truth: Truth) -> dict[str, Any]:
    """Draws the raw requests of a world, by user and time, for `compile_sessions`; `truth` is from `make_truth`."""
    catalogue = Catalogue(truth.category, world.categories, world.popularity, np.random.default_rng((world.seed, 2)))
    users = np.repeat(np.arange(world.users, dtype=np.int32), world.requests)
    rng = np.random.default_rng((world.seed, 3))
    spread = np.sort(rng.random((world.users, world.requests)), 1).reshape(-1)
    parts = []
    for number, first in enumerate(range(0, len(users), BLOCK)):
        draws = np.random.default_rng((world.seed, 4, number))
        parts.append(_play(world, truth, catalogue, users[first : first + BLOCK], draws))
    lengths = np.concatenate([part.pop('lengths') for part in parts])
    offsets = offsets_of(lengths)
    shown = {name: Ragged(np.concatenate([part[name] for part in parts]), offsets) for name in parts[0]}
    return {'user': users, 'time': START + (spread * world.days * DAY).astype(np.int64), **shown}


def _play(
    world: World, truth: Truth, catalogue: Catalogue, users: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Sessions of some requests, `lengths` [B] and the columns of their items end to end."""
    shape = (len(users), world.most)
    lengths = rng.integers(world.least, world.most + 1, len(users))
    valid = np.arange(world.most) < lengths[:, None]
    interest = truth.interest[users[:, None], rng.integers(0, world.interests, shape)]
    items = catalogue.draw(interest, rng.random(shape) < world.exploration, rng.random(shape))
    while (twice := _shown_before(items)).any():  # no feed shows an item twice in a session
        items[twice] = rng.integers(0, world.items, int(twice.sum()))
    drawn = sessions_truth.draw(world, truth, users, items, valid, rng)
    columns = {'item': items.astype(np.int32), **drawn}
    return {'lengths': lengths, **{name: column[valid] for name, column in columns.items()}}


def _shown_before(items: np.ndarray) -> np.ndarray:
    """bool [B, S], repeated items of a session."""
    order = np.argsort(items, 1, kind='stable')
    ordered = np.take_along_axis(items, order, 1)
    twice = np.zeros(items.shape, bool)
    np.put_along_axis(twice, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    return twice


@configurable('log')
def simulate(folder: str | Path, **knobs: Any) -> SessionLog:
    """Simulates a world and compiles its log; a log of the same world is opened, not simulated again.

    Args:
      folder: of the log; `<folder>-truth` takes the ground truth, and the knobs as `world.json`.
      **knobs: fields of `World`.

    Returns:
      The log: sessions with watch_time, view, like and follow; items with their category and their length in seconds.

    Raises:
      ValueError: a knob that does not exist or a value out of its range.
    """
    world = make_world(World, knobs)
    return compile_once(folder, world, lambda: _compile(folder, world), SessionLog)


def _compile(folder: str | Path, world: World) -> tuple[SessionLog, dict[str, dict[str, np.ndarray]]]:
    truth = make_truth(world)
    requests = generate(world, truth)
    requests['user'] = Coded(requests['user'], np.arange(world.users, dtype=np.int32))
    items = {'item': np.arange(world.items, dtype=np.int32), 'category': truth.category, 'length': truth.length}
    columns = {'category': ColumnSpec('categorical'), 'length': ColumnSpec('numeric')}
    log = compile_sessions(folder, requests, items, columns=columns, seed=world.seed, provenance='simulated')
    return log, truth_columns(truth, PARTS)


class Audience:
    """The users behind a simulated log, who respond to any session."""

    def __init__(self, folder: str | Path):
        """Opens a simulated log and its ground truth; a ValueError if either is not there."""
        self.log = SessionLog(folder, check_ids=False)
        self.world = read_world(folder, World, 'log of sessions: make it by `sessions.simulate`')
        self.truth = load_truth(folder)
        nothing = np.zeros(FIRST, np.int64)
        self._user = np.concatenate([nothing, self.log.vocabulary('user').keys])
        self._item = np.concatenate([nothing, self.log.vocabulary('item').keys])

    def true_rewards(self, users: np.ndarray, items: np.ndarray, labels: SessionLabels) -> dict[str, np.ndarray]:
        """Computes the expected labels of sessions, shown or not.

        Args:
          users: int [B], ids of the log.
          items: int [B, S], ids of the log in the order of display, 0 after the end of a session.
          labels: how labels are made, such as a source's.

        Returns:
          {'swt', 'vtr', 'wtr', 'ltr': float64 [B]}, which `jaxrec.data.sessions.labels.weighted` sums.

        Raises:
          ValueError: for ids of no user or item, or an item after the end of its session.
        """
        users, items, valid = self._raw(users, items)
        return sessions_truth.true_rewards(self.world, self.truth, users, items, labels, valid)

    def respond(self, users: np.ndarray, items: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
        """Draws the responses of users to sessions.

        Args:
          users, items: as in `true_rewards`.
          seed: of the draws.

        Returns:
          `watch_time` float32 and `view`, `like`, `follow` int8, all [B, S], 0 where there is no item.

        Raises:
          ValueError: as `true_rewards`.
        """
        rng = np.random.default_rng((self.world.seed, 5, seed))
        users, items, valid = self._raw(users, items)
        return sessions_truth.draw(self.world, self.truth, users, items, valid, rng)

    def item_vectors(self) -> np.ndarray:
        """The content of all items, float32 [V, D] by the ids of the log; rows 0 and 1, no items, are zeros."""
        vectors = np.array(self.truth.content[self._item])
        vectors[:FIRST] = 0
        return vectors

    def _raw(self, users: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Raw numbers of users and items, and which slots hold an item."""
        users, items = np.asarray(users), np.asarray(items)
        valid = items != 0
        rows = {'user': len(self._user), 'item': len(self._item)}
        for name, ids in (('user', users), ('item', items[valid])):
            wrong = (ids < FIRST) | (ids >= rows[name])
            if wrong.any():
                raise ValueError(
                    f'{name} id {ids[wrong][0]} stands for no {name} of {self.log.folder}: ids are '
                    f'{FIRST}..{rows[name] - 1}'
                )
        if (gaps := (valid[:, 1:] & ~valid[:, :-1]).any(1)).any():
            raise ValueError(
                f'session {int(np.argmax(gaps))} has an item behind an empty slot: move its items to the left'
            )
        return self._user[users], self._item[items], valid
