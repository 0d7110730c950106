"""What surrounds the loop: its options, what it remembers between steps, and its bar."""

import dataclasses
import logging
import math
import sys
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import tqdm

log = logging.getLogger(__name__)


class Watch(Protocol):
    """Looks after the files that training reads."""

    def check(self) -> dict[str, Any]:
        """Returns what identifies them, plain JSON values; raises ValueError where they have changed."""


_REMEDY = (
    'With another config in another --workdir, and --warm_start to go on from this one, lower '
    'train.learning_rate or train.row_learning_rate, set train.clip_norm'
)


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
      skipped: steps so far whose update was left out.
    """

    best: float | None = None
    best_step: int = 0
    bad: int = 0
    done: bool = False
    window: dict[str, list] = dataclasses.field(default_factory=dict)
    start: int = 0
    skipped: int = 0

    def add(self, metrics: Mapping[str, float]) -> None:
        """Adds one step's metrics to the window."""
        for name, value in metrics.items():
            held = self.window.setdefault(name, [0.0, 0])
            held[0], held[1] = held[0] + value, held[1] + 1

    def take(self, step: int, metrics: Mapping[str, Any], most: int = 0) -> None:
        """Ingests the {metric: scalar} of a step, or counts it where its update was `skipped`, of which `most` may be.

        Raises:
          ValueError: one that is not finite in a step that was not skipped, or too many that were.
        """
        values = {name: float(value) for name, value in metrics.items()}
        if values.pop('skipped', 0):
            self.skip(step, most)
            return
        if bad := [name for name, value in values.items() if not math.isfinite(value)]:
            raise ValueError(
                f'{", ".join(bad)} not finite in step {step}; the checkpoints before it are intact. '
                f'{_REMEDY}, or let steps be skipped (train.skip_not_finite)'
            )
        self.add(values)

    def skip(self, step: int, most: int) -> None:
        """Counts a step whose update was left out, or raises a ValueError where that is one more than may be."""
        self.skipped += 1
        log.warning('step %d is skipped, its loss or gradient is not finite: %d so far', step, self.skipped)
        if self.skipped > most:
            raise ValueError(
                f'loss or gradient not finite in step {step}, after {most} others that train.skip_not_finite '
                f'let be skipped; the checkpoints before it are intact. {_REMEDY}, or let more be skipped'
            )

    def report(self) -> dict[str, float]:
        """Returns the means over the window, and empties it; and the steps skipped so far, if any were."""
        means = {name: total / count for name, (total, count) in self.window.items()}
        self.window.clear()
        return means | ({'skipped': self.skipped} if self.skipped else {})

    def judge(self, value: float, step: int, sign: int, patience: int | None) -> None:
        """Takes in a monitored value and decides whether patience has run out."""
        known = self.best is not None and not math.isnan(self.best)
        if self.best is None or (sign * value > sign * self.best if known else not math.isnan(value)):
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
      skip_not_finite: steps whose loss or gradient is not finite that are skipped in all; None stops at the first.
    """

    steps: int
    log_every: int = 100
    eval_every: int = 1000
    checkpoint_every: int | None = None
    monitor: str = 'auc'
    maximize: bool = True
    patience: int | None = None
    skip_not_finite: int | None = None

    def __post_init__(self) -> None:
        for name in ('steps', 'log_every', 'eval_every', 'checkpoint_every'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f'train.{name} = {value}: steps are counted from 1, give at least 1')
        if self.skip_not_finite is not None and self.skip_not_finite < 0:
            raise ValueError(
                f'train.skip_not_finite = {self.skip_not_finite}: give the steps that may be skipped, or None'
            )
        if self.patience is not None and self.patience < 0:
            raise ValueError(f'train.patience = {self.patience}: give 0 or more evaluations, or None')


def progress_bar(steps: int, start: int) -> tqdm.tqdm:
    """Makes a bar of training steps, of which `start` are taken, for a terminal; elsewhere log lines show progress."""
    quiet = not sys.stderr.isatty() or jax.process_index() > 0
    return tqdm.tqdm(total=steps, initial=start, unit='step', disable=quiet, dynamic_ncols=True)
