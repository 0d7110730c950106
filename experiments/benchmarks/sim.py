"""SIM and related models at the shapes of their peers: training steps and inference.

B batch, S short and L long window of the history, K kept.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks import histories, steps
from experiments.benchmarks.histories import COLUMNS, Shapes
from jaxrec.data.logs.schema import Column
from jaxrec.data.sources.behaviour_source import make_loader
from jaxrec.models import sim
from jaxrec.models.baselines import din
from jaxrec.models.ctr import CtrTask
from jaxrec.parallel.peak_memory import peak_mb
from jaxrec.runs.timing import record, time_training
from jaxrec.training.state import Setup

PEER = Shapes(1024, 50, 974, 500_000, 5_000)
# Amazon Books with the published preprocessing of NVIDIA's SIM, whose throughput is known for its batch.
NVIDIA = Shapes(131_072, 10, 90, 1_209_081, 2_330, users=105_925)


class Model(NamedTuple):
    """A model: its `make_task`, its options, and where it reads the long window ('history': one window of S + L)."""

    make_task: Callable[[Mapping[str, Any], Mapping[str, Any]], CtrTask]
    options: Mapping[str, Any]
    side: str = 'long'


MODELS = {
    'soft': Model(sim.make_task, {'search': 'soft'}),
    # As in the simulated table, whose rows say why.
    'soft_plain': Model(sim.make_task, {'search': 'soft', 'project': False, 'aux_softmax': True}),
    'hard': Model(sim.make_task, {'search': 'hard'}, 'kept'),
    'eta': Model(sim.make_task, {'preset': 'eta'}),
    'sdim': Model(sim.make_task, {'preset': 'sdim'}),
    'twin': Model(sim.make_task, {'preset': 'twin'}),
    'din': Model(din.make_task, {}, 'history'),
    'soft_dien': Model(sim.make_task, {'search': 'soft', 'short_model': 'dien', 'base_options': {'hidden': 96}}),
}


def make_setup(model: str, shapes: Shapes, row_optimizer: str = 'row_adagrad') -> Setup:
    """A model with Adam on the dense parameters and joint clipping."""
    make_task, options, side = MODELS[model]
    sizes = {'item': shapes.items, 'category': shapes.categories, 'user': shapes.users}
    # Rows 0 and 1 are padding and out of vocabulary.
    schema = {name: Column('categorical', name, 2 + rows, 1) for name, rows in sizes.items() if rows}
    features = {'candidate': COLUMNS, 'history': COLUMNS} | ({'user': ('user',)} if shapes.users else {})
    keep = {} if side == 'history' else {'keep': shapes.keep}
    task = make_task({'features': features, 'dim': shapes.dim, **keep, **options}, schema)
    return steps.make_setup(task, row_optimizer)


def make_batches(model: str, shapes: Shapes, number: int = 4) -> list[dict[str, np.ndarray]]:
    """Draws host batches with uniform ids and full windows."""
    rng, size, side = np.random.default_rng(0), shapes.batch, MODELS[model].side
    windows = {'history': shapes.short} | ({'long': shapes.long} if side == 'long' else {})
    if side == 'history':
        windows['history'] += shapes.long
    rows = {'item': shapes.items, 'category': shapes.categories}

    def ids(side: str, *shape: int) -> dict[str, np.ndarray]:
        draw = lambda high: rng.integers(2, 2 + high, (size, *shape)).astype(np.int32)
        return {f'{side}/{name}': draw(rows[name]) for name in COLUMNS}

    def drawn() -> dict[str, np.ndarray]:
        batch = {
            'label': rng.integers(0, 2, (size, 1)).astype(np.float32),
            'valid': np.ones((size, 1), np.float32),
            **ids('candidate', 1),
        }
        for side, length in windows.items():
            batch |= ids(side, length) | {f'{side}/length': np.full(size, length, np.int32)}
        if MODELS[model].options.get('short_model') == 'dien':
            batch |= ids('history_negative', shapes.short)
        if shapes.users:
            batch['user/user'] = rng.integers(2, 2 + shapes.users, size).astype(np.int32)
        return batch

    return [drawn() for _ in range(number)]


def described(model: str, shapes: Shapes) -> str:
    """What is run, in words."""
    options = ' '.join(f'{key}={value}' for key, value in MODELS[model].options.items())
    windows = f'L{shapes.short + shapes.long} short{shapes.short}'
    keep = '' if MODELS[model].side == 'history' else f' top{shapes.keep}'
    tables = f'V{shapes.items} C{shapes.categories}' + (f' U{shapes.users}' if shapes.users else '')
    return f'B{shapes.batch} {windows}{keep} {tables} D{shapes.dim}x2 MLP200-80 fp32, {options or "DIN"}'


def train(
    name: str, model: str = 'soft', shapes: Shapes | None = None, row_optimizer: str = 'row_adagrad'
) -> dict[str, Any]:
    """Times training steps on batches of uniform ids and full windows."""
    shapes = shapes or PEER
    idle, setup, batches = peak_mb(), make_setup(model, shapes, row_optimizer), make_batches(model, shapes)
    words = f'{described(model, shapes)}, uniform ids, full windows'
    return steps.train_record(name, words, setup, batches, shapes.batch, idle, row_optimizer=row_optimizer)


def train_nvidia(name: str) -> dict[str, Any]:
    """The same at the batch, windows and tables of NVIDIA's SIM, with DIEN beside; meant for a GPU."""
    return train(name, 'soft_dien', NVIDIA)


def infer(name: str, model: str = 'soft') -> dict[str, Any]:
    """Times scoring from host to host arrays."""
    idle, setup, batches = peak_mb(), make_setup(model, PEER), make_batches(model, PEER)
    words = f'{described(model, PEER)}, uniform ids, full windows'
    return steps.infer_record(name, words, setup, batches, PEER.batch, idle)


def train_from_log(name: str, model: str = 'hard') -> dict[str, Any]:
    """Times training steps with the loader before them, and its search, over histories of a compiled log."""
    with tempfile.TemporaryDirectory() as folder:
        return from_log(name, model, PEER, Path(folder) / 'log')


def from_log(name: str, model: str, shapes: Shapes, folder: Path, *, training: bool = True) -> dict[str, Any]:
    """Time training steps, or scoring, with the loader and its search; the log is generated where there is none."""
    log, side = histories.open_log(folder, shapes), MODELS[model].side
    idle, setup = peak_mb(), make_setup(model, shapes)
    source = histories.make_source(log, shapes, side)
    share = round(histories.filled(source, side), 3)
    state = steps.start(setup, source[0])
    params, loader = steps.count(state), make_loader(source)
    timed = time_training(setup, state, loader)[0] if training else steps.time_scoring(setup, state, loader)
    loader.close()
    words = f'{described(model, shapes)}, loader and search included, {len(log)} events'
    return record(name, words, params, timed, shapes.batch, idle, filled=share)
