import pickle

import numpy as np
import pytest

from jaxrec.data.features.labels import history_bounds, make_label
from jaxrec.data.sources.behaviour_source import RequestSource, make_loader
from jaxrec.data.sources.splits import make_split
from tests.data.worlds import small_log

FEATURES = {
    'user': ['user', 'age'],
    'candidate': ['item', 'category', 'genres', 'year', 'position'],
    'history': ['item', 'category', 'genres', 'year', 'rating'],
}
RATING = {'kind': 'rating', 'threshold': 3.0}
SAMPLED = {'kind': 'sampled_negatives', 'per_positive': 2, 'positives': RATING}
SPLIT = {'kind': 'per_user_time'}
BESIDE = ('item', 'category', 'genres', 'year')  # history features that an item has by itself


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp('source') / 'log')


def make(log, **changes):
    arguments = {
        'features': FEATURES,
        'label': RATING,
        'split': SPLIT,
        'part': 'train',
        'batch_size': 32,
        'history_length': 6,
        'epochs': 3,
        'seed': 4,
    }
    return RequestSource(log.folder, **arguments | changes)


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype, name
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def slow_example(log, event, item, positives, length):
    """One request, column by column."""
    rows = positives[-length:]
    pad = length - len(rows)
    genres = log.items['genres']
    bag = lambda i: (genres.values[genres.offsets[i] : genres.offsets[i + 1]].tolist() + [0] * 3)[:3]
    items = log.events['item']
    return {
        'user/user': log.events['user'][event],
        'user/age': log.users['age'][log.events['user'][event]],
        'candidate/item': [item],
        'candidate/category': [log.items['category'][item]],
        'candidate/genres': [bag(item)],
        'candidate/year': [log.items['year'][item]],
        'candidate/position': [log.events['position'][event]],
        'history/item': [*items[rows], *[0] * pad],
        'history/category': [*log.items['category'][items[rows]], *[0] * pad],
        'history/genres': [*(bag(items[r]) for r in rows), *[[0] * 3] * pad],
        'history/year': [*log.items['year'][items[rows]], *[0] * pad],
        'history/rating': [*log.events['rating'][rows], *[0] * pad],
        'history/length': len(rows),
        'host/group': log.events['user'][event],
        'host/event': [event],
    }


@pytest.mark.parametrize('label', [RATING, SAMPLED])
@pytest.mark.parametrize('length', [1, 6, 500])
def test_batches_match_a_loop(log, label, length):
    source = make(log, label=label, history_length=length)
    positive = make_label(RATING).positive(log)
    positives, start, end = history_bounds(log, positive)
    for batch in (source[0], source[source.steps + 1]):
        for b in range(32):
            event = batch['host/event'][b, 0]
            item = batch['candidate/item'][b, 0]
            history = positives[start[event] : end[event]].tolist()
            for name, expected in slow_example(log, event, item, history, length).items():
                np.testing.assert_array_equal(batch[name][b], expected, err_msg=name)
            is_own = item == log.events['item'][event]
            assert batch['label'][b, 0] == (positive[event] if label is RATING else is_own)
            assert label is SAMPLED or is_own


def test_dtypes_and_shapes_are_the_contract(log):
    batch = make(log)[0]
    shapes = {name: (array.dtype.name, array.shape) for name, array in batch.items()}
    assert shapes == {
        'user/user': ('int32', (32,)),
        'user/age': ('int32', (32,)),
        'candidate/item': ('int32', (32, 1)),
        'candidate/category': ('int32', (32, 1)),
        'candidate/genres': ('int32', (32, 1, 3)),
        'candidate/year': ('float32', (32, 1)),
        'candidate/position': ('int32', (32, 1)),
        'history/item': ('int32', (32, 6)),
        'history/category': ('int32', (32, 6)),
        'history/genres': ('int32', (32, 6, 3)),
        'history/year': ('float32', (32, 6)),
        'history/rating': ('float32', (32, 6)),
        'history/length': ('int32', (32,)),
        'label': ('float32', (32, 1)),
        'valid': ('float32', (32, 1)),
        'host/group': ('int64', (32,)),
        'host/event': ('int64', (32, 1)),
    }


