import datetime

import numpy as np
import pytest

from jaxrec.data.logs.behaviour_log import compile_log
from jaxrec.data.logs.click_log import compile_clicks
from jaxrec.data.sources.splits import TEST, TRAIN, UNUSED, VALIDATION, make_split
from tests.data.worlds import CLICK_COLUMNS, COLUMNS, raw_clicks, raw_world, small_clicks, small_log


def users_of(log):
    return [np.arange(a, b) for a, b in zip(log.user_offsets[:-1], log.user_offsets[1:], strict=True) if b > a]


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


def test_per_user_time_cuts_only_the_events_it_is_told_to(tmp_path):
    log = small_log(tmp_path / 'log', users=20)
    cut = np.isin(log.vocabulary('position').decode(np.asarray(log.events['position'])), (1, 3))
    config = {'kind': 'per_user_time', 'validation': 0.25, 'test': 0.25, 'column': 'position', 'among': (1, 3)}
    part = make_split(config)(log, None)
    assert part.dtype == np.int8 and 100 < cut.sum() < 500
    np.testing.assert_array_equal(part == UNUSED, ~cut)
    for rows in users_of(log):
        n = int(cut[rows].sum())
        train, seen = n * 50 // 100, n * 75 // 100
        expected = [TRAIN] * train + [VALIDATION] * (seen - train) + [TEST] * (n - seen)
        assert part[rows[cut[rows]]].tolist() == expected


def test_per_user_time_may_train_on_the_last_events_alone(tmp_path):
    log = small_log(tmp_path / 'log', users=20)
    config = {'kind': 'per_user_time', 'validation': 0.1, 'test': 0.2}
    whole, part = make_split(config)(log, None), make_split({**config, 'train': 0.25})(log, None)
    np.testing.assert_array_equal(part[whole != TRAIN], whole[whole != TRAIN])
    for rows in users_of(log):
        training = rows[whole[rows] == TRAIN]
        kept = len(rows) * 25 // 100
        assert part[training].tolist() == [UNUSED] * (len(training) - kept) + [TRAIN] * kept
    np.testing.assert_array_equal(make_split({**config, 'train': 0.7})(log, None)[:2], whole[:2])
    for wrong in (0.0, 0.71):
        with pytest.raises(ValueError, match=rf'train={wrong}: above 0, and with .* None trains on all'):
            make_split({**config, 'train': wrong})


@pytest.mark.parametrize('kind', ['per_user_time', 'user_holdout'])
@pytest.mark.parametrize('arguments', [{'column': 'click'}, {'among': (1,)}])
def test_a_column_and_its_values_are_wanted_together(kind, arguments):
    with pytest.raises(ValueError, match='name a column and some of its values, or neither'):
        make_split({'kind': kind, **arguments})


def test_user_holdout_trains_on_no_more_than_is_left():
    with pytest.raises(ValueError, match=r'user_holdout with train=0\.71: above 0'):
        make_split({'kind': 'user_holdout', 'validation': 0.1, 'test': 0.2, 'train': 0.71})


def test_global_time_cuts_at_instants(tmp_path):
    log = small_log(tmp_path / 'log')
    part, times = (make_split({'kind': 'global_time', 'validation': 0.2, 'test': 0.2})(log, None), log.events['time'])
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


def test_user_holdout_among_some_events(tmp_path):
    log = small_log(tmp_path / 'log', users=20)
    config = {'kind': 'user_holdout', 'validation': 0.1, 'test': 0.2}
    whole = make_split(config)(log, None)
    among = make_split({**config, 'column': 'click', 'among': (1,)})(log, None)
    np.testing.assert_array_equal(among, np.where(log.events['click'] == 1, whole, UNUSED))
    few = make_split({**config, 'train': 0.25})(log, None)
    of_user = np.asarray([few[rows[0]] for rows in users_of(log)])
    assert sorted(of_user.tolist()) == [UNUSED] * 9 + [TRAIN] * 5 + [VALIDATION] * 2 + [TEST] * 4
    np.testing.assert_array_equal(few[few > TRAIN], whole[few > TRAIN])
    assert (whole[few == TRAIN] == TRAIN).all()


def test_global_time_wants_times(tmp_path):
    raw = raw_world()
    del raw['events']['time']
    log = compile_log(tmp_path / 'log', **raw, columns=COLUMNS)
    with pytest.raises(ValueError, match='has no times'):
        make_split({'kind': 'global_time'})(log, None)


