"""The world of sessions: its truth against a slow one and its own draws, and what alignment can gain."""

import itertools
import json

import numpy as np
import pytest

from jaxrec.data.sessions.labels import SessionLabels, weighted
from jaxrec.data.simulators import sessions, sessions_truth
from jaxrec.data.simulators.sessions import Audience, generate, simulate
from jaxrec.data.simulators.sessions_world import World, load_truth, make_truth
from jaxrec.data.sources.session_source import SessionSource
from tests.oracles.sessions import rewards, view_logits

KNOBS = {
    'users': 150, 'items': 120, 'requests': 6, 'categories': 10, 'user_groups': 4, 'item_groups': 6,
    'interests': 3, 'content_dim': 8, 'shortest': 4, 'longest': 12,
}  # fmt: skip
RULES = [
    SessionLabels(20.0),
    SessionLabels(25.5, 'scaled', 'share', 'share', 'most'),
    SessionLabels(8.0, vtr='any', wtr='most', ltr='share'),
]


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sessions') / 'log'
    log = simulate(folder, **KNOBS)
    return log, Audience(folder)


def raw(log, name, ids):
    return log.vocabulary(name).decode(ids)


def any_sessions(log, count, slots, seed=0):
    """Users and sessions that the logger would hardly show: items and categories repeat."""
    rng = np.random.default_rng(seed)
    users = rng.integers(2, log.schema['user'].rows, count)
    items = rng.integers(2, 12, (count, slots)).astype(np.int32)
    return users, items


@pytest.mark.parametrize('labels', RULES)
def test_true_rewards_are_all_that_can_happen(world, labels):
    log, audience = world
    users, items = any_sessions(log, 12, 4)
    items[3, 2:] = items[7, 1:] = 0
    found = audience.true_rewards(users, items, labels)
    assert list(found) == ['swt', 'vtr', 'wtr', 'ltr']
    for b in range(12):
        user, session = raw(log, 'user', users[b]), raw(log, 'item', items[b][items[b] > 0])
        expected = rewards(audience.world, audience.truth, int(user), session.tolist(), labels)
        for head, value in expected.items():
            assert found[head][b] == pytest.approx(value, rel=1e-6, abs=1e-9), (head, b)
    np.testing.assert_allclose(weighted(found, {'swt': 2.0, 'ltr': 0.5}), 2 * found['swt'] + 0.5 * found['ltr'])


def test_logits_of_views_are_their_definition(world):
    log, audience = world
    users, items = any_sessions(log, 20, 6, seed=1)
    users, items = raw(log, 'user', users), raw(log, 'item', items)
    found = sessions_truth.view_logits(audience.world, audience.truth, users, items)
    for b in range(20):
        expected = view_logits(audience.world, audience.truth, users[b], items[b].tolist())
        np.testing.assert_allclose(found[b], expected, rtol=1e-5)


@pytest.mark.parametrize('labels', RULES)
def test_draws_have_the_true_means(world, labels):
    log, audience = world
    users, items = any_sessions(log, 6, 4, seed=2)
    items[5, 3] = 0
    expected = audience.true_rewards(users, items, labels)
    times = 4_000
    drawn = audience.respond(np.repeat(users, times), np.repeat(items, times, 0), seed=3)
    valid = np.repeat(items, times, 0) > 0
    found = labels.of_sessions(drawn, valid)
    for head, value in expected.items():
        means = found[head].reshape(6, times).mean(1)
        error = np.maximum(found[head].reshape(6, times).std(1), 0.5 / times**0.5) / times**0.5
        assert (abs(means - value) < 4.5 * error + 1e-6).all(), (head, means, value)
    numbers = raw(log, 'item', np.where(valid, np.repeat(items, times, 0), 2))
    watched = drawn['watch_time'] >= np.ceil(audience.truth.length[numbers] / 2)
    np.testing.assert_array_equal(watched & valid, drawn['view'] == 1)
    assert not (drawn['like'] > drawn['view']).any() and not (drawn['watch_time'] * ~valid).any()