@pytest.mark.parametrize('candidates', [2, 3, 50])
def test_events_of_one_instant_share_a_request(log, candidates):
    """Against a source of one candidate each: the same examples and histories, one request an instant."""
    options = {'part': 'test', 'shuffle': False, 'remainder': 'pad', 'epochs': 1}
    lifelong = {'lifelong': {'length': 20, 'search': 'hard', 'keep': 4}, 'time_gap': {'unit': 1, 'buckets': 8}}
    alone = make(log, **options, **lifelong)
    singles = {}
    for batch in (alone[i] for i in range(alone.steps)):
        for b in np.flatnonzero(batch['valid'][:, 0]):
            singles[int(batch['host/event'][b, 0])] = {name: value[b] for name, value in batch.items()}
    joined = make(log, **options, **lifelong, candidates=candidates)
    assert joined.events == alone.events and joined.examples < alone.examples
    met, instants = [], []
    for batch in (joined[i] for i in range(joined.steps)):
        assert batch['valid'].shape == (32, candidates)
        for b in np.flatnonzero(batch['valid'].any(1)):
            count = int(batch['valid'][b].sum())
            assert batch['valid'][b, :count].all()  # those that are left out come last
            events = batch['host/event'][b]
            assert (events[count:] == -1).all()
            for c, event in enumerate(events[:count]):
                for name, expected in singles[int(event)].items():
                    own = name.startswith(('candidate/', 'kept/', 'label', 'valid', 'host/event'))
                    found = batch[name][b, c] if own else batch[name][b]
                    np.testing.assert_array_equal(found, expected[0] if own else expected, err_msg=name)
            for name in ('label', 'kept/length', *(f'candidate/{n}' for n in FEATURES['candidate'])):
                assert not batch[name][b, count:].any(), name
            met += events[:count].tolist()
            instants.append((batch['host/group'][b], log.events['time'][events[0]]))
            assert len(set(log.events['time'][events[:count]].tolist())) == 1
    assert sorted(met) == sorted(singles)
    sizes = {key: sum(1 for e in met if key == (log.events['user'][e], log.events['time'][e])) for key in instants}
    assert len(instants) == sum(-(-size // candidates) for size in sizes.values())


def test_requests_of_several_candidates_are_shuffled_and_padded(log):
    source = make(log, candidates=3, remainder='pad')
    for epoch in range(2):
        batches = [source[epoch * source.steps + step] for step in range(source.steps)]
        events = np.concatenate([b['host/event'][b['valid'] > 0] for b in batches])
        assert len(events) == len(set(events.tolist())) == source.events
    copy = pickle.loads(pickle.dumps(source))
    same(copy[1], source[1])


def test_candidates_that_cannot_be_joined_are_refused(log):
    with pytest.raises(ValueError, match='candidates is 0: it must be at least 1'):
        make(log, candidates=0)
    with pytest.raises(ValueError, match=r"data\.candidates joins shown items.*'sampled_negatives'.*set it to 1"):
        make(log, candidates=2, label=SAMPLED)


@pytest.mark.parametrize('part', ['train', 'validation', 'test'])
@pytest.mark.parametrize('shuffle', [True, False])
def test_an_epoch_holds_each_event_of_the_part_once(log, part, shuffle):
    source = make(log, part=part, remainder='pad', shuffle=shuffle)
    expected = np.flatnonzero(make_split(SPLIT)(log, None) == ['train', 'validation', 'test'].index(part))
    epochs = []
    for epoch in range(3):
        batches = [source[epoch * source.steps + step] for step in range(source.steps)]
        events = np.concatenate([b['host/event'][b['valid'] > 0] for b in batches])
        np.testing.assert_array_equal(np.sort(events), expected)
        epochs.append(events.tolist())
    assert (epochs[0] == epochs[1]) != shuffle


def test_negatives_change_with_the_epoch_and_keep_their_number(log):
    source = make(log, label=SAMPLED, remainder='pad')
    drawn = []
    for epoch in range(2):
        batches = [source[epoch * source.steps + step] for step in range(source.steps)]
        real = np.concatenate([b['valid'][:, 0] for b in batches]) > 0
        column = {
            n: np.concatenate([b[n][:, 0] for b in batches])[real] for n in ('label', 'host/event', 'candidate/item')
        }
        assert column['label'].sum() * 3 == real.sum() == source.examples
        negative = column['label'] == 0
        drawn.append(sorted(zip(column['host/event'][negative], column['candidate/item'][negative], strict=True)))
    assert drawn[0] != drawn[1]


def test_padding_is_zero_and_not_valid(log):
    source = make(log, remainder='pad')
    short = source.examples % 32
    last = source[source.steps - 1]
    assert 0 < short < 32
    assert last['valid'][:, 0].tolist() == [1.0] * short + [0.0] * (32 - short)
    for name, array in last.items():
        assert (array[short:] == (-1 if name == 'host/event' else 0)).all(), name


@pytest.mark.parametrize('remainder', ['drop', 'pad'])
@pytest.mark.parametrize('label', [RATING, SAMPLED])
def test_processes_share_each_batch(log, remainder, label):
    options = {'remainder': remainder, 'label': label, 'history_negatives': 'uniform'}
    whole = make(log, **options)
    shares = [make(log, **options, process_index=p, process_count=4) for p in range(4)]
    assert {len(share) for share in shares} == {len(whole)}
    for index in (0, whole.steps - 1, whole.steps, len(whole) - 1):
        parts = [share[index] for share in shares]
        assert {len(part['label']) for part in parts} == {8}
        same({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, whole[index])


def test_min_history_leaves_out_the_beginning(log):
    source = make(log, min_history=3, remainder='pad', epochs=1)
    assert source.examples < make(log).examples
    lengths = np.concatenate([source[i]['history/length'][source[i]['valid'][:, 0] > 0] for i in range(len(source))])
    assert lengths.min() == 3


@pytest.mark.parametrize('threads', [1, 3])
def test_the_loader_yields_the_batches_in_order(log, threads):
    source = make(log)
    batches = list(make_loader(source, threads=threads))
    assert len(batches) == len(source) == 3 * source.steps
    for index in (0, source.steps, len(source) - 1):
        same(batches[index], source[index])


@pytest.mark.parametrize('stop', [1, 12, 20])
def test_a_resumed_loader_continues_exactly(log, stop):
    source = make(log, label=SAMPLED, history_negatives='popularity')
    unbroken = list(make_loader(source))
    first = make_loader(source)
    for _ in range(stop):
        next(first)
    state = pickle.loads(pickle.dumps(first.get_state()))
    next(first)
    resumed = make_loader(make(log, label=SAMPLED, history_negatives='popularity'))
    resumed.set_state(state)
    rest = list(resumed)
    assert len(rest) == len(unbroken) - stop > 0
    for found, expected in zip(rest, unbroken[stop:], strict=True):
        same(found, expected)


def test_a_source_pickles_by_its_arguments(log):
    source = make(log, label=SAMPLED)
    pickled = pickle.dumps(source)
    assert len(pickled) < 2000
    again = pickle.loads(pickled)
    assert repr(again) == repr(source)
    same(again[5], source[5])


def test_config_dicts_are_taken(log):
    config_dict = pytest.importorskip('ml_collections').ConfigDict
    source = make(log, label=config_dict(SAMPLED), split=config_dict(SPLIT), features=config_dict(FEATURES))
    assert repr(source) == repr(make(log, label=SAMPLED))


def test_large_histories_are_kept_in_files(log, monkeypatch):
    expected = make(log)[3]
    monkeypatch.setattr('jaxrec.data.features.gather.IN_MEMORY_BYTES', 0)
    same(make(log)[3], expected)
    cached = sorted(path.name for path in (log.folder / 'cache').iterdir())
    assert len(cached) == len(FEATURES['history'])
    same(make(log)[3], expected)
    assert sorted(path.name for path in (log.folder / 'cache').iterdir()) == cached


@pytest.mark.parametrize('sampler', ['uniform', 'popularity'])
@pytest.mark.parametrize('label', [RATING, SAMPLED])
def test_negatives_stand_beside_the_history(log, sampler, label):
    source, plain = make(log, label=label, history_negatives=sampler), make(log, label=label)
    for index in (0, source.steps + 1):
        batch, without = source[index], plain[index]
        drawn = {name: batch.pop(f'history_negative/{name}') for name in BESIDE}
        same(batch, without)  # drawing them changes nothing else
        for name in BESIDE:
            beside = batch[f'history/{name}']
            assert (drawn[name].dtype, drawn[name].shape) == (beside.dtype, beside.shape)
        real = np.arange(6) < batch['history/length'][:, None]
        assert real.any() and not real.all()
        assert (drawn['item'] != batch['history/item'])[real].all() and drawn['item'][real].min() >= 2
        np.testing.assert_array_equal(drawn['category'], log.items['category'][drawn['item']])
        np.testing.assert_array_equal(drawn['year'], log.items['year'][drawn['item']])
        genres = log.items['genres'].rows(drawn['item'].reshape(-1), 3).reshape(*real.shape, 3)
        np.testing.assert_array_equal(drawn['genres'], genres)
        assert not any(values[~real].any() for values in drawn.values())


def draws(source, epoch=0):
    """{(event, candidate): its negatives} of one epoch."""
    batches = [source[epoch * source.steps + step] for step in range(source.steps)]
    return {
        (batch['host/event'][b, 0], batch['candidate/item'][b, 0]): batch['history_negative/item'][b].tolist()
        for batch in batches
        for b in np.flatnonzero(batch['valid'][:, 0])
    }


def test_negatives_of_the_history_depend_on_seed_epoch_and_example_alone(log):
    options = {'history_negatives': 'uniform', 'remainder': 'pad'}
    first = draws(make(log, **options))
    assert draws(make(log, **options)) == first
    assert draws(make(log, **options, batch_size=7, shuffle=False)) == first
    others_left_out = {**FEATURES, 'history': ['item', 'rating']}
    assert draws(make(log, **options, features=others_left_out)) == first
    longer = draws(make(log, **options, min_history=6))
    assert len(longer) < len(first) and longer.items() <= first.items()
    for other in (draws(make(log, **options), epoch=1), draws(make(log, **options, seed=5))):
        assert other.keys() == first.keys()
        full = [key for key, values in first.items() if all(values)]
        assert np.mean([first[key] == other[key] for key in full]) < 0.05


def test_attributes_alone_have_negatives_too(log):
    features = {**FEATURES, 'history': ['category', 'rating']}
    batch = make(log, history_negatives='uniform', features=features)[0]
    whole = make(log, history_negatives='uniform')[0]
    assert 'history/item' not in batch and 'history_negative/item' not in batch
    np.testing.assert_array_equal(batch['history_negative/category'], whole['history_negative/category'])


def test_an_index_outside_is_an_error(log):
    source = make(log)
    for index in (-1, len(source)):
        with pytest.raises(IndexError):
            source[index]
