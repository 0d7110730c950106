import numpy as np
import pytest

from jaxrec.data.behaviour_log import compile_log
from jaxrec.data.splits import TEST, TRAIN, UNUSED, VALIDATION, make_split
from tests.data.worlds import COLUMNS, raw_world, small_log


def users_of(log):
    return [
        np.arange(a, b) for a, b in zip(log.user_offsets[:-1], log.user_offsets[1:], strict=True) if b > a
    ]


def test_leave_last_out_matches_a_loop(tmp_path):
    log = small_log(tmp_path / 'log', users=150)  # 4 events a user: some have fewer than 3 positives
    positive = log.events['click'] == 1
    expected = np.full(len(log), TRAIN)
    short = 0
    for rows in users_of(log):
        clicked = rows[positive[rows]]
        if len(clicked) < 3:
            short += 1
            continue
        expected[rows[rows >= clicked[-2]]] = UNUSED
        expected[clicked[-2]], expected[clicked[-1]] = VALIDATION, TEST
    assert 0 < short < 150
    part = make_split({'kind': 'leave_last_out'})(log, positive)
    assert part.dtype == np.int8
    np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize(('validation', 'test'), [(0.1, 0.2), (0.0, 0.5), (0.25, 0.0)])
def test_per_user_time_matches_a_loop(tmp_path, validation, test):
    log = small_log(tmp_path / 'log', users=20)
    part = make_split({'kind': 'per_user_time', 'validation': validation, 'test': test})(log, None)
    for rows in users_of(log):
        n = len(rows)
        # In hundredths, so that the oracle's floor is exact.
        train = n * (100 - round(100 * validation) - round(100 * test)) // 100
        seen = n * (100 - round(100 * test)) // 100
        assert part[rows].tolist() == [TRAIN] * train + [VALIDATION] * (seen - train) + [TEST] * (n - seen)


def test_ten_events_are_cut_seven_one_two(tmp_path):
    events = {'user': np.ones(10, int), 'item': np.arange(10), 'time': np.arange(10)}
    log = compile_log(tmp_path / 'log', events)
    part = make_split({'kind': 'per_user_time'})(log, None)
    assert part.tolist() == [0] * 7 + [1] + [2] * 2


def test_global_time_cuts_at_instants(tmp_path):
    log = small_log(tmp_path / 'log')
    part, times = (
        make_split({'kind': 'global_time', 'validation': 0.2, 'test': 0.2})(log, None),
        log.events['time'],
    )
    ordered = np.sort(times)
    np.testing.assert_array_equal(part == TRAIN, times < ordered[360])
    np.testing.assert_array_equal(part == TEST, times >= ordered[480])
    assert times[part == TRAIN].max() < times[part == VALIDATION].min()
    assert times[part == VALIDATION].max() < times[part == TEST].min()


def test_global_time_without_a_test_part(tmp_path):
    log = small_log(tmp_path / 'log')
    part = make_split({'kind': 'global_time', 'validation': 0.5, 'test': 0.0})(log, None)
    assert set(part.tolist()) == {TRAIN, VALIDATION}


def test_user_holdout_keeps_users_whole(tmp_path):
    log = small_log(tmp_path / 'log', users=20)
    parts = {}
    for seed in (0, 1):
        part = make_split({'kind': 'user_holdout', 'validation': 0.1, 'test': 0.2, 'seed': seed})(log, None)
        of_user = [set(part[rows].tolist()) for rows in users_of(log)]
        assert all(len(found) == 1 for found in of_user)
        parts[seed] = [found.pop() for found in of_user]
        assert np.bincount(parts[seed]).tolist() == [14, 2, 4]
    assert parts[0] != parts[1]


def test_global_time_wants_times(tmp_path):
    raw = raw_world()
    del raw['events']['time']
    log = compile_log(tmp_path / 'log', **raw, columns=COLUMNS)
    with pytest.raises(ValueError, match='has no times'):
        make_split({'kind': 'global_time'})(log, None)
