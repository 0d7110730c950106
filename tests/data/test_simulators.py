"""The simulated CTR world: reproducible, calibrated, and with a pair effect that can be switched off."""

import dataclasses
import json

import numpy as np
import pytest

from jaxrec.data.simulators import ctr

KNOBS = {
    'users': 2_000,
    'items': 300,
    'impressions': 60,
    'categories': 10,
    'groups': 6,
    'pair_window': 8,
    'content_dim': 4,
}
TINY = KNOBS | {'users': 20, 'impressions': 12}


@pytest.fixture(scope='module')
def played():
    world = ctr.World(**KNOBS)
    truth = ctr.make_truth(world)
    return world, truth, ctr.generate(world, truth)


def logit(p):
    p = p.astype(np.float64)
    return np.log(p) - np.log1p(-p)


def slow_pair_sums(world, truth, events, users):
    """float [users, T]: what the clicks before each impression lend to it, one click at a time."""
    item = events['item'].reshape(world.impressions, world.users)
    click = events['click'].reshape(world.impressions, world.users)
    sums = np.zeros((users, world.impressions))
    for u in range(users):
        window: list[int] = []
        for t in range(world.impressions):
            candidate = truth.group[item[t, u]]
            lent = sum(truth.pairs[group, candidate] for group in window)
            sums[u, t] = lent / np.sqrt(max(len(window), 1))
            if click[t, u]:
                window = [*window, truth.group[item[t, u]]][-world.pair_window :]
    return sums


def rest_of_logit(world, truth, events, sums):
    """float [users, T]: the true logit without the pair effect and the effects of the candidate alone."""
    users = len(sums)
    item = events['item'].reshape(world.impressions, world.users)[:, :users].T
    ctr_ = events['true_ctr'].reshape(world.impressions, world.users)[:, :users].T
    taste = np.einsum('utd,ud->ut', truth.content[item], truth.taste[:users])
    known = world.bias + truth.quality[item] + world.content_effect * taste + world.pair_effect * sums
    return logit(ctr_) - known


def test_a_seed_makes_one_world(played):
    world, truth, events = played
    again = ctr.generate(world, ctr.make_truth(world))
    for name, column in events.items():
        np.testing.assert_array_equal(column, again[name])
    other = dataclasses.replace(world, seed=1)
    assert (ctr.generate(other, ctr.make_truth(other))['item'] != events['item']).mean() > 0.9
    assert len(truth.group) == world.items and set(np.unique(truth.group)) == set(range(world.groups))


def test_clicks_follow_the_true_probabilities(played):
    _, _, events = played
    p, click = events['true_ctr'].astype(np.float64), events['click']
    noise = np.sqrt((p * (1 - p)).sum()) / len(p)
    assert abs(click.mean() - p.mean()) < 4 * noise
    for decile in np.array_split(np.argsort(p), 10):
        noise = np.sqrt((p[decile] * (1 - p[decile])).sum()) / len(decile)
        assert abs(click[decile].mean() - p[decile].mean()) < 4 * noise
    assert p.min() > 0 and p.max() < 1 and p.std() > 0.15


def test_the_true_logit_is_interests_plus_pairs(played):
    world, truth, events = played
    sums = slow_pair_sums(world, truth, events, users=40)
    rest = rest_of_logit(world, truth, events, sums)
    # What remains is 0 to 4 matching ranges of interest.
    matches = rest / world.interest_effect
    np.testing.assert_allclose(matches, np.round(matches), atol=1e-3)
    assert set(np.round(np.unique(np.round(matches)))) <= {0.0, 1.0, 2.0, 3.0, 4.0}


def test_without_pair_effect_the_history_does_not_matter(played):
    world = dataclasses.replace(played[0], pair_effect=0.0)
    truth = ctr.make_truth(world)
    events = ctr.generate(world, truth)
    sums = slow_pair_sums(world, truth, events, users=40)
    assert sums.std() > 0.5
    matches = rest_of_logit(world, truth, events, sums) / world.interest_effect
    np.testing.assert_allclose(matches, np.round(matches), atol=1e-3)


