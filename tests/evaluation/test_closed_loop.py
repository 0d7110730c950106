"""Serving a simulated feed: picks are answered, buckets share a stream, a learner earns more than chance."""

import jax
import numpy as np
import pytest

from jaxrec.data.simulators.feed import Feed, simulate
from jaxrec.data.sources.pool_source import PoolSource
from jaxrec.evaluation.closed_loop import serve
from jaxrec.evaluation.replay import without_host
from jaxrec.evaluation.tallies import Tally, merge, summarise
from jaxrec.models.age.policies import make_policy
from tests.data.test_feed import KNOBS
from tests.evaluation.bandits import Greedy, Random, Ranked

KEY = jax.random.key(0)


@pytest.fixture(scope='module')
def feed(tmp_path_factory):
    folder = tmp_path_factory.mktemp('feed') / 'log'
    simulate(folder, **KNOBS)
    return Feed(folder)


def source(feed, batch_size=512):
    return PoolSource(feed.log.folder, features={'candidate': ['item']}, batch_size=batch_size)


class Oracle(Random):
    """Knows every rate, and says twice as much."""

    def __init__(self, rates):
        self.rates = rates

    def rank(self, state, requests, rng):
        assert not {'shown', 'click', 'propensity', 'host/event'} & requests.keys()
        return Ranked(self.rates, 2 * self.rates)


def test_picks_are_answered(feed):
    batch = source(feed)[3]
    rows = batch['host/event']
    where = feed.buckets(rows, (0.5,)) == 0
    rates = feed.rates(rows)
    served = serve(Oracle(rates), None, batch, KEY, feed.clicks, where=where, truth=feed.rates)
    np.testing.assert_array_equal(served.rows, rows[where])
    np.testing.assert_array_equal(served.slots, rates.argmax(1)[where])
    np.testing.assert_array_equal(served.clicks, feed.clicks(rows[where], rates.argmax(1)[where]))
    found = summarise(served.tally)
    assert found['visits'] == found['matches'] == where.sum() and found['clicks'] == served.clicks.sum() > 20
    assert found['true_ctr'] == pytest.approx(rates.max(1)[where].mean()) and found['regret'] == 0
    assert found['changed'] == 0
    assert found['pcoc'] == pytest.approx(2 * rates.max(1)[where].sum() / served.clicks.sum())


def test_what_a_stochastic_policy_showed_comes_with_its_propensities(feed):
    batch = source(feed)[3]
    model = {'features': {'candidate': ['item']}, 'dim': 2, 'widths': (3,)}
    policy = make_policy({'policy': 'epsilon_greedy', 'model': model, 'options': {'epsilon': 0.4}}, feed.log.schema)
    requests, where = without_host(batch), np.arange(512) % 2 == 0
    state = policy.init(KEY, requests)
    served = serve(policy, state, batch, KEY, feed.clicks, where=where)
    shown = policy.act(state, requests, KEY)
    np.testing.assert_array_equal(served.slots, np.asarray(shown.shown)[where])
    np.testing.assert_array_equal(served.propensities, np.asarray(shown.propensity)[where])
    assert served.propensities.min() > 0 and len(np.unique(served.propensities)) >= 2
    assert serve(Random(), None, batch, KEY, feed.clicks).propensities is None


def test_a_learner_earns_more_than_chance_in_its_bucket(feed):
    visits = source(feed)
    policy = Greedy()
    state, tallies = policy.start(feed.log.schema['item'].rows), [Tally(), Tally()]
    for index in range(len(visits)):
        batch = visits[index]
        bucket = feed.buckets(np.maximum(batch['host/event'], 0), (0.5, 0.5))
        key = jax.random.fold_in(KEY, index)
        for b, (one, its) in enumerate(((Random(), None), (policy, state))):
            served = serve(one, its, batch, key, feed.clicks, where=bucket == b, truth=feed.rates)
            tallies[b] = merge(tallies[b], served.tally)
        state = policy.learn(state, visits.impressions(served.rows, served.slots, served.clicks))
    assert tallies[0].visits + tallies[1].visits == len(feed.log)
    chance, learned = map(summarise, tallies)
    assert learned['true_ctr'] > 1.2 * chance['true_ctr'] and learned['ctr_low'] > chance['ctr_high']
    assert state['shows'].sum() == tallies[1].visits and state['clicks'].sum() == tallies[1].clicks
