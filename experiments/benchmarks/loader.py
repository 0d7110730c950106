"""What the CTR loader delivers from one process: shuffled history slices of over 10^6 events.

B batch, L history.
"""

import tempfile
from pathlib import Path
from typing import Any

from experiments.benchmarks.timing import measure, peak_mb, record
from jaxrec.data.simulators.ctr import simulate
from jaxrec.data.source import RequestSource, make_loader

BATCH, LENGTH = 1024, 100
WORLD = {'users': 5_000, 'items': 50_000, 'impressions': 300, 'categories': 500, 'bias': 0.0}


def run(name: str) -> dict[str, Any]:
    """Reads batches as training does, up to the host arrays that a step is given.

    Args:
      name: of the record.

    Returns:
      The record, with `filled`, the share of history slots that hold a behaviour.
    """
    idle = peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        log = simulate(Path(folder) / 'log', **WORLD)
        columns = ('item', 'category')
        source = RequestSource(
            log.folder,
            features={'user': (), 'candidate': columns, 'history': columns},
            label={'kind': 'impressions', 'column': 'click'},
            split={'kind': 'per_user_time', 'validation': 0.1, 'test': 0.2},
            part='train',
            batch_size=BATCH,
            history_length=LENGTH,
            epochs=1000,
        )
        filled = sum(float(source[i]['history/length'].mean()) for i in range(20)) / 20 / LENGTH
        loader = make_loader(source)
        timed = measure(lambda: next(loader), lambda: None, warm=50)
        loader.close()
        shapes = f'B{BATCH} L{LENGTH} 2 history columns, {len(log)} events, shuffled, one process'
        return record(name, shapes, 0, timed, BATCH, idle, filled=round(filled, 3))
