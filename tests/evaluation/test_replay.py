"""Replay against its definition, visit by visit; resumed, delayed, windowed; and what it refuses."""

import json
import pickle

import jax
import numpy as np
import pytest

from jaxrec.data.sources.pool_source import PoolSource
from jaxrec.evaluation.replay import ReplayOptions, progress, replay, resume, start
from jaxrec.evaluation.tallies import RESAMPLED, Tally, bootstrap, interval, merge, pick, summarise, wilson
from tests.data.worlds import small_pools
from tests.evaluation.bandits import Explaining, Fixed, Greedy, Logged, Random
from tests.oracles import replay as oracle

KEY = jax.random.key(3)


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return small_pools(tmp_path_factory.mktemp('pools') / 'log', visits=400)


class PlainGreedy:
    """`Greedy` in plain Python, over item ids."""

    def __init__(self, anew):
        self.anew, self.shows, self.clicks = anew, {}, {}

    def pick(self, pool):
        rate = lambda item: (self.clicks.get(item, 0) + 1) / (self.shows.get(item, 0) + 2)
        return max(sorted(pool), key=rate)

    def learn(self, visits):
        if self.anew:
            self.shows, self.clicks = {}, {}
        for visit in visits:
            item = visit['shown']
            self.shows[item] = self.shows.get(item, 0) + 1
            self.clicks[item] = self.clicks.get(item, 0) + visit['click']


def plain_visits(log):
    pools = log.pools['candidates']
    return [
        {
            'pool': pools.values[pools.offsets[p] : pools.offsets[p + 1]].tolist(),
            'shown': int(log.events['item'][n]),
            'click': int(log.events['click'][n]),
            'time': float(log.events['time'][n]),
        }
        for n, p in enumerate(log.events['pool'])
    ]


class Recorded:
    """Visits that remember which of them were taught."""

    def __init__(self, visits):
        self.visits, self.calls = visits, []

    def __len__(self):
        return len(self.visits)

    def __getitem__(self, index):
        return self.visits[index]

    def impressions(self, rows):
        self.calls.append(rows.tolist())
        return self.visits.impressions(rows)


def source(log, batch_size, **changes):
    return PoolSource(log.folder, features={'candidate': ['item']}, batch_size=batch_size, **changes)


@pytest.mark.parametrize(
    ('batch', 'options'),
    [
        (1, {'refit_every': 1}),
        (16, {'refit_every': 48}),
        (16, {'refit_every': 1, 'delay': 40}),
        (7, {'refit_every': 30, 'window': 25}),
        (7, {'refit_every': 30, 'window': 10_000, 'warm_up': 100}),
        (32, {'refit_every': 64, 'window': 20, 'delay': 25, 'warm_up': 50}),
        (32, {'refit_every': 64, 'warm_up': 64, 'pretrained': True}),
        (32, {'refit_every': 50, 'window': 70, 'warm_up': 64, 'pretrained': True, 'delay': 60}),
    ],
)
def test_replay_is_its_definition(log, batch, options):
    policy = Greedy(anew='window' in options)
    visits = Recorded(source(log, batch))
    end = replay(policy, visits, start(policy.start(log.schema['item'].rows)), KEY, ReplayOptions(**options))
    counted, accepted, clicks, calls = oracle.replay(
        plain_visits(log), PlainGreedy('window' in options), batch=batch, **options
    )
    assert (end.tally.visits, end.tally.matches, end.tally.clicks) == (counted, len(accepted), clicks)
    assert visits.calls == calls and policy.taught == end.refits == len(calls) > 0 and clicks > 0
    assert (end.seen, end.position) == (400, len(visits))


@pytest.mark.parametrize('options', [{}, {'window': 30, 'delay': 33, 'warm_up': 50}])
def test_a_resumed_replay_ends_as_an_unbroken_one(log, options):
    options = ReplayOptions(refit_every=40, **options)
    visits = source(log, 16)

    class Both(Greedy, Random):
        def score(self, state, requests, rng):
            return Greedy.score(self, state, requests, rng) + 0.3 * Random.score(self, state, requests, rng)

    policy = Both()
    begin = start(policy.start(log.schema['item'].rows))
    unbroken = replay(policy, visits, begin, KEY, options)
    state = begin
    for until in (1, 2, 9, 10, 25):
        state = pickle.loads(pickle.dumps(replay(policy, visits, state, KEY, options, until=until)))
        assert state.position == until
        again = resume(state.policy, json.loads(json.dumps(progress(state))))
        jax.tree.map(np.testing.assert_array_equal, again, state)
    jax.tree.map(np.testing.assert_array_equal, unbroken, replay(policy, visits, state, KEY, options))
    assert replay(policy, visits, begin, jax.random.key(4), options).tally != unbroken.tally


