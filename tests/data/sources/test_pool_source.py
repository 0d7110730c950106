"""Batches of visits against a loop over the raw ones."""

import pickle

import numpy as np
import pytest

from jaxrec.data.pools.log import compile_pools
from jaxrec.data.sources.behaviour_source import make_loader
from jaxrec.data.sources.from_config import make_source
from jaxrec.data.sources.pool_source import ImpressionSource, PoolSource
from tests.data.sources.test_behaviour_source import same
from tests.data.worlds import POOL_COLUMNS, raw_articles, raw_visits, small_pools

FEATURES = {
    'user': ['traits', 'device', 'age'],
    'candidate': ['item', 'topic', 'words', 'price', 'affinity'],
    'history': ['item', 'topic'],
}


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return small_pools(tmp_path_factory.mktemp('pools') / 'log')


def make(log, **changes):
    return PoolSource(log.folder, **{'features': FEATURES, 'batch_size': 64} | changes)


def cut(ragged, n):
    return ragged.values[ragged.offsets[n] : ragged.offsets[n + 1]].tolist()


def test_batches_match_a_loop(log):
    raw, articles = raw_visits(), raw_articles()
    attributes = {name: n for n, name in enumerate(articles['item'].tolist())}
    item, topic = log.vocabulary('item'), log.vocabulary('topic')
    for index in (0, 2):
        batch = make(log)[index]
        for b, n in enumerate(batch['host/event']):
            assert n == index * 64 + b and batch['host/time'][b] == raw['time'][n]
            names = item.decode(batch['candidate/item'][b][batch['pool'][b]]).tolist()
            assert sorted(names) == sorted(cut(raw['pool'], n))
            assert names[batch['shown'][b]] == raw['item'][n] and batch['click'][b] == raw['click'][n]
            assert batch['propensity'][b] == np.float32(raw['propensity'][n])
            lent = dict(zip(cut(raw['pool'], n), cut(raw['affinity'], n), strict=True))
            for c, name in enumerate(names):
                assert batch['candidate/price'][b, c] == attributes[name] / 2
                assert topic.decode(batch['candidate/topic'][b, [c]])[0] == attributes[name] % 4
                assert (batch['candidate/words'][b, c] > 0).sum() == attributes[name] % 4
                assert batch['candidate/affinity'][b, c] == np.float32(lent[name])
            for name in ('item', 'topic', 'price', 'affinity'):
                assert not batch[f'candidate/{name}'][b, len(names) :].any()
            assert not batch['pool'][b, len(names) :].any()
            traits = batch['user/traits'][b]
            assert log.vocabulary('traits').decode(traits[traits > 0]).tolist() == cut(raw['traits'], n)
            met = cut(raw['history'], n)
            assert batch['history/length'][b] == len(met)
            assert item.decode(batch['history/item'][b, : len(met)]).tolist() == met
            topics = topic.decode(batch['history/topic'][b, : len(met)]).tolist()
            assert topics == [attributes[name] % 4 for name in met]


def test_dtypes_and_shapes_are_the_contract(log):
    wide = log.candidates + 2
    shapes = {name: (a.dtype.name, a.shape) for name, a in make(log, candidates=wide)[0].items()}
    assert shapes == {
        'user/traits': ('int32', (64, 4)),
        'user/device': ('int32', (64,)),
        'user/age': ('float32', (64,)),
        'candidate/item': ('int32', (64, wide)),
        'candidate/topic': ('int32', (64, wide)),
        'candidate/words': ('int32', (64, wide, 3)),
        'candidate/price': ('float32', (64, wide)),
        'candidate/affinity': ('float32', (64, wide)),
        'history/item': ('int32', (64, 3)),
        'history/topic': ('int32', (64, 3)),
        'history/length': ('int32', (64,)),
        'pool': ('bool', (64, wide)),
        'shown': ('int32', (64,)),
        'click': ('float32', (64,)),
        'propensity': ('float32', (64,)),
        'host/propensity': ('float64', (64,)),
        'host/time': ('int64', (64,)),
        'host/event': ('int64', (64,)),
    }


def test_each_visit_comes_once_in_order_and_the_last_batch_is_padded(log):
    source = make(log, first=10, last=211)
    batches = list(map(source.__getitem__, range(len(source))))
    assert len(batches) == 4 and source.visits == 201
    events = np.concatenate([b['host/event'] for b in batches])
    np.testing.assert_array_equal(events[:201], np.arange(10, 211))
    padding = {name: array[9:] for name, array in batches[-1].items()}
    assert (padding['host/event'] == -1).all() and not padding['pool'].any()
    assert (padding['propensity'] == 1).all() and (padding['host/propensity'] == 1).all() and not padding['click'].any()
    assert not padding['candidate/item'].any()


