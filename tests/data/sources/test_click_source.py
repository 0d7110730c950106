import pickle

import numpy as np
import pytest

from jaxrec.data.sources.behaviour_source import make_loader
from jaxrec.data.sources.click_source import ClickSource
from jaxrec.data.sources.from_config import make_source
from tests.data.sources.test_behaviour_source import same
from tests.data.worlds import raw_clicks, small_clicks, small_log

FEATURES = {'candidate': ['site', 'ad', 'device', 'keywords', 'price']}
LABEL = {'kind': 'impressions'}
SPLIT = {'kind': 'days', 'held_out': 1}


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return small_clicks(tmp_path_factory.mktemp('clicks') / 'log')


def make(log, **changes):
    arguments = {'features': FEATURES, 'label': LABEL, 'split': SPLIT, 'part': 'train', 'batch_size': 32}
    return ClickSource(log.folder, **{'epochs': 3, 'seed': 4, **arguments, **changes})


def test_batches_match_a_loop(log):
    source, raw = make(log), raw_clicks()
    for index in (0, source.steps + 1):
        batch = source[index]
        assert batch['valid'].all()
        for b, row in enumerate(batch['host/event'][:, 0]):
            assert batch['label'][b, 0] == raw['click'][row]
            assert batch['candidate/price'][b, 0] == np.float32(raw['price'][row])
            for name in ('site', 'ad'):
                assert log.vocabulary(name).decode(batch[f'candidate/{name}'][b])[0] == raw[name][row]
            words = batch['candidate/keywords'][b, 0]
            listed = ['red', 'big', 'new'][: row % 4]
            assert log.vocabulary('keywords').decode(words[: len(listed)]).tolist() == listed
            assert not words[len(listed) :].any()


def test_dtypes_and_shapes_are_the_contract(log):
    shapes = {name: (array.dtype.name, array.shape) for name, array in make(log)[0].items()}
    assert shapes == {
        'candidate/site': ('int32', (32, 1)),
        'candidate/ad': ('int32', (32, 1)),
        'candidate/device': ('int32', (32, 1)),
        'candidate/keywords': ('int32', (32, 1, 3)),
        'candidate/price': ('float32', (32, 1)),
        'label': ('float32', (32, 1)),
        'valid': ('float32', (32, 1)),
        'host/event': ('int64', (32, 1)),
    }


@pytest.mark.parametrize('shuffle', [True, False])
def test_an_epoch_holds_each_impression_of_the_part_once(log, shuffle):
    source = make(log, remainder='pad', shuffle=shuffle)
    first_of_last_day = 1_400_025_600 + 4 * 86_400
    expected = np.flatnonzero(log.events['time'] < first_of_last_day)
    assert 0 < len(expected) % 32
    epochs = []
    for epoch in range(3):
        batches = [source[epoch * source.steps + step] for step in range(source.steps)]
        events = np.concatenate([b['host/event'][b['valid'] > 0] for b in batches])
        np.testing.assert_array_equal(np.sort(events), expected)
        assert (batches[-1]['host/event'][batches[-1]['valid'] == 0] == -1).all()
        epochs.append(events.tolist())
    assert (epochs[0] == epochs[1]) != shuffle


def test_processes_share_each_batch(log):
    whole = make(log, remainder='pad')
    shares = [make(log, remainder='pad', process_index=p, process_count=4) for p in range(4)]
    for index in (0, whole.steps - 1, len(whole) - 1):
        parts = [share[index] for share in shares]
        same({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, whole[index])


def test_a_resumed_loader_continues_exactly(log):
    unbroken, loader = list(make_loader(make(log))), make_loader(make(log))
    for _ in range(7):
        next(loader)
    state = pickle.loads(pickle.dumps(loader.get_state()))
    resumed = make_loader(make(log))
    resumed.set_state(state)
    rest = list(resumed)
    assert len(rest) == len(unbroken) - 7 > 0
    for found, expected in zip(rest, unbroken[7:], strict=True):
        same(found, expected)


def test_a_source_pickles_by_its_arguments(log):
    source = make(log)
    again = pickle.loads(pickle.dumps(source))
    assert repr(again) == repr(source) and type(again) is ClickSource
    same(again[5], source[5])


def test_a_log_finds_its_source(log, tmp_path):
    arguments = {'label': LABEL, 'split': {'kind': 'row_holdout'}, 'part': 'test', 'batch_size': 8}
    assert type(make_source(log, features=FEATURES, **arguments)) is ClickSource
    behaviours = small_log(tmp_path / 'log')
    features = {'candidate': ['item']}
    source = make_source(behaviours, features=features, history_length=4, **arguments)
    assert type(source).__name__ == 'RequestSource' and 'history/length' not in source[0]
    with pytest.raises(ValueError, match='is a click log, whose batches have no history_length: leave it out'):
        make_source(log, features=FEATURES, history_length=4, **arguments)


def test_pairs_of_columns_have_ids_from_training(log):
    cartesian = {'pairs': (('ad', 'candidate/site'),)}
    raw, rows = raw_clicks(), {}
    for part in ('train', 'test'):
        source = make(log, part=part, cartesian=cartesian, remainder='pad', epochs=1)
        assert [vocabulary.name for vocabulary in source.vocabularies] == ['adxsite']
        batches = [source[i] for i in range(len(source))]
        real = np.concatenate([b['valid'][:, 0] for b in batches]) > 0
        ids, events = (np.concatenate([b[n][:, 0] for b in batches])[real] for n in ('cartesian/adxsite', 'host/event'))
        rows[part] = [(raw['ad'][e], raw['site'][e], int(i)) for e, i in zip(events, ids, strict=True)]
    known = {(ad, site): i for ad, site, i in rows['train']}
    assert len(set(known.values())) == len(known) and min(known.values()) == 2
    assert all(known[ad, site] == i for ad, site, i in rows['train'])
    assert all(known.get((ad, site), 1) == i for ad, site, i in rows['test'])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'features': {'user': ['site'], 'candidate': ['ad']}}, "no user feature 'site': use any of none"),
        ({'features': {'candidate': ['click']}}, "no candidate feature 'click': use any of site, ad"),
        ({'label': {'kind': 'sampled_negatives'}}, "click log, .*use label kind 'impressions'"),
        ({'label': {'kind': 'rating', 'column': 'price'}}, "'price' is the label itself"),
        ({'split': {'kind': 'user_holdout'}}, 'click log without users, so user_holdout cannot cut it: use'),
        ({'batch_size': 4096}, 'no batch of 4096'),
    ],
)
def test_bad_arguments_are_refused(log, changes, message):
    with pytest.raises(ValueError, match=message):
        make(log, **changes)
