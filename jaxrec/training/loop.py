"""The training loop, to be read from top to bottom.

Order within a step: train, report, evaluate, save, stop. A stopped run saves everything that the next line of
its metrics depends on, so a resumed run writes the lines an unbroken one would have written.
"""

import contextlib
import dataclasses
import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import tqdm

from jaxrec.embeddings import check_ids
from jaxrec.parallel import put_batch
from jaxrec.training.checkpoint import Checkpoints
from jaxrec.training.state import Setup, TrainState
from jaxrec.training.step import TrainStep
from jaxrec.training.writers import MetricWriter

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Progress:
    """What the loop remembers beside the state; saved with every checkpoint.

    Attributes:
      best: best monitored value so far, None before the first evaluation.
      best_step: its step.
      bad: evaluations since then.
      done: whether early stopping ended the run.
      window: {metric: [sum, count]} of the steps since the last report.
      start: steps taken before this run, by the one it was started from.
    """

    best: float | None = None
    best_step: int = 0
    bad: int = 0
    done: bool = False
    window: dict[str, list] = dataclasses.field(default_factory=dict)
    start: int = 0

    def add(self, metrics: Mapping[str, float]) -> None:
        """Adds one step's metrics to the window."""
        for name, value in metrics.items():
            held = self.window.setdefault(name, [0.0, 0])
            held[0], held[1] = held[0] + value, held[1] + 1

    def judge(self, value: float, step: int, sign: int, patience: int | None) -> None:
        """Takes in a monitored value and decides whether patience has run out."""
        if self.best is None or sign * value > sign * self.best:
            self.best, self.best_step, self.bad = value, step, 0
        else:
            self.bad += 1
        self.done = patience is not None and self.bad > patience


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """When the loop does what; steps count optimizer steps, intervals from where the run started.

    Attributes:
      steps: where training ends.
      log_every: steps between reports.
      eval_every: steps between evaluations; the last step is always evaluated.
      checkpoint_every: steps between checkpoints, beside those after evaluations; None for those alone.
      monitor: the metric that chooses the best checkpoint.
      maximize: whether a larger one is better.
      patience: evaluations without a new best that are tolerated; None never stops early.
    """

    steps: int
    log_every: int = 100
    eval_every: int = 1000
    checkpoint_every: int | None = None
    monitor: str = 'auc'
    maximize: bool = True
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ('steps', 'log_every', 'eval_every', 'checkpoint_every'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f'train.{name} = {value}: steps are counted from 1, give at least 1')
        if self.patience is not None and self.patience < 0:
            raise ValueError(f'train.patience = {self.patience}: give 0 or more evaluations, or None')


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
) -> tuple[TrainState, Progress, bool]:
    """Trains until the last step, until patience runs out, or until SIGTERM.

    Args:
      setup: task and mesh.
      step_fn: from `make_train_step`.
      state: where to start; donated.
      progress: what the loop remembers of earlier steps.
      loader: the Grain iterator, at the state's step.
      evaluate: state -> {metric: value} on validation.
      checkpoints: where to save.
      writer: where to report.
      options: when to do what.

    Returns:
      The last state, the progress, and whether a signal ended the run early.

    Raises:
      ValueError: a loss that is not finite, an id out of range, or metrics without the monitored one.
    """
    rows = {name: spec.rows for name, spec in setup.task.tables.items()}
    # (step, metrics): scalars stay on the device until a report needs them.
    pending: list[tuple[int, dict[str, jax.Array]]] = []

    def collect() -> None:
        for at, metrics in jax.device_get(pending):
            values = {name: float(value) for name, value in metrics.items()}
            _require_finite(values, at)
            progress.add(values)
        pending.clear()

    def save(metrics: Mapping[str, float] | None = None) -> None:
        collect()
        checkpoints.save(state, dataclasses.asdict(progress), table_rows=rows, data=loader, metrics=metrics)

    start = since = int(state.step)
    began = time.perf_counter()
    with _stop_signal() as stopped, _bar(options.steps, start) as bar:
        for step in range(start + 1, options.steps + 1):
            if progress.done:
                break
            batch, taken = next(loader), step - progress.start
            check_ids(setup.task.tables, setup.task.ids(batch))
            state, metrics = step_fn(state, put_batch(batch, setup.mesh))
            pending.append((step, metrics))
            bar.update()
            if taken % options.log_every == 0 or step == options.steps:
                collect()
                pace = (step - since) / (time.perf_counter() - began)
                writer.write(step, 'train', _report(progress), f'{pace:.0f} steps/s')
                since, began = step, time.perf_counter()
            if taken % options.eval_every == 0 or step == options.steps:
                collect()  # a loss that is not finite is its own error, not that of an evaluation
                scores = evaluate(state)
                _require(scores, options.monitor)
                writer.write(step, 'validation', scores)
                progress.judge(scores[options.monitor], step, 1 if options.maximize else -1, options.patience)
                save(scores)
                bar.set_postfix_str(
                    f'{options.monitor} {scores[options.monitor]:.4f}, best {progress.best:.4f}'
                )
            elif stopped or (options.checkpoint_every and taken % options.checkpoint_every == 0):
                save()
            if stopped:
                log.info('stopped by a signal; step %d is saved, the same command goes on from it', step)
                return state, progress, True
    return state, progress, False


def _report(progress: Progress) -> dict[str, Any]:
    means = {name: total / count for name, (total, count) in progress.window.items()}
    progress.window.clear()
    return means


def _require_finite(metrics: Mapping[str, float], step: int) -> None:
    if bad := [name for name, value in metrics.items() if not math.isfinite(value)]:
        raise ValueError(
            f'{", ".join(bad)} not finite in step {step}; the checkpoints before it are intact. '
            'Lower train.learning_rate or train.row_learning_rate, or set train.clip_norm'
        )


def _require(scores: Mapping[str, float], monitor: str) -> None:
    if monitor not in scores:
        raise ValueError(
            f'train.monitor = {monitor!r} is not among the metrics {sorted(scores)}; name one of them'
        )


@contextlib.contextmanager
def _stop_signal() -> Iterator[list]:
    """Yields a list that fills when SIGTERM arrives; the handler that was there returns afterwards."""
    received: list[int] = []
    try:
        before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    except ValueError:  # only the main thread may; a caller's thread keeps its own way of stopping
        yield received
        return
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def _bar(steps: int, start: int) -> tqdm.tqdm:
    # Elsewhere than on a terminal the log lines of the writer show progress.
    return tqdm.tqdm(
        total=steps, initial=start, unit='step', disable=not sys.stderr.isatty(), dynamic_ncols=True
    )
