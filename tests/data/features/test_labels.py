import numpy as np
import pytest

from jaxrec.data.features.labels import Impressions, OneOf, Rating, SampledNegatives, history_bounds, make_label
from jaxrec.data.logs.behaviour_log import compile_log
from tests.data.worlds import COLUMNS, raw_world, small_log


def slow_history(log, positive):
    """For each event, the rows of its user's positive events strictly earlier (in order, without times)."""
    users = log.events['user']
    clock = log.events['time'] if log.has_time else np.arange(len(log))
    return [
        [m for m in range(len(log)) if positive[m] and users[m] == users[n] and clock[m] < clock[n]]
        for n in range(len(log))
    ]


@pytest.mark.parametrize('timed', [True, False])
@pytest.mark.parametrize('rule', [Rating(threshold=4), Impressions(), OneOf('position', (1, 3)), SampledNegatives()])
def test_history_is_strictly_earlier(tmp_path, timed, rule):
    raw = raw_world(events=300, span=20)
    if not timed:
        del raw['events']['time']
    log = compile_log(tmp_path / 'log', **raw, columns=COLUMNS)
    positive = rule.positive(log)
    positives, start, end = history_bounds(log, positive)
    assert (positives.dtype, start.dtype, end.dtype) == (np.int64, np.int64, np.int64)
    found = [positives[start[n] : end[n]].tolist() for n in range(len(log))]
    assert found == slow_history(log, positive)


def test_some_events_of_the_oracle_share_a_second(tmp_path):
    log = small_log(tmp_path / 'log', events=300, span=20)
    same = (np.diff(log.events['time']) == 0) & (np.diff(log.events['user']) == 0)
    assert same.sum() > 50


def test_rules_mark_what_they_say(tmp_path):
    log = small_log(tmp_path / 'log')
    np.testing.assert_array_equal(Rating(threshold=3).positive(log), log.events['rating'] >= 3)
    np.testing.assert_array_equal(Impressions().positive(log), log.events['click'] == 1)
    assert SampledNegatives().positive(log).all()
    raw = raw_world()
    shown = log.vocabulary('position').decode(log.events['position'])
    np.testing.assert_array_equal(OneOf('position', (1, 3)).positive(log), np.isin(shown, (1, 3)))
    assert OneOf('position', (1, 3)).positive(log).sum() == np.isin(raw['events']['position'], (1, 3)).sum()
    np.testing.assert_array_equal(OneOf('rating', (5,)).positive(log), log.events['rating'] == 5)
    nested = make_label({'kind': 'sampled_negatives', 'positives': {'kind': 'rating', 'threshold': 5.0}})
    np.testing.assert_array_equal(nested.positive(log), log.events['rating'] == 5)


def test_rules_come_from_their_description():
    assert make_label({'kind': 'rating', 'threshold': 3.5}) == Rating(threshold=3.5)
    assert make_label({'kind': 'impressions', 'column': 'like'}) == Impressions('like')
    assert make_label({'kind': 'one_of', 'among': ('pv', 'buy')}) == OneOf('behaviour', ('pv', 'buy'))
