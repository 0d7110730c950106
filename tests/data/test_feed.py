"""The feed: items come and go, the logger is uniform, true rates and clicks of any pick are known."""

import json
import math

import numpy as np
import pytest

from jaxrec.data.simulators import feed, feed_world
from jaxrec.data.simulators.feed import Feed, Visits, World, make_truth, simulate, true_rate
from jaxrec.data.sources.pool_source import PoolSource
from tests.data.sources.test_behaviour_source import same

KNOBS = {
    'visits': 12_000, 'days': 10.0, 'users': 300, 'live': 12, 'lifetime': 2.0, 'bias': -1.5, 'history': 4,
    'traits': 30, 'active': 6, 'user_groups': 5, 'item_groups': 4, 'categories': 9, 'sources': 6,
}  # fmt: skip


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('feed') / 'log'
    log = simulate(folder, **KNOBS)
    return log, Feed(folder)


def raw_items(log):
    return np.concatenate([[-1, -1], log.vocabulary('item').keys])


def test_pools_hold_the_items_that_are_live(world):
    log, feed_ = world
    truth, raw = feed_.truth, raw_items(log)
    for n in range(0, len(log), 97):
        time = log.events['time'][n]
        live = np.flatnonzero((truth.born <= time) & (time < truth.died))
        pool = log.padded_pools[log.events['pool'][n]]
        assert sorted(raw[pool[pool > 0]]) == live.tolist()
    sizes = log.pools['candidates'].lengths[log.events['pool']]
    assert 10 < sizes.mean() < 14 and len(log.pools) > 40
    span = log.events['time'][[0, -1]]
    assert feed_world.START <= span[0] < span[1] < feed_.world.end
    lives = (truth.died - truth.born)[truth.born > feed_world.START] / feed_world.DAY
    assert 1.2 < lives.mean() < 2.8 and len(lives) > 30


def test_the_logger_is_uniform(world):
    log, _ = world
    assert log.logging == 'uniform' and log.manifest['provenance'] == 'simulated'
    sizes = log.pools['candidates'].lengths[log.events['pool']]
    place = (log.events['shown'] + 0.5) / sizes
    assert abs(place.mean() - 0.5) < 4 * math.sqrt(1 / 12 / len(log))
    counts = np.histogram(place, 5, (0, 1))[0]
    assert (abs(counts / len(log) - 0.2) < 0.03).all()


def test_true_rates_are_their_definition(world):
    log, feed_ = world
    knobs, truth, raw = feed_.world, feed_.truth, raw_items(log)
    rows = np.asarray([0, 5000, 11_999])
    rates = feed_.rates(rows)
    for row, n in zip(rates, rows, strict=True):
        user, time = log.events['user'][n], log.events['time'][n]
        group = truth.user_group[user]
        for c, item in enumerate(log.padded_pools[log.events['pool'][n]]):
            if item == 0:
                assert row[c] == 0
                continue
            v = raw[item]
            age = (time - truth.born[v]) / (truth.died[v] - truth.born[v])
            logit = (
                knobs.bias + truth.quality[v] + truth.activity[user] + truth.own[v, group]
                + truth.pairs[group, truth.item_group[v]] - knobs.fade * age
            )  # fmt: skip
            assert row[c] == pytest.approx(1 / (1 + math.exp(-logit)))


def test_clicks_follow_the_rates_whoever_picks(world):
    log, feed_ = world
    rows = np.arange(len(log))
    rates, shown = feed_.rates(rows), log.events['shown']
    np.testing.assert_array_equal(feed_.clicks(rows, shown), log.events['click'])
    for slots in (shown, rates.argmax(1), np.zeros(len(log), int)):
        expected = rates[rows, slots]
        error = math.sqrt((expected * (1 - expected)).sum()) / len(log)
        assert abs(feed_.clicks(rows, slots).mean() - expected.mean()) < 4 * error
    assert rates.max(1).mean() > 1.5 * rates[rows, shown].mean()
    again = feed_.clicks(rows[::-1], rates.argmax(1)[::-1])[::-1]
    np.testing.assert_array_equal(again, feed_.clicks(rows, rates.argmax(1)))


def test_histories_are_the_clicks_of_earlier_visits(world):
    log, _ = world
    met: dict[int, list[int]] = {}
    column = log.events['history']
    for n in range(len(log)):
        user = int(log.events['user'][n])
        found = column.values[column.offsets[n] : column.offsets[n + 1]].tolist()
        assert found == met.get(user, [])[-4:]
        if log.events['click'][n]:
            met.setdefault(user, []).append(int(log.events['item'][n]))
    assert (column.lengths == 4).mean() > 0.3


def test_what_is_known_tells_something_and_not_all(world):
    log, feed_ = world
    truth = feed_.truth
    of_group = truth.category % 4 == truth.item_group
    assert 0.7 < of_group.mean() < 1
    own = truth.traits.values % 5 == np.repeat(truth.user_group, truth.traits.lengths)
    assert 0.6 < own.mean() < 0.9
    assert truth.traits.lengths.max() <= 6
    assert 'user' not in log.schema and set(log.schema) == {'item', 'history', 'traits', 'category', 'source'}


