"""The lifelong world: old behaviours matter, few of them, half outside the category, and by their age."""

import dataclasses
import json

import numpy as np
import pytest

from jaxrec.data.simulators import lifelong, lifelong_histories, lifelong_truth, lifelong_world, worlds
from jaxrec.data.sources.behaviour_source import RequestSource
from jaxrec.data.sources.splits import TEST, TRAIN, UNUSED, make_split

KNOBS = {
    'users': 60,
    'history': 900,
    'impressions': 40,
    'categories': 10,
    'themes': 10,
    'interests': 3,
    'episode': 5,
    'staples': 5,
    'cell_items': 2,
    'strays': 0.02,
    'habits': 4,
    'near': 500,
}
TINY = KNOBS | {'users': 12, 'impressions': 15}
SPLIT = {'kind': 'per_user_time', 'column': 'judged', 'among': (1,), 'validation': 0.1, 'test': 0.2}
LABEL = {'kind': 'impressions', 'column': 'click'}


@pytest.fixture(scope='module')
def played():
    world = lifelong.World(**KNOBS)
    truth = lifelong.make_truth(world)
    return world, truth, by_user(world, lifelong.generate(world, truth))


def by_user(world, events):
    """Columns [U, H + T]."""
    return {name: column.reshape(world.users, -1) for name, column in events.items()}


def slow_lent(world, truth, events, u, n):
    """What the behaviours of user u before its event n lend to that event's item, one at a time."""
    candidate = truth.group[events['item'][u, n]]
    total = 0.0
    for m in range(n):
        if not events['click'][u, m] or events['time'][u, m] >= events['time'][u, n]:
            continue
        group = truth.group[events['item'][u, m]]
        if -1 in (group, candidate):
            continue
        periods = (events['time'][u, n] - events['time'][u, m]) / truth.period[candidate]
        season = 0 if periods < 2 / 3 else 1 if periods < 4 / 3 else 2
        total += truth.lends[group, candidate] * truth.seasons[season]
    return world.long_effect * total / world.episode / np.mean(lifelong_truth.SEASONS)


def slow_lately(world, truth, events, u, n):
    earlier = [m for m in range(n) if events['time'][u, m] < events['time'][u, n]]
    clicked = [m for m in earlier if events['click'][u, m]][-world.recent :]
    return truth.category[events['item'][u, n]] in truth.category[events['item'][u, clicked]]


def logits(world, truth, events, users, lent=slow_lent):
    """float [users, T]: the true logit by the world's own words, and by its probabilities."""
    judged = range(world.history, world.history + world.impressions)
    expected = [
        [
            world.bias
            + truth.quality[events['item'][u, n]]
            + world.short_effect * slow_lately(world, truth, events, u, n)
            + lent(world, truth, events, u, n)
            for n in judged
        ]
        for u in range(users)
    ]
    p = events['true_ctr'][:users, world.history :].astype(np.float64)
    return np.asarray(expected), np.log(p) - np.log1p(-p)


def test_a_seed_makes_one_world(played):
    world, _, events = played
    again = by_user(world, lifelong.generate(world, lifelong.make_truth(world)))
    for name, column in events.items():
        np.testing.assert_array_equal(column, again[name])
    other = dataclasses.replace(world, seed=1)
    moved = by_user(other, lifelong.generate(other, lifelong.make_truth(other)))
    assert (moved['item'] != events['item']).mean() > 0.9


def test_the_true_logit_is_what_the_history_lends(played):
    expected, found = logits(*played, users=4)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.abs(found - found.mean()).max() > 2


def test_a_page_is_shown_at_one_instant_and_read_later():
    world = lifelong.World(**KNOBS | {'page': 7})
    truth = lifelong.make_truth(world)
    events = by_user(world, lifelong.generate(world, truth))
    time = events['time'][:, world.history :]
    pages = np.arange(world.impressions) // 7
    assert (np.diff(time, axis=1) > 0).all(0).tolist() == (np.diff(pages) > 0).tolist()
    assert (np.diff(time, axis=1) == 0).all(0).tolist() == (np.diff(pages) == 0).tolist()
    expected, found = logits(world, truth, events, users=4)  # by the rule that history is strictly earlier
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_clicks_follow_the_true_probabilities(played):
    world, _, events = played
    p, click = events['true_ctr'][:, world.history :], events['click'][:, world.history :]
    order = np.argsort(p, None)
    for part in np.array_split(order, 5):
        noise = np.sqrt((p.flat[part] * (1 - p.flat[part])).sum()) / len(part)
        assert abs(click.flat[part].mean() - p.flat[part].mean()) < 4 * noise


def test_without_long_effect_old_behaviours_do_not_matter(played):
    world = dataclasses.replace(played[0], long_effect=0.0)
    truth = lifelong.make_truth(world)
    events = by_user(world, lifelong.generate(world, truth))
    expected, found = logits(world, truth, events, users=4, lent=lambda *_: 0.0)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_array_equal(events['item'][:, : world.history], played[2]['item'][:, : world.history])
    item, early = events['item'][:, world.history :], events['item'][:, : world.history]
    assert truth.relevant(item[:, :, None], early[:, None]).any()  # there to be found, though in vain
    assert not truth.lent(item[:, :, None], early[:, None], np.asarray(0)).any()