def test_without_a_window_learned_events_are_let_go(log):
    policy = Greedy()
    end = replay(
        policy, source(log, 10), start(policy.start(log.schema['item'].rows)), KEY, ReplayOptions(refit_every=50)
    )
    assert end.learned == 0 and len(end.rows) == len(end.known) < end.tally.matches / 4


def test_the_click_rate_is_that_of_the_policy():
    visits = Logged(40_000)
    table = np.random.default_rng(1).normal(size=(4, 5))
    rates = np.where(np.arange(4)[:, None] == 0, -table, table) + 9
    end = replay(Explaining(table, rates), visits, start(None), KEY, truth=visits.truth)
    found = summarise(end.tally)
    true = visits.rates[visits.user, table.argmax(1)[visits.user]].mean()
    assert found['true_ctr'] == pytest.approx(true)
    assert found['ctr_low'] < true < found['ctr_high'] and found['caveat'] == ''
    assert found['match_rate'] == pytest.approx(0.2, abs=0.01)
    assert found['changed'] == (visits.user == 0).mean()
    slots = table.argmax(1)[visits.user]
    matched = slots == visits.shown
    predicted = rates[visits.user, slots][matched].sum()
    assert found['pcoc'] == pytest.approx(predicted / visits.click[matched].sum())
    some = np.where(np.arange(4)[:, None] == 1, np.nan, rates)
    found = summarise(replay(Explaining(table, some), visits, start(None), KEY, truth=visits.truth).tally)
    assert found['changed'] == (visits.user == 0).sum() / (visits.user != 1).sum() and 'pcoc' not in found
    assert found['regret'] == pytest.approx(visits.rates[visits.user].max(1).mean() - true)


def test_uneven_logs_are_thinned_to_even_ones():
    visits = Logged(60_000, uneven=0.7, seed=2)
    table = visits.rates  # what is best, which the logger favours in some users and not in others
    with pytest.raises(ValueError, match=r"visit 0 has propensity .* set accept='propensity'"):
        replay(Fixed(table), visits, start(None), KEY)
    options = ReplayOptions(accept='propensity', smallest_propensity=float(visits.propensity.min()))
    found = summarise(replay(Fixed(table), visits, start(None), KEY, options).tally)
    assert found['ctr_low'] < visits.rates[visits.user].max(1).mean() < found['ctr_high']
    expected = options.smallest_propensity
    assert found['match_rate'] == pytest.approx(expected, rel=0.1)
    again = summarise(replay(Fixed(table), Logged(60_000, 100, 0.7, 2), start(None), KEY, options).tally)
    assert again == found


def test_tallies_merge():
    parts = [Tally(10, 4, 1, 10, 0.5, 0.9, 10, 3, 2.0), Tally(5, 2, 2, 5, 0.25, 0.5, 5, 0, 1.0)]
    assert merge(*parts) == Tally(15, 6, 3, 15, 0.75, 1.4, 15, 3, 3.0) == merge(Tally(), merge(*parts))
    found = summarise(merge(*parts))
    assert (found['matches'], found['clicks'], found['ctr'], found['changed']) == (6, 3, 0.5, 0.2)
    assert found['caveat'].startswith('only 3 clicks stand behind this')
    assert 'true_ctr' not in summarise(Tally(4, 2, 1)) and 'changed' not in summarise(Tally(4, 2, 1))


def test_wilson_intervals():
    low, high = wilson(0, 10)
    assert low == 0 and high == pytest.approx(0.27753, abs=1e-5)
    assert wilson(5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-5)


def test_the_bootstrap_is_one_over_matches():
    tally = Tally(visits=4_000, matches=900, clicks=60)
    clicks = np.repeat((1.0, 0.0), (60, 840))
    drawn = np.random.default_rng(5).poisson(1.0, (4_000, 900))
    percentiles = np.percentile(drawn @ clicks / drawn.sum(1), (2.5, 97.5))
    np.testing.assert_allclose(bootstrap(tally, 4_000), percentiles, rtol=0.02)
    np.testing.assert_allclose(bootstrap(tally, 4_000), wilson(60, 900), rtol=0.05)


