"""Lifelong histories and time gaps in batches, against plain loops over ragged lists of events."""

import pickle

import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxrec.data.features import histories
from jaxrec.data.features.labels import make_label
from jaxrec.data.sources.behaviour_source import RequestSource, make_loader
from jaxrec.data.sources.requests import RequestBuilder
from tests.data.worlds import small_log

FEATURES = {
    'user': ['user'],
    'candidate': ['item', 'genres', 'position'],
    'history': ['item', 'category', 'genres', 'year', 'rating'],
}
RATING = {'kind': 'rating', 'threshold': 2.0}
SAMPLED = {'kind': 'sampled_negatives', 'per_positive': 2, 'positives': RATING}
SHORT, LONG = 4, 9
GAP = {'unit': 3, 'buckets': 5}
HARD = {'length': LONG, 'search': 'hard', 'keep': 2}


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp('histories') / 'log', users=6, events=260, span=40)


def make(log, lifelong=None, time_gap=None, **changes):
    arguments = {
        'features': FEATURES,
        'label': RATING,
        'split': {'kind': 'per_user_time'},
        'part': 'train',
        'batch_size': 32,
        'history_length': SHORT,
        'epochs': 2,
        'seed': 4,
        'remainder': 'pad',
    }
    return RequestSource(log.folder, lifelong=lifelong, time_gap=time_gap, **arguments | changes)


def batches(source, epoch=0):
    return [source[epoch * source.steps + step] for step in range(source.steps)]


def examples(source, epoch=0):
    """(batch, place of an example in it), of all that are valid."""
    return [(batch, b) for batch in batches(source, epoch) for b in np.flatnonzero(batch['valid'][:, 0])]


def history_of(log, event):
    """Rows of the user's positive events strictly earlier, oldest first."""
    user, time = log.events['user'][event], log.events['time'][event]
    return [
        n
        for n in range(log.user_offsets[user], log.user_offsets[user + 1])
        if log.events['time'][n] < time and log.events['rating'][n] >= 2
    ]


