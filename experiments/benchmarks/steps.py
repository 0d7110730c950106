"""Timed training steps and predictions of a model, each from a host batch on."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from jaxrec.embeddings import make_row_optimizer
from jaxrec.parallel import make_mesh, put_batch
from jaxrec.runs.timing import Timed, measure, record, time_training
from jaxrec.training.state import Setup, TrainState, init_state
from jaxrec.training.step import make_predict_step
from jaxrec.training.task import Task

Batches = Iterator[Mapping[str, np.ndarray]]
HostBatches = Sequence[Mapping[str, np.ndarray]]
RATES = {'row_adagrad': 0.05, 'lazy_adam': 1e-3}


def make_setup(task: Task, row_optimizer: str = 'row_adagrad', rate: float = 1e-3, clip_norm: float = 10.0) -> Setup:
    """A task on one device with Adam on the dense parameters and joint clipping."""
    rows = make_row_optimizer(row_optimizer, RATES[row_optimizer])
    return Setup(task, optax.adam(rate), rows, make_mesh((1, 1)), clip_norm=clip_norm)


def start(setup: Setup, batch: Mapping[str, np.ndarray]) -> TrainState:
    """A new state, for batches of these shapes."""
    return init_state(setup, put_batch(batch, setup.mesh), 0)


def count(state: TrainState) -> int:
    """Numbers that are trained."""
    return sum(x.size for x in jax.tree.leaves((state.params, state.tables)))


def time_scoring(setup: Setup, state: TrainState, batches: Batches) -> Timed:
    """Time the scoring of host batches, up to probabilities on the host."""
    predict = make_predict_step(setup)

    def call() -> Any:
        return np.asarray(predict(state, put_batch(next(batches), setup.mesh))['probability'])

    return measure(call, lambda: None)


def train_record(
    name: str, words: str, setup: Setup, batches: HostBatches, size: int, idle: float, **more: Any
) -> dict[str, Any]:
    """The record of training steps on batches of so many examples in turn."""
    state = start(setup, batches[0])
    params = count(state)
    timed, _ = time_training(setup, state, itertools.cycle(batches))
    return record(name, words, params, timed, size, idle, **more)


def infer_record(name: str, words: str, setup: Setup, batches: HostBatches, size: int, idle: float) -> dict[str, Any]:
    """The record of scoring batches of so many examples in turn."""
    state = start(setup, batches[0])
    timed = time_scoring(setup, state, itertools.cycle(batches))
    return record(name, words, count(state), timed, size, idle)
