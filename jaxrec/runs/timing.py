"""Timing: the median of several windows after a warm-up, memory above an idle process, one JSON line."""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import flax
import jax

from jaxrec.parallel.peak_memory import forget_peak, forgotten, peak_mb, peak_since_mb

WINDOWS, WINDOW_S = 7, 1.5
Timed = tuple[float, list[float]]  # median seconds a call, and the mean of each window


def measure(call: Callable[[], Any], wait: Callable[[], Any], warm: int = 3) -> Timed:
    """Times a call; the peak of memory begins anew after the warm-up.

    Args:
      call: starts one unit of work.
      wait: returns when all started work has ended.
      warm: calls before the first window.

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
    repeats = max(1, round(WINDOW_S / max(time.perf_counter() - start, 1e-6)))
    means = []
    for _ in range(WINDOWS):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        wait()
        means.append((time.perf_counter() - start) / repeats)
    return statistics.median(means), means


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