def test_impressions_are_the_shown_items(log):
    source, raw = make(log), raw_visits()
    rows = np.asarray([3, 3, 250, 60])
    batch = source.impressions(rows)
    assert batch['candidate/item'].shape == batch['label'].shape == batch['valid'].shape == (4, 1)
    names = log.vocabulary('item').decode(batch['candidate/item'][:, 0])
    np.testing.assert_array_equal(names, raw['item'][rows])
    np.testing.assert_array_equal(batch['label'][:, 0], raw['click'][rows])
    np.testing.assert_array_equal(batch['click'], raw['click'][rows])
    assert batch['pool'].all() and batch['pool'].shape == (4, 1) and not batch['shown'].any()
    whole = source.at(rows)
    for name in ('price', 'affinity', 'topic'):
        shown = whole[f'candidate/{name}'][np.arange(4), whole['shown']]
        np.testing.assert_array_equal(batch[f'candidate/{name}'][:, 0], shown)
    for name in ('user/traits', 'history/item', 'history/length'):
        np.testing.assert_array_equal(batch[name], whole[name])


@pytest.mark.parametrize(
    ('slots', 'clicks', 'message'),
    [
        ([0, 40], [0, 1], r'visit 9 was shown slot 40 of a pool of \d+: give a place in it'),
        ([-1, 0], [0, 1], 'visit 3 was shown slot -1'),
        ([0, 0], [0, 2], 'visit 9 earned click 2: a click is 0 or 1'),
        ([0, 0], None, 'slots and clicks belong together'),
    ],
)
def test_impressions_that_cannot_be_are_refused(log, slots, clicks, message):
    clicks = clicks and np.asarray(clicks)
    with pytest.raises(ValueError, match=message):
        make(log).impressions(np.asarray([3, 9]), np.asarray(slots), clicks)


def test_a_ctr_model_trains_on_impressions(log):
    arguments = {
        'features': FEATURES, 'label': {'kind': 'impressions'}, 'split': {'kind': 'row_holdout'},
        'part': 'train', 'batch_size': 16,
    }  # fmt: skip
    source = make_source(log, **arguments)
    assert type(source) is ImpressionSource
    batch = source[1]
    whole = make(log).impressions(batch['host/event'][:, 0])
    assert whole.keys() - batch.keys() == {'pool', 'shown', 'click'}
    same(batch, {name: whole[name] for name in batch})


def test_a_log_of_unknown_propensities_has_none(tmp_path):
    raw = {name: raw_visits()[name] for name in ('time', 'item', 'pool', 'click')}
    log = compile_pools(tmp_path / 'log', raw, columns={})
    batch = make(log, features={'candidate': ['item']})[0]
    assert not {'propensity', 'host/propensity', 'history/length'} & batch.keys()


def test_a_resumed_loader_continues_exactly(log):
    unbroken, loader = list(make_loader(make(log))), make_loader(make(log))
    next(loader)
    state = pickle.loads(pickle.dumps(loader.get_state()))
    resumed = make_loader(make(log))
    resumed.set_state(state)
    for found, expected in zip(list(resumed), unbroken[1:], strict=True):
        same(found, expected)
    source = make(log, last=100)
    same(pickle.loads(pickle.dumps(source))[1], source[1])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'features': {'user': ['affinity']}}, "no user feature 'affinity': use any of traits, device, age"),
        ({'features': {'user': ['topic']}}, "no user feature 'topic'"),
        ({'features': {'user': ['true_user']}}, "no user feature 'true_user'"),
        ({'features': {'candidate': ['age']}}, "no candidate feature 'age': use any of item, topic, words"),
        ({'features': {'candidate': ['click']}}, "no candidate feature 'click'"),
        ({'features': {'item': ['item']}}, "no side 'item'"),
        ({'batch_size': 0}, 'batch_size is 0'),
        ({'first': 300}, r'visits 300\.\.300 .* do not exist: it has 300'),
        ({'last': 301}, r'visits 0\.\.301 .* do not exist'),
        ({'candidates': 2}, 'candidates=2 cuts the largest pool .* give at least as many'),
    ],
)
def test_bad_arguments_are_refused(log, changes, message):
    with pytest.raises(ValueError, match=message):
        make(log, **changes)


def test_a_log_without_histories_has_no_such_features(tmp_path):
    raw = {name: column for name, column in raw_visits().items() if name != 'history'}
    log = compile_pools(tmp_path / 'log', raw, raw_articles(), columns=POOL_COLUMNS)
    with pytest.raises(ValueError, match="no history feature 'item': use any of none"):
        make(log)
