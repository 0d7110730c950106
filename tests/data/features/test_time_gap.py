"""Buckets of time gaps against the formula in whole numbers."""

import numpy as np
import pytest

from jaxrec.data.features.time_gap import MAX_BUCKETS, TimeGap, read_time_gap
from tests.data.worlds import small_log


def slow(gap, unit, buckets):
    """1 + min(floor(log2(1 + max(gap, 0) // unit)), G - 2) of one gap."""
    return 1 + min((1 + max(int(gap), 0) // unit).bit_length() - 1, buckets - 2)


@pytest.mark.parametrize('unit', [1, 7, 86_400])
@pytest.mark.parametrize('buckets', [3, 16, MAX_BUCKETS])
def test_buckets_match_the_formula(unit, buckets):
    edges = [2**power * unit + step for power in range(45) for step in (-unit - 1, -unit, -1, 0, 1)]
    gaps = np.asarray([-5, 0, 1, *edges], np.int64)
    when = np.full(2, 2**62)
    present = np.ones((2, len(gaps)), bool)
    present[1, ::2] = False
    found = TimeGap(unit, buckets).bucket(when, np.tile(when[0] - gaps, (2, 1)), present)
    wanted = np.asarray([slow(gap, unit, buckets) for gap in gaps])
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, wanted * present)
    assert 1 <= found[0].min() and found.max() <= buckets - 1


def test_whole_numbers_below_a_power_of_two_do_not_round_up():
    gap = TimeGap(1, MAX_BUCKETS).bucket(
        np.asarray([2**53]), np.asarray([[2**53 - (2**49 - 2)]]), np.ones((1, 1), bool)
    )
    assert gap.tolist() == [[49]]  # 1 + floor(log2(2^49 - 1))


@pytest.mark.parametrize('shape', [(3,), (3, 4), (3, 2, 4)])
def test_fractions_of_a_second_and_any_shape(shape):
    draw = np.random.default_rng(0)
    when, times = draw.uniform(50, 90, 3), draw.uniform(0, 60, shape)
    present = draw.uniform(size=shape) < 0.7
    found = TimeGap(3, 6).bucket(when, times, present)
    assert found.shape == shape
    for place in np.ndindex(shape):
        wanted = slow(np.floor(when[place[0]] - times[place]), 3, 6) if present[place] else 0
        assert found[place] == wanted


def test_the_description_has_defaults(tmp_path):
    log = small_log(tmp_path / 'log')
    assert read_time_gap(None, log) is None
    assert read_time_gap({}, log) == TimeGap(86_400, 16)
    assert read_time_gap({'unit': 60, 'buckets': 3}, log) == TimeGap(60, 3)
