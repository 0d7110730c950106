"""High-quality sessions against a loop, each criterion alone and together."""

import numpy as np
import pytest

from jaxrec.data.sessions.filter import SessionFilter, make_filter
from jaxrec.data.sessions.log import compile_sessions
from tests.data.worlds import raw_sessions, small_sessions
from tests.oracles.sessions import quality, requests_of

OFF = {'watched': None, 'quantile': None, 'interactions': ()}


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return small_sessions(tmp_path_factory.mktemp('filter') / 'log')


@pytest.mark.parametrize(
    'given',
    [
        {'watched': 3},
        {'seconds': 40.0},
        {'interactions': ('like',)},
        {'interactions': ('like', 'follow')},
        {'watched': 2, 'seconds': 30.0, 'interactions': ('like', 'follow')},
        {'watched': 2, 'seconds': 60.0, 'interactions': ('follow',), 'combine': 'any'},
        {},
    ],
)
def test_the_filter_is_a_loop(log, given):
    selection = make_filter(OFF | given).select(log, np.ones(len(log), bool))
    expected = [quality(request, **given) for request in requests_of(log)]
    np.testing.assert_array_equal(selection.kept, expected)
    assert given == {} or 0 < sum(expected) < len(expected)
    alone = {name: value for name, value in given.items() if name != 'combine'}
    counts = [sum(quality(request, **{name: value}) for request in requests_of(log)) for name, value in alone.items()]
    assert list(selection.counts.values()) == counts
    assert selection.describe().startswith(f'{sum(expected)} of 150 sessions kept')


def test_a_quantile_is_of_the_training_split_alone(log):
    seconds = log.totals('watch_time')
    train = np.arange(len(log)) % 3 == 0
    selection = make_filter(OFF | {'quantile': 0.7}).select(log, train)
    assert selection.threshold == np.quantile(seconds[train], 0.7) != np.quantile(seconds, 0.7)
    np.testing.assert_array_equal(selection.kept, seconds > selection.threshold)
    assert f'more than {selection.threshold:g} seconds' in selection.describe()


def test_the_paper_is_the_default(log):
    filter_ = make_filter({})
    assert filter_ == SessionFilter(5, None, 0.5, None, 'all')
    selection = filter_.select(log, np.ones(len(log), bool))
    assert list(selection.counts) == [
        'at least 5 watched', f'more than {selection.threshold:g} seconds', 'like or follow',
    ]  # fmt: skip
    assert make_filter({'seconds': 9.0}).quantile is None


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'combine': 'most'}, "combine = 'most' is unknown: use all or any"),
        ({'watched': 0}, 'watched = 0: give a number, at least 1, or None'),
        ({'quantile': 1.5}, 'quantile = 1.5: give a number, from 0 to 1, or None'),
        ({'seconds': '9'}, "seconds = '9': give a number"),
        ({'seconds': 9.0, 'quantile': 0.5}, 'are thresholds of the same watch time: set one'),
        ({'interactions': 'like'}, "interactions = 'like': give a list of columns"),
        ({'watchd': 5}, "watchd is not an option; did you mean 'watched'"),
    ],
)
def test_bad_descriptions_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        make_filter(given)


def test_criteria_on_columns_that_are_not_there_are_refused(tmp_path, log):
    every = np.ones(len(log), bool)
    with pytest.raises(ValueError, match=r"no 'share' for each shown item, it has watch_time, view, like"):
        make_filter(OFF | {'interactions': ('share',)}).select(log, every)
    with pytest.raises(ValueError, match=r'no request of .* is in the training split, so no quantile'):
        make_filter({}).select(log, ~every)
    few = {name: raw_sessions()[name] for name in ('user', 'time', 'item', 'view')}
    bare = compile_sessions(tmp_path / 'log', few)
    with pytest.raises(ValueError, match=r'has none of like, follow, share, .* to \(\) to do without'):
        make_filter({'quantile': None}).select(bare, every)
    assert make_filter(OFF | {'watched': 1}).select(bare, every).kept.any()