def test_last_item_user_holdout_matches_a_loop(tmp_path):
    log = small_log(tmp_path / 'log', users=300)  # 2 events a user: many have fewer than 2 positives
    positive = log.events['click'] == 1
    last = {int(log.events['user'][r[0]]): r[positive[r]][-1] for r in users_of(log) if positive[r].sum() >= 2}
    assert 20 < len(last) < 250
    seen = {}
    for seed in (0, 1):
        config = {'kind': 'last_item_user_holdout', 'validation': 0.1, 'test': 0.3, 'seed': seed}
        part = make_split(config)(log, positive)
        assert sorted(np.flatnonzero(part != UNUSED)) == sorted(last.values())
        n = len(last)
        train, both = n * 60 // 100, n * 70 // 100
        assert np.bincount(part[part != UNUSED]).tolist() == [train, both - train, n - both]
        seen[seed] = {user: int(part[row]) for user, row in last.items()}
    assert seen[0] != seen[1]


def test_row_holdout_cuts_by_number(tmp_path):
    log = small_clicks(tmp_path / 'log')
    parts = [make_split({'kind': 'row_holdout', 'seed': seed})(log, None) for seed in (0, 0, 1)]
    assert np.bincount(parts[0]).tolist() == [280, 40, 80]
    np.testing.assert_array_equal(parts[0], parts[1])
    assert (parts[0] != parts[2]).any() and (np.diff(parts[0]) != 0).sum() > 100


@pytest.mark.parametrize(('held_out', 'validation'), [(1, 0.5), (2, 0.25), (1, 0.0)])
def test_days_hold_out_the_last_ones(tmp_path, held_out, validation):
    log = small_clicks(tmp_path / 'log')
    part = make_split({'kind': 'days', 'held_out': held_out, 'validation': validation})(log, None)
    date = [datetime.datetime.fromtimestamp(t, datetime.UTC).date() for t in log.events['time'].tolist()]
    held = np.asarray([d in sorted(set(date))[-held_out:] for d in date])
    np.testing.assert_array_equal(part == TRAIN, ~held)
    assert (part == VALIDATION).sum() == int(held.sum() * validation)
    assert (part == TEST).sum() == held.sum() - int(held.sum() * validation) > 0
    if validation:  # of one day, not of its beginning
        assert np.flatnonzero(part == TEST).min() < np.flatnonzero(part == VALIDATION).max()


def test_by_column_goes_by_raw_values(tmp_path):
    log, raw = small_clicks(tmp_path / 'log'), raw_clicks()
    part = make_split({'kind': 'by_column', 'column': 'fold', 'validation': (8,), 'test': (9, 3)})(log, None)
    expected = [{8: VALIDATION, 9: TEST, 3: TEST}.get(int(fold), TRAIN) for fold in raw['fold']]
    np.testing.assert_array_equal(part, expected)
    part = make_split({'kind': 'by_column', 'column': 'site', 'test': ('s3', 's5')})(log, None)
    np.testing.assert_array_equal(part == TEST, np.isin(raw['site'], ['s3', 's5']))
    assert set(part.tolist()) == {TRAIN, TEST}


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ({'kind': 'by_column', 'column': 'fold'}, 'name values, and none in both'),
        ({'kind': 'by_column', 'column': 'fold', 'validation': (1,), 'test': (1,)}, 'none in both'),
        (
            {'kind': 'by_column', 'column': 'week', 'test': (1,)},
            "no event column 'week', it has site, ad, .*: name one of these",
        ),
        ({'kind': 'by_column', 'column': 'site', 'test': ('s99',)}, "has no site 's99': check its spelling"),
        ({'kind': 'by_column', 'column': 'fold', 'test': ('9',)}, "numbers in 'fold': name numbers"),
        ({'kind': 'by_column', 'column': 'device', 'test': (1,)}, "'device' of .* is multi-valued or hashed"),
        ({'kind': 'days', 'held_out': 0}, 'hold out at least 1 day'),
        ({'kind': 'days', 'held_out': 5}, 'events on 5 days and 5 are held out: hold out fewer'),
        ({'kind': 'leave_last_out'}, 'click log without users, so leave_last_out cannot cut it'),
        ({'kind': 'last_item_user_holdout', 'test': 1.0}, 'together below 1'),
    ],
)
def test_splits_that_cannot_be_made(tmp_path, config, message):
    log = small_clicks(tmp_path / 'log')
    with pytest.raises(ValueError, match=message):
        make_split(config)(log, log.events['click'] == 1)


def test_days_want_times(tmp_path):
    raw = raw_clicks()
    del raw['time']
    log = compile_clicks(tmp_path / 'log', raw, columns=CLICK_COLUMNS)
    with pytest.raises(ValueError, match='has no times, so days cannot cut it'):
        make_split({'kind': 'days'})(log, None)
