"""Batches of sessions against a loop over the log's requests."""

import pickle

import numpy as np
import pytest

from jaxrec.data.sessions.labels import SessionLabels
from jaxrec.data.sessions.log import compile_sessions
from jaxrec.data.sources.behaviour_source import make_loader
from jaxrec.data.sources.from_config import make_source
from jaxrec.data.sources.session_source import SessionSource
from jaxrec.data.sources.splits import PARTS, make_split
from tests.data.sources.test_behaviour_source import same
from tests.data.worlds import raw_sessions, small_sessions
from tests.oracles.sessions import history, quality, requests_of, session_labels

FEATURES = {
    'user': ['user', 'device'],
    'candidate': ['item', 'category', 'tags', 'length'],
    'history': ['item', 'category', 'tags', 'watch_time'],
}
SPLIT = {'kind': 'global_time', 'validation': 0.2, 'test': 0.2}
FILTER = {'watched': 2, 'quantile': None, 'interactions': ()}
ANY_OF = {'any_of': ('view', 'like')}


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return small_sessions(tmp_path_factory.mktemp('sessions') / 'log')


def make(log, **changes):
    arguments = {
        'features': FEATURES,
        'label': ANY_OF,
        'split': SPLIT,
        'part': 'train',
        'batch_size': 16,
        'history_length': 6,
        'items': 3,
        'quality': FILTER,
        'epochs': 3,
        'seed': 4,
    }
    return SessionSource(log.folder, **arguments | changes)


def bag(log, item):
    tags = log.items['tags']
    return [*tags.values[tags.offsets[item] : tags.offsets[item + 1]].tolist(), 0, 0][:2]


def check_history(log, requests, batch, b, n, any_of, length):
    request = requests[n]
    met = history(requests, request['user'], request['time'], any_of)[-length:]
    pad = [0] * (length - len(met))
    assert batch['history/length'][b] == len(met)
    assert batch['history/item'][b].tolist() == [item for item, _ in met] + pad
    assert batch['history/watch_time'][b].tolist() == [np.float32(seconds) for _, seconds in met] + pad
    assert batch['history/category'][b].tolist() == [log.items['category'][item] for item, _ in met] + pad
    assert batch['history/tags'][b].tolist() == [bag(log, item) for item, _ in met] + [[0, 0]] * len(pad)


@pytest.mark.parametrize('choose', ['first', 'positive', 'sample'])
@pytest.mark.parametrize('length', [1, 6, 300])
def test_batches_match_a_loop(log, choose, length):
    source, requests = make(log, choose=choose, history_length=length), requests_of(log)
    for batch in (source[0], source[source.steps + 1]):
        for b, n in enumerate(batch['host/event']):
            request = requests[n]
            assert batch['host/group'][b] == batch['user/user'][b] == request['user']
            assert batch['user/device'][b] == log.events['device'][n]
            check_history(log, requests, batch, b, n, ANY_OF['any_of'], length)
            items = batch['target/item'][b].tolist()
            if choose == 'first':
                assert items == request['item'][:3]
            elif choose == 'positive':
                shown = zip(request['item'], request['view'], request['like'], strict=True)
                assert items == [item for item, view, like in shown if view or like][:3]
            else:
                rest = iter(request['item'])
                assert all(item in rest for item in items), 'a sample keeps the order of display'
            assert batch['target/category'][b].tolist() == [log.items['category'][i] for i in items]
            assert batch['target/tags'][b].tolist() == [bag(log, i) for i in items]
            assert batch['target/length'][b].tolist() == [log.items['length'][i] for i in items]
        assert batch['valid'].shape == (16, 3) and (batch['valid'] == 1).all()


def wanted_rows(log, requests, part, items=3, positive=False, any_of=('view', 'like'), **filter_):
    kept = np.asarray(
        [
            len(r['item']) >= items
            and quality(r, **filter_)
            and (not positive or sum(map(max, zip(*(r[name] for name in any_of), strict=True))) >= items)
            for r in requests
        ]
    )
    return np.flatnonzero(kept & (make_split(SPLIT)(log, kept) == PARTS[part]))


