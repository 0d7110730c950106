"""The training loop, to be read from top to bottom.

Order within a step: train, report, evaluate, save, stop. A stopped run saves all that its next metrics depend on, so a
resumed run writes the lines of an unbroken one.
"""

import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np

from jaxrec.embeddings import check_ids
from jaxrec.parallel import put_batch
from jaxrec.parallel.host_memory import await_on_cpu
from jaxrec.training.checkpoints import Checkpoints
from jaxrec.training.progress import LoopOptions, Progress, Watch, progress_bar
from jaxrec.training.state import Setup, TrainState
from jaxrec.training.step import TrainStep
from jaxrec.training.stopping import stop_agreed, stop_signal
from jaxrec.training.writers import MetricWriter

log = logging.getLogger(__name__)


def train(
    setup: Setup,
    step_fn: TrainStep,
    state: TrainState,
    progress: Progress,
    loader: Iterator[Mapping[str, np.ndarray]],
    evaluate: Callable[[TrainState], dict[str, float]],
    checkpoints: Checkpoints,
    writer: MetricWriter,
    options: LoopOptions,
    *,
    watch: Watch | None = None,
) -> tuple[TrainState, Progress, bool]:
    """Trains until the last step, until patience runs out, or until SIGTERM or SIGINT.

    Args:
      step_fn: from `make_train_step`.
      progress: what the loop remembers of earlier steps.
      loader: the Grain iterator, at the state's step.
      evaluate: state -> {metric: value} on validation.
      checkpoints: where to save.
      writer: where to report.
      options: when to do what.
      watch: looks after the log: no checkpoint is written once its files have changed.

    Returns:
      The last state, the progress, and whether a signal ended the run early.

    Raises:
      ValueError: a loss that is not finite, an id out of range, metrics without the monitored one, a log that
        has changed, or a full disk.
    """
    rows = {name: spec.rows for name, spec in setup.task.tables.items()}
    write = functools.partial(checkpoints.save, table_rows=rows, data=loader)
    # (step, metrics): scalars stay on the device until a report needs them.
    pending: list[tuple[int, dict[str, jax.Array]]] = []

    def collect() -> None:
        for at, metrics in jax.device_get(pending):
            progress.take(at, metrics, options.skip_not_finite or 0)
        pending.clear()

    def save(metrics: Mapping[str, float] | None = None) -> None:
        collect()
        told = watch.check() if watch else None
        write(state, dataclasses.asdict(progress), metrics=metrics, trained_on=told)

    start, stop = int(state.step), False
    since = start
    began = time.perf_counter()
    with stop_signal() as stopped, progress_bar(options.steps, start) as bar:
        for step in range(start + 1, options.steps + 1):
            if progress.done or stop:
                break
            batch, taken = next(loader), step - progress.start
            check_ids(setup.task.tables, setup.task.given_ids(batch))
            state, metrics = step_fn(state, put_batch(batch, setup.mesh))
            await_on_cpu(state)
            pending.append((step, metrics))
            bar.update()
            # Asked once: a signal may come while this step is reported or saved.
            stop = stop_agreed(stopped, step)
            if taken % options.log_every == 0 or step == options.steps:
                collect()
                pace = (step - since) / (time.perf_counter() - began)
                writer.write(step, 'train', progress.report(), f'{pace:.0f} steps/s')
                since, began = step, time.perf_counter()
            if taken % options.eval_every == 0 or step == options.steps:
                collect()  # a loss that is not finite is its own error, not that of an evaluation
                scores = evaluate(state)
                _require(scores, options.monitor, step)
                score = scores[options.monitor]
                writer.write(step, 'validation', scores)
                progress.judge(score, step, 1 if options.maximize else -1, options.patience)
                save(scores)
                bar.set_postfix_str(f'{options.monitor} {score:.4f}, best {progress.best:.4f}')
            elif stop or (options.checkpoint_every and taken % options.checkpoint_every == 0):
                save()
        # A signal may have come while the last step was judged; several processes have agreed on theirs.
        if stop := stop or (jax.process_count() == 1 and bool(stopped)):
            log.info('stopped by a signal; step %d is saved, the same command goes on from it', state.step)
    return state, progress, stop


def _require(scores: Mapping[str, float], monitor: str, step: int) -> None:
    if monitor not in scores:
        raise ValueError(f'train.monitor = {monitor!r} is not among the metrics {sorted(scores)}; name one of them')
    if math.isnan(scores[monitor]):
        log.warning(
            'step %d: %s is not a number, the validation part holds nothing that it is of: no checkpoint is '
            'better than another by it; give such examples, or another train.monitor',
            step,
            monitor,
        )
