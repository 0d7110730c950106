"""Labels of sessions against a loop, and their expectation against all that can happen."""

import itertools

import numpy as np
import pytest

from jaxrec.data.sessions.labels import Chances, SessionLabels, read_labels, total_seconds, weighted
from tests.oracles.sessions import session_labels

RULES = [
    {},
    {'swt': 'scaled', 'vtr': 'share', 'wtr': 'share', 'ltr': 'share'},
    {'vtr': 'any', 'wtr': 'most', 'ltr': 'most'},
]


@pytest.mark.parametrize('rules', RULES)
@pytest.mark.parametrize('slots', [1, 4])
def test_labels_are_a_loop(rules, slots):
    rng = np.random.default_rng(0)
    labels = SessionLabels(30.0, **rules)
    columns = {name: rng.integers(0, 2, (40, slots)).astype(np.int8) for name in ('view', 'follow', 'like')}
    columns['watch_time'] = rng.integers(0, 30, (40, slots)).astype(np.float32)
    valid = np.arange(slots) < rng.integers(1, slots + 1, 40)[:, None]
    found = labels.of_sessions(columns, valid)
    of_items = labels.of_items(columns, valid)
    for b in range(40):
        expected = session_labels(labels, {name: c[b][valid[b]].tolist() for name, c in columns.items()})
        for head, value in expected.items():
            assert found[head][b] == np.float32(value) and found[head].dtype == np.float32
        share = 30.0 / valid[b].sum()
        seconds = np.minimum(columns['watch_time'][b] / share, 1) * valid[b]
        np.testing.assert_allclose(of_items['swt'][b], seconds, rtol=1e-6)
        np.testing.assert_array_equal(of_items['ltr'][b], columns['like'][b] * valid[b])


def test_a_log_may_know_little():
    valid = np.ones((2, 3), bool)
    columns = {'view': np.ones((2, 3)), 'watch_time': np.ones((2, 3))}
    assert list(SessionLabels(2.0).of_sessions(columns, valid)) == ['swt', 'vtr']
    assert list(SessionLabels().of_sessions(columns, valid)) == ['vtr']
    assert list(SessionLabels().of_items(columns, valid)) == ['vtr']


@pytest.mark.parametrize('rules', RULES)
def test_the_expectation_is_over_all_that_can_happen(rules):
    rng = np.random.default_rng(1)
    labels = SessionLabels(3.0, **rules)
    seconds = rng.random((3, 3, 4))
    seconds /= seconds.sum(-1, keepdims=True)
    chances = Chances(seconds, *rng.random((3, 3, 3)))
    valid = np.asarray([[True] * 3, [True, True, False], [True, False, False]])
    found = labels.expected(chances, valid)
    for b, size in enumerate(valid.sum(1)):
        expected = dict.fromkeys(found, 0.0)
        for times in itertools.product(range(4), repeat=size):
            chance = np.prod([seconds[b, s, t] for s, t in enumerate(times)])
            known = {'watch_time': list(times), 'view': [0], 'follow': [0], 'like': [0]}
            expected['swt'] += chance * session_labels(labels, known)['swt']
        for head, name in (('vtr', 'view'), ('wtr', 'follow'), ('ltr', 'like')):
            p = getattr(chances, name)[b]
            for happens in itertools.product((0, 1), repeat=size):
                chance = np.prod([p[s] if h else 1 - p[s] for s, h in enumerate(happens)])
                known = {key: list(happens) for key in ('watch_time', 'view', 'follow', 'like')}
                expected[head] += chance * session_labels(labels, known)[head]
        for head, value in expected.items():
            assert found[head][b] == pytest.approx(value, abs=1e-12)


def test_totals_of_certain_times_are_certain():
    seconds = np.zeros((1, 3, 5))
    seconds[0, [0, 1, 2], [4, 0, 3]] = 1
    total = total_seconds(seconds, np.asarray([[True, True, False]]))
    np.testing.assert_allclose(total[0], np.eye(13)[4], atol=1e-12)


def test_weights_are_of_heads():
    rewards = {'swt': np.asarray([0.5, 0.25]), 'ltr': np.asarray([1.0, 0.0])}
    np.testing.assert_allclose(weighted(rewards), [1.5, 0.25])
    np.testing.assert_allclose(weighted(rewards, {'swt': 2.0}), [1.0, 0.5])
    with pytest.raises(ValueError, match="a weight of 'wtr' has no reward to weigh: there are swt, ltr"):
        weighted(rewards, {'wtr': 1.0})


def test_descriptions_are_checked():
    assert read_labels({}, 7.0) == SessionLabels(7.0)
    assert read_labels({'swt_threshold': 9, 'ltr': 'share'}, 7.0) == SessionLabels(9.0, ltr='share')
    assert read_labels({}).threshold is None
    for config, message in (
        ({'swt': 'below'}, "session label swt = 'below' is unknown: use above or scaled"),
        ({'ltr': 'all'}, "session label ltr = 'all' is unknown: use any or most or share"),
        ({'swt_threshold': 0}, 'threshold 0.0: watch times are compared with seconds above 0'),
        ({'threshold': 1}, 'threshold is not an option'),
    ):
        with pytest.raises(ValueError, match=message):
            read_labels(config, 7.0)
    nothing = Chances(np.ones((1, 1, 1)), *np.ones((3, 1, 1)))
    with pytest.raises(ValueError, match='have no threshold, and swt is compared with one: name swt_threshold'):
        SessionLabels().expected(nothing, np.ones((1, 1), bool))
