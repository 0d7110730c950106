"""A synthetic log of long histories, and the batches that a model of them reads.

Every user has H behaviours of few habitual categories and then T impressions of the same kind, so every window is full.

U users, H history, T impressions a user, S short and L long window, K kept, V items.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxrec.data.logs.behaviour_log import BehaviourLog, ColumnSpec, compile_log
from jaxrec.data.logs.raw_columns import Coded
from jaxrec.data.sources.behaviour_source import RequestSource

EVENTS = 1 << 22  # of all histories together, whatever their length, so that tables are equally full
IMPRESSIONS, HABITS = 8, 12
COLUMNS = ('item', 'category')


class Shapes(NamedTuple):
    """Sizes of a benchmark: B, S, L, V, categories, users with a table of their own (0: none), K, width of a row."""

    batch: int
    short: int
    long: int
    items: int
    categories: int
    users: int = 0
    keep: int = 50
    dim: int = 16


def open_log(folder: Path, shapes: Shapes) -> BehaviourLog:
    """Open the log of such histories; it is generated in another process, whose memory does not count."""
    if not folder.exists():
        with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
            pool.submit(write_log, folder, shapes, EVENTS).result()
    return BehaviourLog(folder)


def write_log(folder: Path, shapes: Shapes, events: int) -> None:
    """Draws histories and compiles them."""
    rng, history = np.random.default_rng(0), shapes.short + shapes.long
    users, length = max(1, events // history), history + IMPRESSIONS
    share = 1 / np.arange(1, HABITS + 1)
    habits = rng.integers(0, shapes.categories, (users, HABITS))
    which = rng.choice(HABITS, (users, length), p=share / share.sum()).astype(np.int8)
    category = np.take_along_axis(habits, which, 1)
    item = category + shapes.categories * rng.integers(0, shapes.items // shapes.categories, which.shape)
    judged = np.broadcast_to(np.arange(length) >= history, which.shape)
    everything = np.arange(shapes.items)
    compile_log(
        folder,
        {
            'user': Coded(np.repeat(np.arange(users, dtype=np.int32), length), np.arange(users)),
            'item': Coded(item.astype(np.int32).reshape(-1), everything),
            'time': np.tile(np.arange(length), users),
            'click': np.where(judged, rng.integers(0, 2, which.shape), 1).astype(np.int8).reshape(-1),
            'judged': judged.astype(np.int8).reshape(-1),
        },
        items={'item': everything, 'category': everything % shapes.categories},
        columns={'category': ColumnSpec('categorical')},
        provenance='simulated',
    )


def make_source(log: BehaviourLog, shapes: Shapes, side: str) -> RequestSource:
    """The shuffled impressions of a log."""
    lifelong = {'length': shapes.long, 'search': 'hard', 'keep': shapes.keep} if side == 'kept' else None
    if side == 'long':
        lifelong = {'length': shapes.long}
    return RequestSource(
        log.folder,
        features={'user': (), 'candidate': COLUMNS, 'history': COLUMNS},
        label={'kind': 'impressions', 'column': 'click'},
        split={'kind': 'per_user_time', 'column': 'judged', 'among': (1,), 'validation': 0.0, 'test': 0.0},
        part='train',
        batch_size=shapes.batch,
        epochs=1000,
        history_length=shapes.short + (shapes.long if side == 'history' else 0),
        lifelong=lifelong,
    )


def filled(source: RequestSource, side: str, batches: int = 20) -> float:
    """The share of a side's slots that hold a behaviour."""
    read = [source[i] for i in range(min(batches, source.steps))]
    slots = read[0][f'{side}/item'].shape[-1]
    return float(np.mean([batch[f'{side}/length'].mean() / slots for batch in read]))