@pytest.mark.parametrize('part', ['train', 'validation', 'test'])
def test_examples_are_the_good_sessions_of_the_part(log, part):
    requests = requests_of(log)
    for choose in ('first', 'positive'):
        source = make(log, part=part, choose=choose, shuffle=False, remainder='pad', epochs=1)
        events = np.concatenate([source[i]['host/event'] for i in range(len(source))])
        expected = wanted_rows(log, requests, part, positive=choose == 'positive', watched=2)
        np.testing.assert_array_equal(events[events >= 0], expected)
        assert source.examples == len(expected) and (events[len(expected) :] == -1).all()
    short = sum(len(request['item']) < 3 for request in requests)
    assert source.left_out['fewer than 3 positive items'] > short and 'not of high quality' in source.left_out
    everything = make(log, part=part, quality=None, shuffle=False, remainder='pad', epochs=1)
    assert everything.selection is None and everything.left_out == {'fewer than 3 items': short}
    assert everything.examples == len(wanted_rows(log, requests, part))


def test_thresholds_are_of_the_training_split(log):
    requests, train = requests_of(log), make_split(SPLIT)(log, np.ones(len(log), bool)) == 0
    seconds = np.asarray([sum(request['watch_time']) for request in requests])
    source = make(log, part='test', quality={'watched': None, 'interactions': ()}, batch_size=4)
    assert source.selection.threshold == np.median(seconds[train])
    reward = make(log, part='test', mode='reward', batch_size=4)
    long = np.asarray([len(request['item']) >= 3 for request in requests])
    first = np.asarray([sum(request['watch_time'][:3]) for request in requests])
    assert reward.labels.threshold == np.median(first[train & long])


@pytest.mark.parametrize('rules', [{}, {'swt': 'scaled', 'vtr': 'share', 'swt_threshold': 20.0}])
def test_labels_are_those_of_the_target(log, rules):
    source, requests = make(log, mode='reward', session_labels=rules), requests_of(log)
    assert source.heads == ('swt', 'vtr', 'wtr', 'ltr') and source.selection is None
    batch = source[1]
    for b, n in enumerate(batch['host/event']):
        first = {name: column[:3] for name, column in requests[n].items() if isinstance(column, list)}
        assert batch['target/item'][b].tolist() == first['item']
        for head, value in session_labels(source.labels, first).items():
            assert batch[f'label/{head}'][b] == np.float32(value)
        for head, name in (('vtr', 'view'), ('wtr', 'follow'), ('ltr', 'like')):
            assert batch[f'item_label/{head}'][b].tolist() == first[name]
        seconds = np.minimum(np.asarray(first['watch_time']) / (source.labels.threshold / 3), 1)
        np.testing.assert_allclose(batch['item_label/swt'][b], seconds, rtol=1e-6)


def test_a_log_without_some_labels_has_fewer_heads(tmp_path):
    raw = {name: raw_sessions()[name] for name in ('user', 'time', 'item', 'like')}
    log = compile_sessions(tmp_path / 'log', raw)
    features = {'candidate': ['item'], 'history': ['item']}
    source = make(log, features=features, label={}, mode='reward')
    assert source.heads == ('ltr',) and source.labels == SessionLabels()
    assert {name for name in source[0] if 'label' in name} == {'label/ltr', 'item_label/ltr'}
    bare = compile_sessions(tmp_path / 'bare', {name: raw[name] for name in ('user', 'time', 'item')})
    with pytest.raises(ValueError, match='has none of view, like, follow, share, so no shown item is known'):
        make(bare, features=features, label={})
    shared = raw_sessions()
    shared = {name: shared[name] for name in ('user', 'time', 'item')} | {'share': shared['like']}
    bare = compile_sessions(tmp_path / 'shared', shared)
    with pytest.raises(ValueError, match='has none of watch_time, view, follow, like, so a reward model has'):
        make(bare, features=features, label={}, mode='reward')


def test_dtypes_and_shapes_are_the_contract(log):
    shapes = {name: (a.dtype.name, a.shape) for name, a in make(log, mode='reward')[0].items()}
    heads = ('swt', 'vtr', 'wtr', 'ltr')
    assert shapes == {
        'user/user': ('int32', (16,)),
        'user/device': ('int32', (16,)),
        'history/item': ('int32', (16, 6)),
        'history/category': ('int32', (16, 6)),
        'history/tags': ('int32', (16, 6, 2)),
        'history/watch_time': ('float32', (16, 6)),
        'history/length': ('int32', (16,)),
        'target/item': ('int32', (16, 3)),
        'target/category': ('int32', (16, 3)),
        'target/tags': ('int32', (16, 3, 2)),
        'target/length': ('float32', (16, 3)),
        **{f'label/{head}': ('float32', (16,)) for head in heads},
        **{f'item_label/{head}': ('float32', (16, 3)) for head in heads},
        'valid': ('float32', (16, 3)),
        'host/group': ('int64', (16,)),
        'host/event': ('int64', (16,)),
    }


