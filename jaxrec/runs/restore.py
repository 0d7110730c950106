"""Reads the model of a checkpoint, and evaluates it on a part of the log."""

from pathlib import Path

import numpy as np

from jaxrec.data.logs.log_watch import require_same_log
from jaxrec.data.sources.batch_source import BatchSource
from jaxrec.evaluation.ctr import CtrEvaluator
from jaxrec.evaluation.ranking import RankingEvaluator
from jaxrec.runs.build import Experiment, batches
from jaxrec.runs.comparison.slices import COLD_ITEMS, judge_slice
from jaxrec.runs.workdir import open_checkpoints, table_rows
from jaxrec.training.evaluate import evaluate, of_all_processes
from jaxrec.training.state import TrainState, abstract_state
from jaxrec.training.step import make_predict_step
from jaxrec.training.task import Evaluator


def score(run: Experiment, workdir: Path, part: str = 'test', step: int | None = None) -> tuple[Evaluator, int]:
    """Restores a checkpoint (None: the best) and predicts one part of the log.

    Returns:
      The filled evaluator and the step.

    Raises:
      ValueError: there is no such checkpoint.
    """
    source = run.source(part)
    state, step = restore_model(run, workdir, step, source)
    return evaluate(run.setup, make_predict_step(run.setup), state, batches(source)), step


def metrics_of(
    run: Experiment, workdir: Path, part: str = 'test', step: int | None = None
) -> tuple[dict[str, float], int]:
    """The metrics of a checkpoint on one part of the log, and its step; arguments and errors as `score`."""
    evaluator, step = score(run, workdir, part, step)
    values = dict(evaluator.compute())
    if isinstance(evaluator, RankingEvaluator):
        values |= judge_slice(COLD_ITEMS, run, evaluator)[0]
    return values, step


def restore_model(
    run: Experiment, workdir: Path, step: int | None = None, source: BatchSource | None = None
) -> tuple[TrainState, int]:
    """Reads the model of a checkpoint.

    Args:
      run: the experiment, on any mesh.
      workdir: of a trained run.
      step: which checkpoint; None takes the best.
      source: of batches, for their shapes; None takes the training part.

    Returns:
      The state, its optimizer left abstract, and the step.

    Raises:
      ValueError: there is no such checkpoint, or it was trained on another log.
    """
    example = run.example(source or run.source('train', shuffle=True))
    with open_checkpoints(run, workdir, read_only=True) as checkpoints:
        step = checkpoints.best if step is None else step
        abstract = abstract_state(run.setup, example)
        restored = checkpoints.restore(abstract, step, table_rows=table_rows(run), model_only=True)
        require_same_log(restored.trained_on, run.log)
        return restored.state, checkpoints.steps[-1] if step is None else step


def ceiling(run: Experiment, part: str = 'test') -> dict[str, float] | None:
    """The metrics that the true click probabilities reach on a part, or None for logs without them."""
    if 'true_ctr' not in run.log.events.names:
        return None
    evaluator = CtrEvaluator()
    truth = np.asarray(run.log.events['true_ctr'])
    for batch in batches(run.source(part)):
        evaluator.add(batch, {'probability': truth[batch['host/event']]})
    return of_all_processes(evaluator).compute()