def side(log, rows, slots, event=None):
    """The columns of some events, padded, as lists; the gaps to `event` if there is one."""
    genres, items, pad = log.items['genres'], log.events['item'], [0] * (slots - len(rows))
    bag = lambda i: (genres.values[genres.offsets[i] : genres.offsets[i + 1]].tolist() + [0] * 3)[:3]
    wanted = {
        'item': [*items[rows], *pad],
        'category': [*log.items['category'][items[rows]], *pad],
        'genres': [*(bag(items[n]) for n in rows), *[[0] * 3 for _ in pad]],
        'year': [*log.items['year'][items[rows]], *pad],
        'rating': [*log.events['rating'][rows], *pad],
        'length': len(rows),
    }
    if event is not None:
        gaps = [log.events['time'][event] - log.events['time'][n] for n in rows]
        wanted['gap'] = [*(1 + min(int(np.log2(1 + gap // 3)), 3) for gap in gaps), *pad]
    return wanted


def kept_of(log, rows, item, column, keep):
    value = lambda i: i if column == 'item' else log.items[column][i]
    return [n for n in rows if value(log.events['item'][n]) == value(item)][-keep:]


def assert_side(batch, b, name, wanted):
    for column, values in wanted.items():
        np.testing.assert_array_equal(batch[f'{name}/{column}'][b], values, err_msg=f'{name}/{column}')


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype, name
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize('label', [RATING, SAMPLED])
@pytest.mark.parametrize('gap', [None, GAP])
def test_the_long_window_is_what_lies_behind_the_short_one(log, label, gap):
    source, seen = make(log, {'length': LONG}, gap, label=label), set()
    assert any((batch['history/length'] < SHORT).any() for batch in batches(source))
    for batch, b in examples(source):
        event = batch['host/event'][b, 0]
        rows = history_of(log, event)
        since = event if gap else None
        assert_side(batch, b, 'history', side(log, rows[-SHORT:], SHORT, since))
        assert_side(batch, b, 'long', side(log, rows[:-SHORT][-LONG:], LONG, since))
        seen.add(min(len(rows), SHORT + LONG + 1))
    assert seen == set(range(SHORT + LONG + 2))  # none, fewer than S, S, up to S + L, and more


@pytest.mark.parametrize('label', [RATING, SAMPLED])
@pytest.mark.parametrize('column', ['category', 'item'])
@pytest.mark.parametrize(('length', 'keep'), [(LONG, 2), (LONG, 20), (500, 3)])
def test_a_search_keeps_the_latest_of_the_candidates_category(log, label, column, length, keep):
    lifelong = {'length': length, 'search': 'hard', 'keep': keep, 'column': column}
    source = make(log, lifelong, GAP, label=label)
    found = []
    for batch, b in examples(source):
        event, item = batch['host/event'][b, 0], batch['candidate/item'][b, 0]
        rows = kept_of(log, history_of(log, event)[:-SHORT][-length:], item, column, keep)
        wanted = side(log, rows, keep, event)
        assert_side(batch, b, 'kept', {name: [values] for name, values in wanted.items()})
        found.append(len(rows))
    assert min(found) == 0 and len(set(found)) > 1
    assert not any(name.startswith('long/') for name in source[0])


def test_dtypes_and_shapes_are_the_contract(log):
    shapes = lambda batch: {
        name: (array.dtype.name, array.shape)
        for name, array in batch.items()
        if name.split('/')[0] in ('long', 'kept') or name.endswith('/gap')
    }
    assert shapes(make(log)[0]) == {}
    assert shapes(make(log, {'length': LONG}, GAP)[0]) == {
        'history/gap': ('int32', (32, SHORT)),
        'long/item': ('int32', (32, LONG)),
        'long/category': ('int32', (32, LONG)),
        'long/genres': ('int32', (32, LONG, 3)),
        'long/year': ('float32', (32, LONG)),
        'long/rating': ('float32', (32, LONG)),
        'long/length': ('int32', (32,)),
        'long/gap': ('int32', (32, LONG)),
    }
    kept = {
        'history/gap': ('int32', (32, SHORT)),
        'kept/item': ('int32', (32, 1, 2)),
        'kept/category': ('int32', (32, 1, 2)),
        'kept/genres': ('int32', (32, 1, 2, 3)),
        'kept/year': ('float32', (32, 1, 2)),
        'kept/rating': ('float32', (32, 1, 2)),
        'kept/length': ('int32', (32, 1)),
        'kept/gap': ('int32', (32, 1, 2)),
    }
    assert shapes(make(log, HARD, GAP)[0]) == kept
    assert shapes(make(log, {**HARD, 'sample': 3}, GAP)[0]) == kept
    assert shapes(make(log, {'length': LONG, 'sample': 3})[0])['long/genres'] == ('int32', (32, 3, 3))


def test_a_description_without_keys_is_one_of_defaults(log):
    same(make(log, time_gap={})[0], make(log, time_gap={'unit': 86_400, 'buckets': 16})[0])


@pytest.mark.parametrize('lifelong', [None, {'length': LONG}, HARD, {**HARD, 'sample': 3}])
def test_the_rest_of_a_batch_stays_as_it_is(log, lifelong):
    options = {'label': SAMPLED, 'history_negatives': 'uniform'}
    without = make(log, **options)
    source = make(log, lifelong, GAP, **options)
    for index in (0, source.steps - 1, len(source) - 1):
        batch = source[index]
        for name in [n for n in batch if n.split('/')[0] in ('long', 'kept') or n.endswith('/gap')]:
            padding = batch.pop(name)[batch['valid'][:, 0] == 0]
            assert not padding.any(), name
        same(batch, without[index])


def test_negatives_beside_attributes_leave_items_out_of_every_side(log):
    features = {**FEATURES, 'history': ['category']}
    for lifelong in ({'length': LONG}, HARD):
        batch = make(log, lifelong, history_negatives='uniform', features=features)[0]
        assert 'history_negative/category' in batch
        assert not {f'{name}/item' for name in histories.SIDES} & batch.keys()


def samples(source, epoch=0):
    """{(event, candidate): items of its sample} of one epoch."""
    return {
        (batch['host/event'][b, 0], batch['candidate/item'][b, 0]): batch['long/item'][b].tolist()
        for batch, b in examples(source, epoch)
    }


@pytest.mark.parametrize('label', [RATING, SAMPLED])
def test_training_reads_a_sample_in_order(log, label):
    source = make(log, {'length': LONG, 'sample': 4}, GAP, label=label)
    differs = 0
    for batch, b in examples(source):
        event = batch['host/event'][b, 0]
        rows = history_of(log, event)[:-SHORT][-LONG:]
        assert batch['long/length'][b] == min(len(rows), 4)
        if len(rows) <= 4:
            assert_side(batch, b, 'long', side(log, rows, 4, event))
            continue
        # The events of the sample, found again by walking both lists; equal neighbours are alike anyway.
        items, place, picked = batch['long/item'][b].tolist(), 0, []
        for row in rows:
            if place < 4 and log.events['item'][row] == items[place]:
                picked, place = [*picked, row], place + 1
        assert place == 4
        differs += picked != rows[-4:]
    assert differs > 20


def test_samples_depend_on_seed_epoch_and_example_alone(log):
    lifelong = {'length': LONG, 'sample': 4}
    first = samples(make(log, lifelong))
    assert samples(make(log, lifelong, batch_size=7)) == first
    longer = samples(make(log, lifelong, min_history=6))
    assert len(longer) < len(first) and longer.items() <= first.items()
    for other in (samples(make(log, lifelong), epoch=1), samples(make(log, lifelong, seed=5))):
        assert other.keys() == first.keys()
        full = [key for key in first if len(history_of(log, key[0])) >= SHORT + LONG]
        assert np.mean([first[key] == other[key] for key in full]) < 0.2


@pytest.mark.parametrize('lifelong', [{'length': LONG}, HARD])
def test_evaluation_reads_everything(log, lifelong):
    whole = make(log, lifelong, GAP, shuffle=False, part='test')
    sampled = make(log, {**lifelong, 'sample': 3}, GAP, shuffle=False, part='test')
    for found, expected in zip(batches(sampled), batches(whole), strict=True):
        same(found, expected)


def test_a_search_in_a_sample_finds_what_the_sample_holds(log):
    long = make(log, {'length': LONG, 'sample': 5}, GAP, label=SAMPLED)
    kept = make(log, {**HARD, 'sample': 5}, GAP, label=SAMPLED)
    found = 0
    for (batch, b), (searched, _) in zip(examples(long), examples(kept), strict=True):
        category = log.items['category'][batch['candidate/item'][b, 0]]
        real = np.arange(5) < batch['long/length'][b]
        slots = np.flatnonzero((batch['long/category'][b] == category) & real)[-2:]
        assert searched['kept/length'][b, 0] == len(slots)
        for name in ('item', 'category', 'genres', 'year', 'rating', 'gap'):
            values = searched[f'kept/{name}'][b, 0]
            np.testing.assert_array_equal(values[: len(slots)], batch[f'long/{name}'][b][slots])
            assert not values[len(slots) :].any()
        found += len(slots)
    assert found > 20
    apart = make(log, {**HARD, 'sample': 5}, features={**FEATURES, 'history': ['item']}, label=SAMPLED)
    np.testing.assert_array_equal(apart[3]['kept/item'], kept[3]['kept/item'])  # category is no feature here


@pytest.mark.parametrize('lifelong', [{'length': LONG, 'sample': 3}, HARD, {**HARD, 'sample': 3}])
def test_processes_share_each_batch(log, lifelong):
    options = {'lifelong': lifelong, 'time_gap': GAP, 'label': SAMPLED}
    whole = make(log, **options)
    shares = [make(log, **options, process_index=p, process_count=4) for p in range(4)]
    for index in (0, whole.steps - 1, len(whole) - 1):
        parts = [share[index] for share in shares]
        same({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, whole[index])


@pytest.mark.parametrize('lifelong', [{'length': LONG, 'sample': 3}, HARD])
def test_a_resumed_loader_continues_exactly(log, lifelong):
    source = make(log, lifelong, GAP, label=SAMPLED)
    unbroken, first = list(make_loader(source)), make_loader(source)
    stop = source.steps + 3
    for _ in range(stop):
        next(first)
    resumed = make_loader(pickle.loads(pickle.dumps(source)))
    resumed.set_state(pickle.loads(pickle.dumps(first.get_state())))
    for found, expected in zip(list(resumed), unbroken[stop:], strict=True):
        same(found, expected)


def test_config_dicts_are_taken(log):
    source = make(log, ConfigDict(HARD), ConfigDict(GAP))
    assert repr(source) == repr(make(log, HARD, GAP))
    same(source[1], make(log, HARD, GAP)[1])


def test_large_columns_and_indices_are_kept_in_files(log, monkeypatch):
    expected = make(log, HARD, GAP)[3]
    monkeypatch.setattr('jaxrec.data.features.gather.IN_MEMORY_BYTES', 0)
    monkeypatch.setattr('jaxrec.data.features.hard_search.IN_MEMORY_BYTES', 0)
    for _ in range(2):
        same(make(log, HARD, GAP)[3], expected)


@pytest.mark.parametrize('lifelong', [None, {'length': LONG}, {**HARD, 'sample': 3}])
def test_rows_of_the_log_give_the_batches_of_the_source(log, lifelong):
    source = make(log, lifelong, GAP, part='test', shuffle=False)
    builder = RequestBuilder(log, FEATURES, RATING, SHORT, (), lifelong, GAP)
    for wanted in batches(source):
        rows = wanted['host/event'][:, 0]
        rows = rows[rows >= 0]
        columns = {name: log.events[name][rows] for name in ('user', 'item', 'position')}
        for times in (log.events['time'][rows], log.events['time'][rows] + 0.0):
            found = builder.build(columns, times)
            assert found.keys() == {key for key in wanted if not key.startswith('host/')}
            for key in found.keys() - {'label'}:
                np.testing.assert_array_equal(found[key], wanted[key][: len(rows)], err_msg=key)
                assert found[key].dtype == wanted[key].dtype


@pytest.mark.parametrize('time', [0, 20, 20.5, 1000])
def test_requests_of_several_candidates(log, time):
    builder = RequestBuilder(log, FEATURES, RATING, SHORT, (), HARD, GAP)
    draw = np.random.default_rng(0)
    users = np.asarray([1, *range(2, 8)], np.int32)
    items = draw.integers(1, log.schema['item'].rows, (7, 7)).astype(np.int32)
    position = draw.integers(2, 6, (7, 7)).astype(np.int32)
    batch = builder.build({'user': users, 'item': items, 'position': position}, np.full(7, time))
    assert batch['candidate/genres'].shape == (7, 7, 3) and batch['kept/genres'].shape == (7, 7, 2, 3)
    assert batch['label'].shape == batch['valid'].shape == (7, 7)
    np.testing.assert_array_equal(batch['candidate/position'], position)
    for c in range(7):  # each as if it were asked for alone
        alone = builder.build({'user': users, 'item': items[:, c], 'position': position[:, c]}, np.full(7, time))
        assert alone.keys() == batch.keys()
        for name, values in alone.items():
            per_candidate = name.split('/')[0] in ('candidate', 'kept', 'label', 'valid')
            np.testing.assert_array_equal(values, batch[name][:, c : c + 1] if per_candidate else batch[name])
    for b, c in np.ndindex(7, 7):
        rows = [
            n
            for n in range(*log.user_offsets[users[b] : users[b] + 2])
            if log.events['time'][n] < time and log.events['rating'][n] >= 2
        ]
        wanted = kept_of(log, rows[:-SHORT][-LONG:], items[b, c], 'category', 2)
        assert batch['kept/length'][b, c] == len(wanted)
        assert batch['kept/item'][b, c, : len(wanted)].tolist() == log.events['item'][wanted].tolist()


def test_ties_in_time_are_no_history(log):
    """Half of all events share their second with another of the user: none of them is in any side."""
    tied, source = 0, make(log, {'length': 500}, GAP)
    for batch, b in examples(source):
        event = batch['host/event'][b, 0]
        user = log.events['user'][event]
        rows = np.arange(*log.user_offsets[user : user + 2])
        positive = make_label(RATING).positive(log)[rows]
        now = log.events['time'][rows] == log.events['time'][event]
        earlier = log.events['time'][rows] < log.events['time'][event]
        assert batch['history/length'][b] + batch['long/length'][b] == (positive & earlier).sum()
        tied += (positive & now).sum() > 1
    assert tied > 20


def test_every_side_is_named(log):
    for lifelong, name in ((None, 'history'), ({'length': 3}, 'long'), (HARD, 'kept')):
        assert name in histories.SIDES and f'{name}/item' in make(log, lifelong)[0]
