"""Predicting a whole source and handing the predictions to an evaluator.

B batch.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from jaxrec.embeddings import check_ids
from jaxrec.parallel import put_batch
from jaxrec.parallel.mesh import take_local
from jaxrec.parallel.processes import gather
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
      predict: from `make_predict_step`.
      batches: host batches of one shape; of several processes each gives its slices of the same number.

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
    return of_all_processes(evaluator)


def of_all_processes(evaluator: Evaluator) -> Evaluator:
    """Joins what the evaluators of all processes have ingested: the same evaluator in each of them."""
    return functools.reduce(lambda merged, other: merged.merge(other), gather(evaluator))


def _take(evaluator: Evaluator, batch: Mapping[str, np.ndarray], predictions: Mapping[str, jax.Array]) -> None:
    size = len(next(iter(batch.values())))
    evaluator.add(batch, {name: take_local(value)[:size] for name, value in predictions.items()})