def test_draws_follow_seed_epoch_and_example(log):
    source = make(log, choose='sample', shuffle=False, remainder='pad')
    first, second = source[0], source[source.steps]
    np.testing.assert_array_equal(first['host/event'], second['host/event'])
    assert (first['target/item'] != second['target/item']).any()
    same(first, make(log, choose='sample', shuffle=False, remainder='pad', batch_size=16)[0])
    half = make(log, choose='sample', shuffle=False, remainder='pad', batch_size=8)
    np.testing.assert_array_equal(half[1]['target/item'], first['target/item'][8:])
    other = make(log, choose='sample', shuffle=False, remainder='pad', seed=5)[0]
    assert (other['target/item'] != first['target/item']).any()


def test_users_are_cut_by_share(log):
    cut = lambda **more: make(log, quality=None, part='train', batch_size=1, epochs=1, **more)
    users = lambda source: {int(source[i]['host/group'][0]) for i in range(len(source))}
    low, high = cut(users=(0.0, 0.5)), cut(users=(0.5, 1.0), seed=9)
    assert users(low).isdisjoint(users(high)) and low.examples + high.examples == cut().examples
    assert users(low) | users(high) == users(cut()) and low.left_out['other users'] > 0
    assert cut(mode='reward').labels == cut(mode='reward', users=(0.0, 0.5)).labels


def test_loading_pickling_and_processes(log):
    source = make(log)
    loader = make_loader(source)
    for index in range(3):
        same(next(loader), source[index])
    packed = pickle.dumps(source)
    assert len(packed) < 2000
    same(pickle.loads(packed)[4], source[4])
    halves = [make(log, process_index=p, process_count=2)[2] for p in (0, 1)]
    same({name: np.concatenate([h[name] for h in halves]) for name in halves[0]}, source[2])
    same(make_source(log, features=FEATURES, label=ANY_OF, split=SPLIT, part='train', batch_size=16,
                     history_length=6, items=3, quality=FILTER, epochs=3, seed=4)[0], source[0])  # fmt: skip


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'mode': 'rank'}, "mode 'rank' is unknown: use one of generate, reward"),
        ({'choose': 'last'}, "choose 'last' is unknown: use one of first, positive, sample"),
        ({'mode': 'reward', 'choose': 'sample'}, "a reward model reads the first: set choose to 'first'"),
        ({'items': 0}, 'items is 0: it must be at least 1'),
        ({'users': (0.5, 0.2)}, r'users \(0\.5, 0\.2\): give two ascending shares'),
        ({'label': {'any_of': ('watch_time',)}}, "label.any_of names 'watch_time': use any of view, like"),
        ({'label': {'any_of': ('share',)}}, "no 'share' for each shown item"),
        ({'label': {'kind': 'impressions'}}, 'label.kind is not an option'),
        ({'cartesian': {'pairs': (('item', 'history/item'),)}}, 'a session log has sessions: leave it out'),
        ({'features': {'candidate': ['like']}}, "has no candidate feature 'like': use any of item, category"),
        ({'features': {'user': ['length']}}, "has no user feature 'length': use any of user, device"),
        ({'features': {'history': ['device']}}, "has no history feature 'device'"),
        (
            {'items': 8},
            r'has 0 examples, no batch of 16.* \(of all parts, 150 requests are left out: fewer than 8 '
            r'items; how many a session has, data\.session says, and model\.session as it; data\.quality: 99 '
            r'of 150 sessions kept \(all of at least 2 watched: 99\)\)',
        ),
        ({'items': 40, 'mode': 'reward'}, r'no training session .* has 40 items, the longest has \d: lower'),
        ({'quality': {'watched': 2, 'sceonds': 3}}, "did you mean 'seconds'"),
    ],
)
def test_bad_arguments_are_refused(log, changes, message):
    with pytest.raises(ValueError, match=message):
        make(log, **changes)