def test_the_log_is_drawn_from_the_truth(world):
    log, audience = world
    assert len(log) == 900 and log.manifest['provenance'] == 'simulated'
    assert log.shown == ('watch_time', 'view', 'like', 'follow')
    assert log.lengths.min() == 5 and log.lengths.max() == 10
    items = log.events['item'].rows(np.arange(len(log)), 10)
    assert all(len(set(row[row > 0])) == (row > 0).sum() for row in items)
    labels = SessionLabels(30.0, vtr='share', ltr='share', wtr='share')
    expected = audience.true_rewards(log.events['user'], items, labels)
    columns = {name: log.events[name].rows(np.arange(len(log)), 10) for name in log.shown}
    found = labels.of_sessions(columns, items > 0)
    for head, value in expected.items():
        spread = found[head].std() / len(log) ** 0.5
        assert abs(found[head].mean() - value.mean()) < 4.5 * spread, head
    assert np.corrcoef(found['swt'], expected['swt'])[0, 1] > 0.2
    users, category = raw(log, 'user', log.events['user']), audience.truth.category
    shown = np.repeat(users, log.lengths)
    mine = (audience.truth.interest[shown] == category[raw(log, 'item', log.of_shown('item'))][:, None]).any(1)
    assert 0.55 < mine.mean() < 0.75  # half by interest, and of the others three categories in ten


def test_items_of_a_session_do_something_to_each_other(world):
    log, audience = world
    labels, knobs = SessionLabels(20.0, vtr='share'), audience.world
    users = np.full(1, 5)
    items = np.asarray([[7, 9, 11, 13, 15]])
    orders = np.asarray(list(itertools.permutations(items[0])))
    by_order = audience.true_rewards(np.repeat(users, len(orders)), orders, labels)
    assert np.ptp(by_order['vtr']) > 0.01
    again = audience.true_rewards(users, np.asarray([[7, 7, 7, 7, 7]]), labels)
    assert again['vtr'][0] < 0.5 * audience.true_rewards(users, np.asarray([[7]]), labels)['vtr'][0]
    alone = World(**KNOBS | {'coupling': 0.0})
    raws = raw(log, 'item', orders)
    free = sessions_truth.true_rewards(alone, audience.truth, np.full(len(orders), 3), raws, labels)
    for head in free:
        np.testing.assert_allclose(free[head], free[head][0], rtol=1e-9)
    assert knobs.coupling == 1.0


def test_what_comes_later_changes_nothing_before(world):
    log, audience = world
    users, items = any_sessions(log, 30, 8, seed=4)
    users, items = raw(log, 'user', users), raw(log, 'item', items)
    whole = sessions_truth.view_logits(audience.world, audience.truth, users, items)
    first = sessions_truth.view_logits(audience.world, audience.truth, users, items[:, :5])
    np.testing.assert_array_equal(whole[:, :5], first)


def test_the_logger_is_far_from_the_best(world):
    log, audience = world
    features = {'candidate': ['item']}
    source = SessionSource(
        log.folder, features=features, history_length=1, items=3, mode='reward', part='test', batch_size=40,
        split={'kind': 'global_time'}, shuffle=False,
    )  # fmt: skip
    batch = source[0]
    users, logged = batch['host/group'], batch['target/item']
    of_logged = weighted(audience.true_rewards(users, logged, source.labels))
    chosen = np.zeros_like(logged)
    catalogue = np.arange(2, log.schema['item'].rows, dtype=np.int32)
    for slot in range(3):  # one after the other the item that is worth most
        tried = np.repeat(chosen[:, None], len(catalogue), 1)
        tried[:, :, slot] = catalogue
        flat = tried.reshape(-1, 3)[:, : slot + 1]
        worth = weighted(audience.true_rewards(np.repeat(users, len(catalogue)), flat, source.labels))
        chosen[:, slot] = catalogue[worth.reshape(40, -1).argmax(1)]
    best = weighted(audience.true_rewards(users, chosen, source.labels))
    assert best.mean() > 1.4 * of_logged.mean()


def test_content_tells_category_and_group(world):
    log, audience = world
    vectors = audience.item_vectors()
    assert vectors.shape == (122, 8) and vectors.dtype == np.float32 and not vectors[:2].any()
    numbers = raw(log, 'item', np.arange(2, 122))
    np.testing.assert_array_equal(vectors[2:], audience.truth.content[numbers])
    distance = np.linalg.norm(vectors[2:, None] - vectors[None, 2:], axis=-1)
    other = ~np.eye(120, dtype=bool)
    for name in ('category', 'group'):
        of_item = getattr(audience.truth, name)[numbers]
        same = of_item[:, None] == of_item
        assert distance[same & other].mean() < 0.9 * distance[~same].mean()
    assert 'group' not in log.schema and set(log.items.names) == {'category', 'length'}


def test_the_tables_of_groups_are_fair(world):
    lifts = make_truth(World(**KNOBS | {'item_groups': 60})).lifts
    np.testing.assert_array_equal(lifts, lifts.T)
    assert 0.1 < (lifts > 0).mean() < 0.2 and 0.1 < (lifts < 0).mean() < 0.2
    assert abs(lifts.mean()) < 0.05 and lifts.max() <= 0.8 * 1.5 + 1e-6


