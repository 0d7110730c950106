"""Requests of new rows: the batches of the source, and histories as of any time."""

import numpy as np
import pytest

from jaxrec.data.features.gather import first_not_before
from jaxrec.data.sources.behaviour_source import RequestSource
from jaxrec.data.sources.requests import RequestBuilder
from tests.data.worlds import small_log

FEATURES = {
    'user': ['user', 'age'],
    'candidate': ['item', 'genres', 'year', 'position'],
    'history': ['item', 'category', 'genres', 'position'],
}
LABEL = {'kind': 'rating', 'column': 'rating', 'threshold': 3.0}


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp('log') / 'log')


def columns_of(log, rows):
    return {name: log.events[name][rows] for name in ('user', 'item', 'position')}


def test_rows_of_the_log_give_the_batches_of_the_source(log):
    source = RequestSource(
        log.folder,
        features=FEATURES,
        label=LABEL,
        split={'kind': 'per_user_time', 'validation': 0.3, 'test': 0.3},
        part='test',
        batch_size=64,
        history_length=5,
        shuffle=False,
        remainder='pad',
    )
    builder = RequestBuilder(log, FEATURES, LABEL, 5)
    assert builder.row_columns == ('user', 'item', 'position')
    for index in range(len(source)):
        wanted = source[index]
        rows = wanted['host/event'][:, 0]
        rows = rows[rows >= 0]
        found = builder.build(columns_of(log, rows), log.events['time'][rows])
        assert found.keys() == {key for key in wanted if not key.startswith('host/')}
        for key in found.keys() - {'label'}:
            np.testing.assert_array_equal(found[key], wanted[key][: len(rows)], err_msg=key)
            assert found[key].dtype == wanted[key].dtype


@pytest.mark.parametrize('time', [0, 17, 17.5, 1000, None])
def test_histories_are_the_positives_strictly_before(log, time):
    builder = RequestBuilder(log, FEATURES, LABEL, 7)
    users = np.asarray([1, *range(2, 14)], np.int32)
    rows = {'user': users, 'item': np.full(13, 3, np.int32), 'position': np.full(13, 1, np.int32)}
    batch = builder.build(rows, None if time is None else np.full(13, time))
    for place, user in enumerate(users):
        events = range(*log.user_offsets[user : user + 2])
        wanted = [
            int(log.events['item'][n])
            for n in events
            if log.events['rating'][n] >= 3 and (time is None or log.events['time'][n] < time)
        ][-7:]
        assert batch['history/length'][place] == len(wanted)
        assert batch['history/item'][place].tolist() == wanted + [0] * (7 - len(wanted))


def test_a_binary_search_in_parts_matches_a_loop():
    draw = np.random.default_rng(0)
    parts = [np.sort(draw.integers(0, 9, size)) for size in (0, 1, 5, 30)]
    times = np.concatenate(parts)
    start = np.cumsum([0, *map(len, parts[:-1])])
    where = draw.integers(0, 4, 200)
    when = draw.integers(-1, 11, 200)
    end = start + np.asarray([*map(len, parts)])
    found = first_not_before(times, start[where], end[where], when)
    wanted = [start[p] + np.searchsorted(parts[p], t, 'left') for p, t in zip(where, when, strict=True)]
    assert found.tolist() == wanted
    assert first_not_before(times[:0], start[:1], start[:1], when[:1]).tolist() == [0]


def test_a_feature_that_the_log_lacks_is_refused(log):
    with pytest.raises(ValueError, match="no candidate feature 'colour': use any of user, item"):
        RequestBuilder(log, {'candidate': ['item', 'colour']}, LABEL, 5)
