"""Predicting a whole source and handing the predictions to an evaluator.

B batch.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from jaxrec.embeddings import check_ids
from jaxrec.parallel import put_batch
from jaxrec.training.state import Setup, TrainState
from jaxrec.training.task import Batch, Evaluator


def evaluate(
    setup: Setup,
    predict: Callable[[TrainState, Batch], dict[str, jax.Array]],
    state: TrainState,
    batches: Iterable[Mapping[str, np.ndarray]],
) -> Evaluator:
    """Runs every batch through the model.

    Args:
      setup: task and mesh.
      predict: from `make_predict_step`.
      state: params, model_state and tables.
      batches: host batches of one shape.

    Returns:
      The task's evaluator, filled; `compute()` gives the metrics.

    Raises:
      ValueError: an id that no table row answers to.
    """
    evaluator = setup.task.evaluator()
    waiting: tuple[Any, Any] | None = None
    for batch in batches:
        check_ids(setup.task.tables, setup.task.given_ids(batch))
        predictions = predict(state, put_batch(batch, setup.mesh))
        if waiting is not None:  # fetched one batch late, so that the device computes while the host counts
            _take(evaluator, *waiting)
        waiting = batch, predictions
    if waiting is not None:
        _take(evaluator, *waiting)
    return evaluator


def _take(
    evaluator: Evaluator, batch: Mapping[str, np.ndarray], predictions: Mapping[str, jax.Array]
) -> None:
    size = len(next(iter(batch.values())))
    evaluator.add(batch, {name: np.asarray(value)[:size] for name, value in predictions.items()})