def test_without_gap_effect_the_age_of_a_behaviour_does_not_matter(played):
    truth = lifelong.make_truth(dataclasses.replace(played[0], gap_effect=0.0))
    lending = np.argwhere(truth.lends)[:5]
    gaps = np.geomspace(1, 1e8, 40)
    lent = truth.lent_by_groups(lending[:, 1, None], lending[:, 0, None], gaps)
    np.testing.assert_allclose(lent, np.repeat(lent[:, :1], 40, 1), rtol=1e-6)
    of_played = played[1].lent_by_groups(lending[:, 1, None], lending[:, 0, None], gaps)
    assert (np.sign(of_played) != np.sign(of_played[:, -1:])).any(1).all()  # down just after, up later


def test_few_behaviours_matter_and_half_of_them_outside_the_category():
    world = lifelong.World(users=80, impressions=10)  # the sizes of the default world
    truth = lifelong.make_truth(world)
    events = by_user(world, lifelong.generate(world, truth))
    history, shown = events['item'][:, None, : world.history], events['item'][:, world.history :, None]
    relevant = truth.relevant(shown, history)  # [U, T, H]
    share = relevant.mean(-1)
    assert share.max() <= 0.02
    of_interests = share > 0.5 * lifelong.interest_share(world)
    assert of_interests.mean() > 0.3
    assert lifelong.interest_share(world) == pytest.approx((24 + 2 * 100 / 120) / 2000)
    inside = truth.category[shown] == truth.category[history]
    assert abs((relevant & inside).sum() / relevant.sum() - 0.5) < 0.05
    assert (inside & ~relevant)[of_interests].sum(-1).mean() > 10  # a category match finds others too
    assert not relevant[:, :, -world.near :].any()  # all of them 500 events back
    assert relevant[:, :, : world.near].any()


def test_the_last_behaviours_are_staples_in_sessions(played):
    world, truth, events = played
    near = events['item'][:, world.history - world.near : world.history]
    assert (truth.group[near] == -1).all()
    category = truth.category[near]
    assert (category[:, 1:] == category[:, :-1]).mean() > 1 - 2 / world.session
    assert (np.diff(events['time'], axis=1) >= 0).all()
    assert (np.diff(events['time'][:, world.history - 1 :], axis=1) > 0).all()


def test_interests_return_once_a_period():
    world = lifelong_world.World(**KNOBS | {'strays': 0.0, 'returns': 2})
    truth = lifelong.make_truth(world)
    histories = lifelong_histories.make_histories(world, truth)
    group = truth.group[histories.item]
    grouped = histories.age[group >= 0]
    assert grouped.min() > world.near_age and grouped.max() <= world.span
    returned = 0
    for u in range(world.users):
        assert set(group[u]) - {-1} <= set(histories.interests[u])
        for interest in histories.interests[u]:
            ages = histories.age[u, group[u] == interest] / truth.period[interest]  # oldest first
            if len(ages) == 2 * world.episode:
                earlier, latest = ages[: world.episode], ages[world.episode :]
                assert abs(earlier.mean() - latest.mean() - 1) < 4 * lifelong_world.JITTER
                assert lifelong_world.YOUNGEST * 0.96 < latest.min() and latest.max() < 2 * 1.04
                returned += 1
    assert returned > 60


