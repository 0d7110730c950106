"""CAN on its bases at the shapes of its peers: training steps and inference. B batch, L history."""

import itertools
from typing import Any

import numpy as np
import optax

from experiments.benchmarks.steps import count, time_scoring, time_training
from jaxrec.data.logs.schema import Column
from jaxrec.embeddings import make_row_optimizer
from jaxrec.models.can import make_task
from jaxrec.parallel import make_mesh, put_batch
from jaxrec.parallel.peak_memory import peak_mb
from jaxrec.runs.timing import record
from jaxrec.training.state import Setup, init_state

BATCH, LENGTH, ITEMS, CATEGORIES = 1024, 100, 500_000, 5_000
SHAPES = 'B1024 L100 V500k C5k D18x2 micro16-8-4 orders3 MLP200-80 uniform ids, full mask, fp32'
# What stands in SHAPES beside the base's name, and what the base is told.
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    'dnn': ('', {}),
    'din': (' DIN attention80-40', {'attention': (80, 40)}),
    'dien': (' DIEN hidden36 attention36 auxiliary loss', {'hidden': 36, 'attention': (36,)}),
}
FEATURES = {'candidate': ('item', 'category'), 'history': ('item', 'category')}


def make_setup(row_optimizer: str, base: str = 'dnn') -> Setup:
    """CAN as the table reports it, with Adam on the dense parameters and joint clipping."""
    schema = {
        'item': Column('categorical', 'item', ITEMS, 1),
        'category': Column('categorical', 'category', CATEGORIES, 1),
    }
    rate = {'row_adagrad': 0.05, 'lazy_adam': 1e-3}[row_optimizer]
    return Setup(
        make_task({'features': FEATURES, 'base': base, 'base_options': BASES[base][1]}, schema),
        optax.adam(1e-3),
        make_row_optimizer(row_optimizer, rate),
        make_mesh((1, 1)),
        clip_norm=10.0,
    )


def make_batches(number: int = 4, negatives: bool = False) -> list[dict[str, np.ndarray]]:
    """Draws host batches with uniform ids and full histories."""
    rng = np.random.default_rng(0)

    def ids(rows: int, *shape: int) -> np.ndarray:
        return rng.integers(2, rows, (BATCH, *shape)).astype(np.int32)

    def drawn() -> dict[str, np.ndarray]:
        return {'history_negative/item': ids(ITEMS, LENGTH), 'history_negative/category': ids(CATEGORIES, LENGTH)}

    return [
        {
            'candidate/item': ids(ITEMS, 1),
            'candidate/category': ids(CATEGORIES, 1),
            'history/item': ids(ITEMS, LENGTH),
            'history/category': ids(CATEGORIES, LENGTH),
            'history/length': np.full(BATCH, LENGTH, np.int32),
            'label': rng.integers(0, 2, (BATCH, 1)).astype(np.float32),
            'valid': np.ones((BATCH, 1), np.float32),
            **(drawn() if negatives else {}),
        }
        for _ in range(number)
    ]


def train(name: str, row_optimizer: str = 'row_adagrad', base: str = 'dnn') -> dict[str, Any]:
    """Times training steps."""
    idle, setup, batches = peak_mb(), make_setup(row_optimizer, base), make_batches(negatives=base == 'dien')
    state = init_state(setup, put_batch(batches[0], setup.mesh), 0)
    params = count(state)
    timed, _ = time_training(setup, state, itertools.cycle(batches))
    return record(name, SHAPES + BASES[base][0], params, timed, BATCH, idle, row_optimizer=row_optimizer)


def infer(name: str, base: str = 'dnn') -> dict[str, Any]:
    """Times scoring from host to host arrays."""
    idle, setup, batches = peak_mb(), make_setup('row_adagrad', base), make_batches()
    state = init_state(setup, put_batch(batches[0], setup.mesh), 0)
    timed = time_scoring(setup, state, itertools.cycle(batches))
    return record(name, SHAPES + BASES[base][0], count(state), timed, BATCH, idle)
