"""Timing: the median of several windows after a warm-up, memory above an idle process, one JSON line."""

import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax
import jax
import numpy as np

from jaxrec.parallel import put_batch
from jaxrec.parallel.host_memory import await_on_cpu
from jaxrec.parallel.peak_memory import forget_peak, forgotten, peak_mb, peak_since_mb
from jaxrec.training.state import Setup, TrainState, init_state
from jaxrec.training.step import make_fused_step, make_train_step

WINDOWS, WINDOW_S = 7, 1.5
Timed = tuple[float, list[float]]  # median seconds a call, and the mean of each window


def measure(call: Callable[[], Any], wait: Callable[[], Any], warm: int = 3, window_s: float | None = None) -> Timed:
    """Times a call; the peak of memory begins anew after the warm-up.

    Args:
      call: starts one unit of work.
      wait: returns when all started work has ended.
      warm: calls before the first window.
      window_s: seconds of a window; None takes `WINDOW_S`.

    Returns:
      The median of the windows' mean seconds a call, and all means.
    """
    for _ in range(warm):
        call()
    wait()
    forget_peak()
    start = time.perf_counter()
    call()
    wait()
    repeats = max(1, round((window_s or WINDOW_S) / max(time.perf_counter() - start, 1e-6)))
    means = []
    for _ in range(WINDOWS):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        wait()
        means.append((time.perf_counter() - start) / repeats)
    return statistics.median(means), means


def time_training(
    setup: Setup,
    state: TrainState,
    batches: Iterator[Mapping[str, np.ndarray]],
    warm: int = 3,
    window_s: float | None = None,
) -> tuple[Timed, TrainState]:
    """Times steps: host batch to device, lookup, forward, backward, clipping, both updates; `state` is donated."""
    step = make_train_step(setup)
    held: dict[str, Any] = {'state': state}

    def call() -> None:
        held['state'], held['metrics'] = step(held['state'], put_batch(next(batches), setup.mesh))
        await_on_cpu(held['state'])  # as the training loop does

    timed = measure(call, lambda: jax.block_until_ready(held), warm, window_s)
    return timed, held['state']


def time_steps(
    setup: Setup, batches: Sequence[Mapping[str, np.ndarray]], window_s: float | None = None
) -> tuple[Timed, float, TrainState]:
    """Times the steps of a new state, and measures their temporary memory.

    Args:
      setup: with its tables on the device.
      batches: host batches, taken in turn.
      window_s: as of `measure`.

    Returns:
      The times as of `measure`; MiB of each device besides inputs and outputs, NaN on a backend that does not report
      it; and the state.
    """
    example = put_batch(batches[0], setup.mesh)
    state = init_state(setup, example, 0)
    memory = make_fused_step(setup).lower(state, example).compile().memory_analysis()
    timed, state = time_training(setup, state, itertools.cycle(batches), 2, window_s)
    return timed, float('nan') if memory is None else memory.temp_size_in_bytes / 2**20, state


def record(
    task: str, shapes: str, params: int, timed: Timed, examples: int, idle_mb: float, **more: Any
) -> dict[str, Any]:
    """Builds the record of a benchmark: of memory the peak, compilation included, and that of the windows.

    Args:
      shapes: what was run, in words.
      params: numbers that are trained.
      timed: from `measure`.
      examples: examples a call.
      idle_mb: peak memory before the benchmark made anything.
      **more: further keys.
    """
    seconds, means = timed
    return {
        'task': task,
        'shapes': shapes,
        'params': params,
        'step_ms': round(seconds * 1e3, 3),
        'examples_per_s': round(examples / seconds, 1),
        'peak_rss_mb': round(peak_mb() - idle_mb),
        'windows_rss_mb': round(peak_since_mb() - idle_mb) if forgotten() else None,
        'windows': len(means),
        'min_ms': round(min(means) * 1e3, 3),
        'max_ms': round(max(means) * 1e3, 3),
        'device': jax.devices()[0].device_kind,
        'versions': f'jax {jax.__version__} flax {flax.__version__}',
        **more,
    }


def emit(line: dict[str, Any]) -> None:
    """Prints a record as one JSON line."""
    print(json.dumps(line), flush=True)
