"""Percentiles against sorting, and a window that forgets."""

import numpy as np
import pytest

from jaxrec.serving.service import Latencies, percentiles


@pytest.mark.parametrize('count', [1, 2, 99, 100, 101, 1000])
def test_a_percentile_is_the_least_that_so_many_do_not_exceed(count):
    seconds = np.random.default_rng(0).exponential(size=count)
    found = percentiles(seconds)
    for p in (50, 90, 99):
        wanted = sorted(seconds)[-(-count * p // 100) - 1]
        assert found[f'p{p}_ms'] == round(wanted * 1e3, 3)
    assert found['max_ms'] == round(max(seconds) * 1e3, 3)


def test_the_window_forgets_and_the_count_does_not():
    latencies = Latencies(window=3)
    assert latencies.summary() == {'count': 0}
    for seconds in (9.0, 0.001, 0.002, 0.003):
        latencies.add(seconds)
    assert latencies.summary() == {'count': 4, 'p50_ms': 2.0, 'p90_ms': 3.0, 'p99_ms': 3.0, 'max_ms': 3.0}
