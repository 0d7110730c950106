"""What the CTR loader delivers from one process: shuffled history slices of over 10^6 events."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxrec.data.simulators.ctr import simulate
from jaxrec.data.sources.behaviour_source import RequestSource, make_loader
from jaxrec.parallel.peak_memory import peak_mb
from jaxrec.runs.timing import measure, record

BATCH, LENGTH = 1024, 100
WORLD = {'users': 5_000, 'items': 50_000, 'impressions': 300, 'categories': 500, 'bias': 0.0}
SHORT, LONG, KEPT = 50, 1024, 50
LIFELONG_WORLD = {'users': 2_000, 'items': 50_000, 'impressions': 3_000, 'categories': 300, 'bias': 0.0}


def run(name: str) -> dict[str, Any]:
    """Time batches up to host arrays; `filled` is the share of history slots that hold a behaviour."""
    return _read(name, f'L{LENGTH}', WORLD, history_length=LENGTH)


def lifelong(name: str, search: str | None = 'hard') -> dict[str, Any]:
    """Time lifelong histories; `search` is 'hard' for K behaviours of the candidate's category, or None for all L."""
    described = {'length': LONG, 'search': search, 'keep': KEPT, 'column': 'category'}
    shapes = f'S{SHORT} L{LONG}' + (f' K{KEPT}' if search else '')
    return _read(name, shapes, LIFELONG_WORLD, history_length=SHORT, lifelong=described)


def _read(name: str, lengths: str, world: Mapping[str, Any], **histories: Any) -> dict[str, Any]:
    idle = peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        log = simulate(Path(folder) / 'log', **world)
        columns = ('item', 'category')
        source = RequestSource(
            log.folder,
            features={'user': (), 'candidate': columns, 'history': columns},
            label={'kind': 'impressions', 'column': 'click'},
            split={'kind': 'per_user_time', 'validation': 0.1, 'test': 0.2},
            part='train',
            batch_size=BATCH,
            epochs=1000,
            **histories,
        )
        slots = 20 * source.history_length
        filled = sum(float(source[i]['history/length'].mean()) for i in range(20)) / slots
        loader = make_loader(source)
        timed = measure(lambda: next(loader), lambda: None, warm=50)
        loader.close()
        shapes = f'B{BATCH} {lengths} 2 history columns, {len(log)} events, shuffled, one process'
        return record(name, shapes, 0, timed, BATCH, idle, filled=round(filled, 3))
