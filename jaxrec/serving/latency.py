"""Latency figures of a running service: percentiles of the latest calls, in memory that does not grow."""

import threading

import numpy as np

PERCENTILES = (50, 90, 99)


class Latencies:
    """The latest durations of one kind of call."""

    def __init__(self, window: int = 4096):
        """Begins empty; `window` of the latest calls count."""
        self._seconds, self._count, self._lock = np.zeros(window), 0, threading.Lock()

    def add(self, seconds: float) -> None:
        """Takes in one call."""
        with self._lock:
            self._seconds[self._count % len(self._seconds)] = seconds
            self._count += 1

    def summary(self) -> dict[str, float]:
        """{'count': calls ever}, and the `percentiles` of those in the window."""
        with self._lock:
            count, seconds = self._count, self._seconds[: self._count].copy()
        return {'count': count, **percentiles(seconds)}


def percentiles(seconds: np.ndarray) -> dict[str, float]:
    """Percentiles of durations, each the least that so many per cent do not exceed.

    Args:
      seconds: float [n].

    Returns:
      {'p50_ms', 'p90_ms', 'p99_ms', 'max_ms'} in milliseconds; nothing for n = 0.
    """
    if not len(seconds):
        return {}
    found = {f'p{p}_ms': round(float(np.percentile(seconds, p, method='inverted_cdf')) * 1e3, 3) for p in PERCENTILES}
    return found | {'max_ms': round(float(seconds.max()) * 1e3, 3)}