def test_a_group_lends_to_one_of_its_theme_and_takes_from_another(played):
    world, truth, _ = played
    lends = truth.lends[:-1, :-1]
    assert not truth.lends[-1].any() and not truth.lends[:, -1].any()
    for sign in (-1, 1):
        assert ((np.sign(lends) == sign).sum(0) == 1).all() and ((np.sign(lends) == sign).sum(1) == 1).all()
    rows, columns = np.nonzero(lends)
    assert (rows // world.theme_groups == columns // world.theme_groups).all()
    for group in range(world.groups):  # each lives in two categories, and no category in one theme alone
        assert len(np.unique(truth.category[truth.group == group])) == 2
    for category in range(world.categories):
        inside = truth.group[truth.category == category]
        assert len(np.unique(inside[inside >= 0] // world.theme_groups)) == 2 and (inside == -1).sum() == 5


def test_the_log_hides_the_truth_and_holds_the_events(tmp_path, played):
    log = lifelong.simulate(tmp_path / 'log', **KNOBS)
    assert set(log.events.names) == {'user', 'item', 'time', 'click', 'judged', 'true_ctr'}
    assert set(log.schema) == {'user', 'item', 'category'}  # what a model may read
    assert log.manifest['provenance'] == 'simulated' and len(log) == 60 * 940
    assert json.loads((worlds.truth_folder(log.folder) / 'world.json').read_text())['themes'] == 10
    users = log.vocabulary('user').decode(np.asarray(log.events['user'])).reshape(60, -1)
    item = log.vocabulary('item').decode(np.asarray(log.events['item'])).reshape(60, -1)
    for name in ('time', 'click', 'judged', 'true_ctr'):
        np.testing.assert_array_equal(log.events[name].reshape(60, -1), played[2][name][users[:, 0]])
    # Behaviours of one second may change places.
    np.testing.assert_array_equal(item[:, -40:], played[2]['item'][users[:, 0], -40:])
    np.testing.assert_array_equal(np.sort(item), np.sort(played[2]['item'][users[:, 0]]))


def test_a_second_call_opens_the_same_log(tmp_path, monkeypatch):
    first = lifelong.simulate(tmp_path / 'log', **TINY)
    monkeypatch.setattr(lifelong, 'generate', lambda *_: pytest.fail('the world was made again'))
    assert lifelong.simulate(tmp_path / 'log', **TINY).manifest == first.manifest


def test_impressions_are_examples_and_the_history_is_none(tmp_path):
    log = lifelong.simulate(tmp_path / 'log', **TINY)
    part = make_split(SPLIT)(log, None)
    judged = np.asarray(log.events['judged']) == 1
    np.testing.assert_array_equal(part == UNUSED, ~judged)
    assert [(part == kind).sum() for kind in (TRAIN, TEST)] == [12 * 10, 12 * 3]
    source = RequestSource(
        log.folder,
        features={'user': (), 'candidate': ('item', 'category'), 'history': ('item', 'category')},
        label=LABEL,
        split=SPLIT,
        part='test',
        batch_size=36,
        shuffle=False,
        history_length=1000,
    )
    batch = source[0]
    assert (batch['history/length'] >= 900).all() and 0 < batch['label'].mean() < 1


def test_the_truth_reads_the_ids_of_batches(tmp_path):
    log = lifelong.simulate(tmp_path / 'log', **TINY)
    truth = lifelong_truth.load_truth(log.folder)
    raw = lifelong.make_truth(lifelong.World(**TINY))
    ids = np.unique(log.events['item'])
    number = log.vocabulary('item').decode(ids)
    np.testing.assert_array_equal(truth.group[ids], raw.group[number])
    np.testing.assert_array_equal(truth.category[ids], log.items['category'][ids])
    np.testing.assert_array_equal(truth.relevant(ids[:, None], ids), raw.relevant(number[:, None], number))
    assert truth.relevant(ids[:, None], ids).any()
    assert not truth.relevant(ids[:, None], np.asarray([0, 1])).any()
    assert not truth.relevant(np.asarray([[0], [1]]), ids).any()
    gaps = np.linspace(0, 3e7, len(ids))
    np.testing.assert_array_equal(truth.lent(ids[:, None], ids, gaps), raw.lent(number[:, None], number, gaps))


def test_what_random_and_recent_choices_find():
    draw = np.random.default_rng(0)
    length = np.asarray([0, 2, 5, 9])
    relevant = (draw.random((4, 3, 9)) < 0.4) & (np.arange(9) < length[:, None, None])
    found = lifelong_truth.beside_search(relevant, length[:, None], keep=3)
    for b, n in enumerate(length):
        for c in range(3):
            row = relevant[b, c, :n]
            assert found['all'][b, c] == row.sum()
            assert found['recent'][b, c] == row[max(n - 3, 0) :].sum()
            assert found['random'][b, c] == pytest.approx(row.sum() * (min(3, n) / n if n else 0))


def test_a_log_without_this_truth_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'log-truth holds no truth of a lifelong world.*lifelong\.simulate'):
        lifelong_truth.load_truth(tmp_path / 'log')


@pytest.mark.parametrize(
    ('knobs', 'message'),
    [
        ({'user': 5}, r"world\.user is not an option; did you mean 'users'"),
        ({'users': 0}, r'world\.users = 0; at least 1'),
        ({'page': 0}, r'world\.page = 0; at least 1'),
        ({'bias': 'low'}, r"world\.bias = 'low' is str, but float"),
        ({'seed': -1}, r'world\.seed = -1; a seed is 0 or more'),
        ({'strays': 1.5}, r'world\.strays = 1\.5 is a share, between 0 and 1'),
        ({'theme_groups': 1}, r'world\.theme_groups = 1; at least 2'),
        ({'categories': 2, 'themes': 10}, r'world\.categories = 2; at least 7'),
        ({'interests': 41}, r'world\.interests = 41; at most 40'),
        ({'recent': 501}, r'world\.recent = 501; at most 500'),
        ({'days': 0.0}, r'world\.days = 0\.0; it must be above 0'),
        ({'related': 0.8, 'lately': 0.3}, r'related = 0\.8 and world\.lately = 0\.3 .* together at most 1'),
        ({'history': 600}, r'world\.history = 600 has no room for 500 near behaviours.*raise it'),
    ],
)
def test_bad_knobs(tmp_path, knobs, message):
    with pytest.raises(ValueError, match=message):
        lifelong.simulate(tmp_path / 'log', **knobs)
    assert not (tmp_path / 'log').exists()
