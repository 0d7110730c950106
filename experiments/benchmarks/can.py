"""CAN on its bases at the shapes of its peers: training steps and inference. B batch, L history."""

from typing import Any

import numpy as np

from experiments.benchmarks import steps
from jaxrec.data.logs.schema import Column
from jaxrec.models.can import make_task
from jaxrec.parallel.peak_memory import peak_mb
from jaxrec.training.state import Setup

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
    task = make_task({'features': FEATURES, 'base': base, 'base_options': BASES[base][1]}, schema)
    return steps.make_setup(task, row_optimizer)


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
    words = SHAPES + BASES[base][0]
    return steps.train_record(name, words, setup, batches, BATCH, idle, row_optimizer=row_optimizer)


def infer(name: str, base: str = 'dnn') -> dict[str, Any]:
    """Times scoring from host to host arrays."""
    idle, setup, batches = peak_mb(), make_setup('row_adagrad', base), make_batches()
    return steps.infer_record(name, SHAPES + BASES[base][0], setup, batches, BATCH, idle)