def test_items_stay_in_the_null_world(tmp_path):
    log = simulate(tmp_path / 'log', **KNOBS | {'lifetime': 0.0, 'visits': 500})
    feed_ = Feed(log.folder)
    assert len(log.pools) == 1 and log.candidates == 12 == len(feed_.truth.born)
    assert np.isinf(feed_.truth.born).all()
    rates = feed_.rates(np.asarray([1, 400]))
    assert ((rates > 0) & (rates < 1)).all()
    np.testing.assert_array_equal(feed_.clicks(np.arange(500), log.events['shown']), log.events['click'])


def test_a_world_is_made_once_and_again_the_same(world, tmp_path, monkeypatch):
    log, _ = world
    again = simulate(tmp_path / 'log', **KNOBS)
    assert again.manifest == log.manifest
    other = simulate(tmp_path / 'other', **KNOBS | {'seed': 1})
    assert other.manifest['fingerprint'] != log.manifest['fingerprint']
    monkeypatch.setattr(feed, 'make_truth', lambda _: pytest.fail('made again'))
    assert simulate(tmp_path / 'log', **KNOBS).manifest == log.manifest
    assert json.loads((tmp_path / 'log-truth' / 'world.json').read_text())['live'] == 12


def test_blocks_join_seamlessly(monkeypatch):
    monkeypatch.setattr(feed, 'BLOCK', 500)
    knobs = World(**KNOBS | {'visits': 1700})
    truth = make_truth(knobs)
    blocks = list(Visits(knobs, truth))
    assert [len(block['time']) for block in blocks] == [500, 500, 500, 200]
    time, user, item, click = (
        np.concatenate([block[name] for block in blocks]) for name in ('time', 'user', 'item', 'click')
    )
    assert (np.diff(time) >= 0).all()
    number = 1600
    mine = np.flatnonzero((user[:number] == user[number]) & (click[:number] > 0))[-4:]
    history = blocks[3]['history']
    assert history.values[history.offsets[100] : history.offsets[101]].tolist() == item[mine].tolist()
    rates = true_rate(knobs, truth, user, item, time)
    assert abs(click.mean() - rates.mean()) < 0.04


def test_a_closed_loop_learns_from_its_own_picks(world):
    log, feed_ = world
    features = {'user': ['traits'], 'candidate': ['item', 'category'], 'history': ['item']}
    source = PoolSource(log.folder, features=features, batch_size=256)
    rows = source[3]['host/event']
    slots = feed_.rates(rows).argmax(1)
    clicks = feed_.clicks(rows, slots)
    batch = source.impressions(rows, slots, clicks)
    whole = source[3]
    np.testing.assert_array_equal(batch['label'][:, 0], clicks)
    for name in ('item', 'category'):
        picked = whole[f'candidate/{name}'][np.arange(256), slots]
        np.testing.assert_array_equal(batch[f'candidate/{name}'][:, 0], picked)
    same(source.impressions(rows, log.events['shown'][rows], log.events['click'][rows]), source.impressions(rows))
    with pytest.raises(ValueError, match='slots and clicks belong together'):
        source.impressions(rows, slots)


def test_buckets_cut_the_users(world):
    log, feed_ = world
    rows = np.arange(len(log))
    bucket = feed_.buckets(rows, (0.2, 0.2, 0.2, 0.2))
    users = log.events['user']
    assert all(len(set(bucket[users == user])) == 1 for user in range(0, 300, 13))
    shares = np.bincount(bucket, minlength=5) / len(log)
    assert (abs(shares - 0.2) < 0.08).all() and len(shares) == 5
    assert (feed_.buckets(rows, (0.2,) * 4, seed=1) != bucket).any()
    with pytest.raises(ValueError, match=r'give at most 1 in all'):
        feed_.buckets(rows, (0.6, 0.6))


def test_a_slot_without_a_candidate_is_refused(world):
    log, feed_ = world
    sizes = log.pools['candidates'].lengths[log.events['pool']]
    n = int(np.argmin(sizes))
    with pytest.raises(ValueError, match=f'visit {n} was given slot {sizes[n]}, where its pool has no'):
        feed_.clicks(np.asarray([n]), np.asarray([sizes[n]]))


@pytest.mark.parametrize(
    ('knobs', 'message'),
    [
        ({'lifetim': 1.0}, r"world\.lifetim is not an option; did you mean 'lifetime'"),
        ({'lifetime': -1.0}, r'world\.lifetime = -1\.0; 0 lets items stay'),
        ({'days': 0.0}, r'world\.days = 0\.0; it must be above 0'),
        ({'traits': 3}, r'world\.traits = 3 leaves some of 12 user_groups none; raise it'),
        ({'active': 200}, r'world\.active = 200; at most 136 traits exist'),
        ({'trait_signal': 1.5}, r'world\.trait_signal = 1\.5 is a share'),
        ({'live': 0}, r'world\.live = 0; at least 1'),
    ],
)
def test_bad_knobs_are_refused(tmp_path, knobs, message):
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path / 'log', **knobs)


def test_a_log_without_a_truth_is_no_feed(world, tmp_path):
    log, _ = world
    (tmp_path / 'log').symlink_to(log.folder)
    with pytest.raises(ValueError, match=r'world\.json is missing, .* make it by `feed\.simulate`'):
        Feed(tmp_path / 'log')
