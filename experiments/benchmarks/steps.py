"""Timed training steps and predictions of a model, each from a host batch on."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxrec.parallel import put_batch
from jaxrec.parallel.host_memory import await_on_cpu
from jaxrec.runs.timing import Timed, measure
from jaxrec.training.state import Setup, TrainState
from jaxrec.training.step import make_predict_step, make_train_step

Batches = Iterator[Mapping[str, np.ndarray]]


def count(state: TrainState) -> int:
    """Numbers that are trained."""
    return sum(x.size for x in jax.tree.leaves((state.params, state.tables)))


def time_training(setup: Setup, state: TrainState, batches: Batches, warm: int = 3) -> tuple[Timed, TrainState]:
    """Time steps: host batch to device, lookup, forward, backward, clipping, both updates; `state` is donated."""
    step = make_train_step(setup)
    held: dict[str, Any] = {'state': state}

    def call() -> None:
        held['state'], held['metrics'] = step(held['state'], put_batch(next(batches), setup.mesh))
        await_on_cpu(held['state'])  # as the training loop does

    timed = measure(call, lambda: jax.block_until_ready(held), warm)
    return timed, held['state']


def time_scoring(setup: Setup, state: TrainState, batches: Batches) -> Timed:
    """Time the scoring of host batches, up to probabilities on the host."""
    predict = make_predict_step(setup)

    def call() -> Any:
        return np.asarray(predict(state, put_batch(next(batches), setup.mesh))['probability'])

    return measure(call, lambda: None)
