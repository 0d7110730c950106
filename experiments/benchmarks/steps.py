"""What is timed of a model: training steps and predictions, each from a host batch on.

B batch.
"""

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
    """One training step: host batch to device, lookup, forward, backward, clipping, both updates.

    Args:
      setup: task, optimizers and mesh.
      state: the first; donated.
      batches: host batches without end, at least 4 different ones.
      warm: as for `measure`.

    Returns:
      What was measured, and the last state.
    """
    step = make_train_step(setup)
    held: dict[str, Any] = {'state': state}

    def call() -> None:
        held['state'], held['metrics'] = step(held['state'], put_batch(next(batches), setup.mesh))
        await_on_cpu(held['state'])  # as the training loop does

    timed = measure(call, lambda: jax.block_until_ready(held), warm)
    return timed, held['state']


def time_scoring(setup: Setup, state: TrainState, batches: Batches) -> Timed:
    """One host batch scored, and its probabilities brought back to the host.

    Args:
      setup: task and mesh.
      state: params, model_state and tables.
      batches: host batches without end.

    Returns:
      What was measured.
    """
    predict = make_predict_step(setup)

    def call() -> Any:
        return np.asarray(predict(state, put_batch(next(batches), setup.mesh))['probability'])

    return measure(call, lambda: None)
