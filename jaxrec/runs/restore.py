"""Reads the model of a checkpoint, evaluates it on a part of the log, and exports its scorer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.logs.log_watch import require_same_log
from jaxrec.data.sources.batch_source import BatchSource
from jaxrec.evaluation.ctr import CtrEvaluator
from jaxrec.evaluation.ranking import RankingEvaluator
from jaxrec.options import plain
from jaxrec.runs.build import Experiment, batches
from jaxrec.runs.comparison.slices import COLD_ITEMS, judge_slice
from jaxrec.runs.workdir import open_checkpoints, table_rows
from jaxrec.training.evaluate import evaluate, of_all_processes
from jaxrec.training.export import export_scorer
from jaxrec.training.state import TrainState, abstract_state
from jaxrec.training.step import make_predict_step
from jaxrec.training.task import Evaluator


def score(run: Experiment, workdir: Path, part: str = 'test', step: int | None = None) -> tuple[Evaluator, int]:
    """Restores a checkpoint (None: the best), predicts one part of the log, and returns the evaluator and the step.

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
    """Reads the model of a checkpoint (None: the best) on any mesh, with batches of the source or the training part.

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


def export_run(
    run: Experiment,
    workdir: Path,
    output: str | Path,
    step: int | None = None,
    bake: bool = False,
    batch_size: int | None = None,
    platforms: Sequence[str] | None = None,
) -> tuple[dict[str, Any], int]:
    """Exports the model of a checkpoint; `jaxrec.training.export.load_scorer` reads the file.

    Args:
      bake: weights are constants of the program instead of its arguments.
      batch_size: a fixed number of rows; None for any.
      platforms: such as ('cpu', 'tpu'); None for the one at hand.
    """
    state, step = restore_model(run, workdir, step, run.source('train', shuffle=True))
    about = {
        'step': step,
        'features': plain(run.config.features),
        'label': plain(run.data['label']),
        'history_length': run.data.get('history_length', 0),
        'lifelong': plain(run.data.get('lifelong')),
        'time_gap': plain(run.data.get('time_gap')),
        'log': run.log.manifest['fingerprint'],
    }
    example = run.source('train')[0]  # as requests are: of whole histories where training read samples
    return export_scorer(
        output, run.setup, state, example, bake=bake, batch_size=batch_size, platforms=platforms, about=about
    ), step