def test_the_pair_table_is_centred(played):
    _, truth, _ = played
    np.testing.assert_allclose(truth.pairs.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(truth.pairs.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(truth.pairs.std(), 1)


def test_time_moves_forward_and_items_stay_in_range(played):
    world, _, events = played
    time = events['time'].reshape(world.impressions, world.users)
    assert (np.diff(time, axis=0) > 0).all()
    assert events['item'].min() >= 0 and events['item'].max() < world.items


def test_the_log_hides_the_truth(tmp_path):
    log = ctr.simulate(tmp_path / 'log', **TINY)
    assert set(log.events.names) == {'user', 'item', 'time', 'click', 'true_ctr'}
    assert set(log.items.names) == {'category'} and not log.users.names
    assert set(log.schema) == {'user', 'item', 'category'}  # what a model may read: no group, no probability
    assert len(log) == 20 * 12 and log.manifest['provenance'] == 'simulated'
    truth = tmp_path / 'log-truth'
    assert json.loads((truth / 'world.json').read_text())['items'] == 300
    assert np.load(truth / 'items' / 'group.npy').shape == (300,)


def test_the_log_holds_the_events_of_the_world(tmp_path):
    log = ctr.simulate(tmp_path / 'log', **TINY)
    world = ctr.World(**TINY)
    events = ctr.generate(world, ctr.make_truth(world))
    order = np.lexsort((events['time'], events['user']))
    users = log.vocabulary('user').decode(np.asarray(log.events['user']))
    ours = np.lexsort((log.events['time'], users))
    items = log.vocabulary('item').decode(np.asarray(log.events['item']))
    np.testing.assert_array_equal(items[ours], events['item'][order])
    for name in ('time', 'click', 'true_ctr'):
        np.testing.assert_array_equal(log.events[name][ours], events[name][order])


def test_the_ground_truth_of_a_log_is_what_was_drawn(tmp_path):
    log = ctr.simulate(tmp_path / 'log', **TINY)
    read, drawn = ctr.load_truth(log.folder), ctr.make_truth(ctr.World(**TINY))
    for field in dataclasses.fields(drawn):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(drawn, field.name), err_msg=field.name)
    with pytest.raises(ValueError, match='other-truth'):
        ctr.load_truth(tmp_path / 'other')


def test_a_second_call_opens_the_same_log(tmp_path, monkeypatch):
    first = ctr.simulate(tmp_path / 'log', **TINY)
    monkeypatch.setattr(ctr, 'generate', lambda *_: pytest.fail('the world was made again'))
    assert ctr.simulate(tmp_path / 'log', **TINY).manifest == first.manifest


def test_another_world_does_not_overwrite_a_log(tmp_path):
    ctr.simulate(tmp_path / 'log', **TINY)
    with pytest.raises(ValueError, match=r'log holds a log of other content.*give another folder'):
        ctr.simulate(tmp_path / 'log', **TINY, seed=1)


def test_one_user_may_have_fifty_thousand_clicks(tmp_path):
    log = ctr.simulate(tmp_path / 'log', users=1, items=200, categories=5, groups=4, impressions=50_500, bias=8.0)
    assert len(log) == 50_500
    assert np.count_nonzero(log.events['click']) > 50_000


@pytest.mark.parametrize(
    ('knobs', 'message'),
    [
        ({'user': 5}, r"world\.user is not an option; did you mean 'users'"),
        ({'users': 0}, r'world\.users = 0; at least 1'),
        ({'long_sessions': 0}, r'world\.long_sessions = 0; at least 1'),
        ({'users': 10.5}, r'world\.users = 10\.5 is float, but int'),
        ({'bias': 'low'}, r"world\.bias = 'low' is str, but float"),
        ({'items': 5, 'categories': 10}, r'world\.items = 5 leaves some of 10 categories empty; raise it'),
        ({'exploration': 1.5}, r'world\.exploration = 1\.5 is a share, between 0 and 1'),
        ({'seed': -1}, r'world\.seed = -1; a seed is 0 or more'),
    ],
)
def test_bad_knobs(tmp_path, knobs, message):
    with pytest.raises(ValueError, match=message):
        ctr.simulate(tmp_path / 'log', **knobs)
    assert not (tmp_path / 'log').exists()
