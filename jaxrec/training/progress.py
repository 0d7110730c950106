"""What surrounds the loop: its options, what it remembers between steps, its bar, and the wish to stop."""

import contextlib
import dataclasses
import signal
import sys
from collections.abc import Iterator, Mapping

import tqdm


@dataclasses.dataclass
class Progress:
    """What the loop remembers beside the state; saved with every checkpoint.

    Attributes:
      best: best monitored value so far, None before the first evaluation.
      best_step: its step.
      bad: evaluations since then.
      done: whether early stopping ended the run.
      window: {metric: [sum, count]} of the steps since the last report.
    """

    best: float | None = None
    best_step: int = 0
    bad: int = 0
    done: bool = False
    window: dict[str, list] = dataclasses.field(default_factory=dict)

    def add(self, metrics: Mapping[str, float]) -> None:
        """Adds one step's metrics to the window."""
        for name, value in metrics.items():
            held = self.window.setdefault(name, [0.0, 0])
            held[0], held[1] = held[0] + value, held[1] + 1

    def report(self) -> dict[str, float]:
        """Returns the means over the window, and empties it."""
        means = {name: total / count for name, (total, count) in self.window.items()}
        self.window.clear()
        return means

    def judge(self, value: float, step: int, sign: int, patience: int | None) -> None:
        """Takes in a monitored value and decides whether patience has run out."""
        if self.best is None or sign * value > sign * self.best:
            self.best, self.best_step, self.bad = value, step, 0
        else:
            self.bad += 1
        self.done = patience is not None and self.bad > patience


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """When the loop does what; steps count optimizer steps.

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


@contextlib.contextmanager
def stop_signal() -> Iterator[list[int]]:
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


def progress_bar(steps: int, start: int) -> tqdm.tqdm:
    """Makes a bar of training steps for a terminal; elsewhere the log lines of the writer show progress.

    Args:
      steps: where training ends.
      start: steps already taken.

    Returns:
      The bar, a context manager.
    """
    return tqdm.tqdm(
        total=steps, initial=start, unit='step', disable=not sys.stderr.isatty(), dynamic_ncols=True
    )