def test_of_few_clicks_the_interval_is_wilsons():
    none = Tally(visits=4_000, matches=900)
    assert bootstrap(none) == (0, 0) and interval(none) == (*wilson(0, 900), 'wilson')
    few, more = (Tally(visits=4_000, matches=900, clicks=RESAMPLED - n) for n in (1, 0))
    assert interval(few)[2] == 'wilson' and interval(more) == (*bootstrap(more), 'bootstrap')
    assert interval(Tally(visits=4_000, matches=900, clicks=900))[2] == 'wilson'


def test_padding_and_absent_candidates_are_never_picked():
    pool = np.asarray([[True, True, False], [True, False, False]])
    assert pick(np.asarray([[1.0, 2, 9], [-5, np.nan, 0]]), pool).tolist() == [1, 0]
    assert pick(np.zeros((2, 3)), pool).tolist() == [0, 0]


def changed(**keys):
    class Spoiled(Logged):
        def __getitem__(self, index):
            batch = {**super().__getitem__(index), **keys}
            return {name: value for name, value in batch.items() if value is not None}

    return Spoiled(512)


NAN = np.where(np.arange(256) == 3, np.nan, 0.2)
ONE_BATCH = start(None)._replace(position=1, seen=256)  # where an earlier call has ended


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (
            lambda: replay(Random(), changed(propensity=None), start(None), KEY),
            'does not say how its items were chosen, .* compile it with propensities, or with uniform=True',
        ),
        (
            lambda: replay(Fixed(np.full((4, 5), np.nan)), Logged(300), start(None), KEY),
            'scored NaN for candidate 0 of request 0: its model has diverged',
        ),
        (
            lambda: replay(Fixed(np.zeros((4, 3))), Logged(300), start(None), KEY),
            r'scored \(256, 3\) for a pool of \(256, 5\): one score a candidate',
        ),
        (
            lambda: replay(
                Random(), Logged(300, uneven=1.0), start(None), KEY,
                ReplayOptions(accept='propensity', smallest_propensity=0.5),
            ),
            r'below smallest_propensity = 0\.5: give the smallest of the log',
        ),
        (
            lambda: replay(Random(), changed(pool=np.zeros((256, 5), bool)), start(None), KEY),
            'visit 0 has pool 0 items: drop it',
        ),
        (
            lambda: replay(Random(), changed(shown=np.full(256, 5)), start(None), KEY),
            'visit 0 has shown 5: give a slot of its pool',
        ),
        (
            lambda: replay(Random(), changed(click=np.full(256, 2.0)), start(None), KEY),
            r'visit 0 has click 2\.0: a click is 0 or 1',
        ),
        (
            lambda: replay(Random(), changed(**{'host/time': np.arange(256.0)[::-1]}), start(None), KEY),
            r'visit 1 has host/time 254\.0: it is earlier than the one before it, sort them',
        ),
        (
            lambda: replay(Random(), changed(**{'host/propensity': NAN}), start(None), KEY),
            r'visit 3 has propensity nan: .* above 0 and at most 1; correct it or drop the visit',
        ),
        (
            lambda: replay(
                Random(), changed(**{'host/propensity': np.full(256, 1.5)}), start(None), KEY,
                ReplayOptions(accept='propensity', smallest_propensity=0.5),
            ),
            r'visit 0 has propensity 1\.5: it is the probability',
        ),
        (
            lambda: replay(Random(), changed(**{'host/time': NAN}), start(None), KEY),
            r'visit 3 has host/time nan: give a finite time',
        ),
        (
            lambda: replay(Random(), changed(**{'host/time': np.arange(256.0)}), ONE_BATCH, KEY, until=2),
            r'visit 256 has host/time 0\.0: it is earlier than the one before it',
        ),
        (lambda: summarise(Tally(100)), 'none of 100 visits matched'),
        (lambda: ReplayOptions(refit_every=0), r'replay\.refit_every = 0: give at least 1'),
        (lambda: ReplayOptions(window=0), r'replay\.window = 0'),
        (lambda: ReplayOptions(delay=-1), r'replay\.delay = -1: give at least 0'),
        (lambda: ReplayOptions(accept='all'), r"replay\.accept = 'all': use 'matches' or 'propensity'"),
        (lambda: ReplayOptions(accept='propensity'), r'smallest_propensity = 0\.0: .* give the smallest'),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