def test_a_world_is_made_once_and_again_the_same(world, tmp_path, monkeypatch):
    log, _ = world
    assert simulate(tmp_path / 'log', **KNOBS).manifest == log.manifest
    other = simulate(tmp_path / 'other', **KNOBS | {'seed': 1})
    assert other.manifest['fingerprint'] != log.manifest['fingerprint']
    monkeypatch.setattr(sessions, 'make_truth', lambda _: pytest.fail('made again'))
    assert simulate(tmp_path / 'log', **KNOBS).manifest == log.manifest
    assert json.loads((tmp_path / 'log-truth' / 'world.json').read_text())['requests'] == 6


def test_the_truth_beside_a_log_is_what_was_drawn(world, tmp_path):
    log, _ = world
    read, drawn = load_truth(log.folder), make_truth(World(**KNOBS))
    for name in drawn._fields:
        np.testing.assert_array_equal(getattr(read, name), getattr(drawn, name), err_msg=name)
        assert getattr(read, name).dtype == getattr(drawn, name).dtype, name
    with pytest.raises(ValueError, match='log-truth'):
        load_truth(tmp_path / 'log')


def test_every_category_has_items_and_a_user_no_interest_twice():
    truth = make_truth(World(**KNOBS))
    assert np.bincount(truth.category, minlength=10).tolist() == [12] * 10
    assert all(len(set(row)) == 3 for row in truth.interest.tolist())
    assert truth.length.min() >= 4 and truth.length.max() <= 12
    assert (np.diff(truth.strength, axis=1) < 0).all()


def test_blocks_are_seamless(monkeypatch):
    monkeypatch.setattr(sessions, 'BLOCK', 250)
    monkeypatch.setattr(sessions_truth, 'BLOCK', 7)
    knobs = World(**KNOBS)
    truth = make_truth(knobs)
    requests = generate(knobs, truth)
    assert len(requests['user']) == 900 == len(requests['item'].lengths)
    users, items = requests['user'][:30], requests['item'].rows(np.arange(30), 5)
    found = sessions_truth.true_rewards(knobs, truth, users, items, RULES[0])
    monkeypatch.undo()
    whole = sessions_truth.true_rewards(knobs, truth, users, items, RULES[0])
    for head in whole:
        np.testing.assert_allclose(found[head], whole[head], atol=1e-12)
    assert all(array.shape == (0,) for array in sessions_truth.true_rewards(
        knobs, truth, users[:0], items[:0], RULES[0]).values())  # fmt: skip


def test_ids_that_are_none_are_refused(world):
    log, audience = world
    users, items = any_sessions(log, 3, 4)
    for changed, message in (
        ((np.asarray([2, 1, 3]), items), r'user id 1 stands for no user of .*: ids are 2\.\.151'),
        ((users, np.where(items == items[1, 1], 122, items)), r'item id 122 stands for no item .* 2\.\.121'),
        ((users, np.where(np.arange(4) == 1, 0, items)), 'session 0 has an item behind an empty slot: move'),
    ):
        with pytest.raises(ValueError, match=message):
            audience.true_rewards(*changed, RULES[0])


@pytest.mark.parametrize(
    ('knobs', 'message'),
    [
        ({'user': 10}, r"world\.user is not an option; did you mean 'users'"),
        ({'least': 11}, r'world\.least = 11 is more than world\.most = 10: lower the one'),
        ({'shortest': 70}, r'world\.shortest = 70 is more than world\.longest = 60'),
        ({'interests': 41}, r'world\.interests = 41 is more than world\.categories = 40'),
        ({'items': 30}, r'world\.categories = 40 is more than world\.items = 30'),
        ({'related': 0.6}, r'world\.related = 0\.6: as many pairs spoil each other, so at most 0\.5'),
        ({'memory': 1.5}, r'world\.memory = 1\.5 is a share'),
        ({'view_share': 0.0}, r'world\.view_share = 0\.0; it must be above 0'),
        ({'days': 0.0}, r'world\.days = 0\.0; it must be above 0'),
        ({'requests': 0}, r'world\.requests = 0; at least 1'),
    ],
)
def test_bad_knobs_are_refused(tmp_path, knobs, message):
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path / 'log', **knobs)


def test_a_log_without_a_truth_has_no_audience(world, tmp_path):
    log, _ = world
    (tmp_path / 'log').symlink_to(log.folder)
    with pytest.raises(ValueError, match=r'world\.json is missing, .* make it by `sessions\.simulate`'):
        Audience(tmp_path / 'log')
