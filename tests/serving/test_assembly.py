"""Batches of the assembler against those of `RequestBuilder`, and the long side against a loop."""

import dataclasses

import numpy as np
import pytest

from jaxrec.data.features.lifelong import PLACE, SLOT, read_lifelong
from jaxrec.data.features.time_gap import read_time_gap
from jaxrec.data.sources.requests import RequestBuilder
from jaxrec.serving import assembly
from jaxrec.serving.assembly import Request, RequestAssembler, Sizes
from tests.serving.worlds import COLUMNS, LABEL, loop, world

FEATURES = {'user': ['user', 'age'], 'candidate': ['item', 'genres', 'category', 'year'], 'history': COLUMNS}
SIZES = Sizes((1, 3, 8), (2, 5, 40))
GAPS = {'unit': 3, 'buckets': 6}


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    return world(tmp_path_factory.mktemp('world'))


def drawn_requests(log, count, seed=0, timed=True):
    draw = np.random.default_rng(seed)
    users = draw.integers(2, log.schema['user'].rows, count)
    items = [draw.integers(1, log.schema['item'].rows, size) for size in draw.integers(1, 41, count)]
    times = draw.integers(0, 60, count) if timed else [None] * count
    return [
        Request(int(user), item.astype(np.int32), time) for user, item, time in zip(users, items, times, strict=True)
    ]


@pytest.mark.parametrize('timed', [True, False])
@pytest.mark.parametrize('lifelong', [None, {'length': 9}, {'length': 20, 'search': 'hard', 'keep': 3}])
def test_batches_are_those_of_new_rows(made, timed, lifelong):
    log, index = made
    features = FEATURES | {'history': [name for name in COLUMNS if name != 'position']}
    gaps = GAPS if timed else None
    read = read_lifelong(lifelong, log), read_time_gap(gaps, log)
    assembler = RequestAssembler(index, features, 5, *read, SIZES)
    builder = RequestBuilder(log, features, LABEL, 5, lifelong=lifelong, time_gap=gaps)
    requests = drawn_requests(log, 6, timed=timed)
    batch = assembler.build(requests)
    assert batch['label'].shape == batch['valid'].shape == (8, 40)
    assert batch['valid'].sum(1).tolist() == [len(request.items) for request in requests] + [0, 0]
    for n, request in enumerate(requests):
        row = {'user': np.asarray([request.user], np.int32), 'item': request.items[None]}
        wanted = builder.build(row, np.asarray([request.time]) if timed else None)
        assert wanted.keys() == batch.keys()
        for key, column in wanted.items():
            assert batch[key].dtype == column.dtype, key
            of_candidates = key.startswith(('candidate/', 'kept/', 'label', 'valid'))
            found = batch[key][n, : len(request.items)] if of_candidates else batch[key][n]
            np.testing.assert_array_equal(found, column[0], err_msg=key)
    assert all((batch[key][6:] == 0).all() for key in batch)


def bucket(when, time, gaps):
    gap = max(int(when) - time, 0) // gaps['unit']
    return 1 + min(int(np.floor(np.log2(1 + gap))), gaps['buckets'] - 2)


@pytest.mark.parametrize('timed', [True, False])
@pytest.mark.parametrize(('length', 'keep'), [(10, 3), (1000, 4)])
def test_what_a_hard_search_keeps_is_what_a_loop_keeps(made, timed, length, keep):
    log, index = made
    lifelong = read_lifelong({'length': length, 'search': 'hard', 'keep': keep}, log)
    assembler = RequestAssembler(index, FEATURES, 2, lifelong, read_time_gap(GAPS, log), SIZES)
    requests, users = drawn_requests(log, 3, 1, timed), loop(log)
    batch = assembler.build(requests)
    for n, request in enumerate(requests):
        when = index.latest if request.time is None else request.time
        past = [e for e in users.get(request.user, []) if request.time is None or e['time'] < request.time]
        short, long = past[-2:], past[:-2][-length:]
        gaps = [bucket(when, event['time'], GAPS) for event in short]
        assert batch['history/gap'][n].tolist() == gaps + [0] * (2 - len(gaps))
        for c, item in enumerate(request.items):
            kept = [event for event in long if event['category'] == log.items['category'][item]][-keep:]
            assert batch['kept/length'][n, c] == len(kept)
            padding = [0] * (keep - len(kept))
            for name in ('item', 'category', 'position'):
                wanted = [event[name] for event in kept] + padding
                assert batch[f'kept/{name}'][n, c].tolist() == wanted
            gaps = [bucket(when, event['time'], GAPS) for event in kept]
            assert batch['kept/gap'][n, c].tolist() == gaps + padding
            for m, event in enumerate(kept):
                wanted = log.items['genres'].rows(np.asarray([event['item']]), 3)[0]
                assert batch['kept/genres'][n, c, m].tolist() == wanted.tolist()
        assert not batch['kept/item'][n, len(request.items) :].any()


def test_without_a_search_the_long_window_is_whole(made):
    log, index = made
    lifelong = read_lifelong({'length': 12}, log)
    assembler = RequestAssembler(index, FEATURES, 3, lifelong, read_time_gap(GAPS, log), SIZES)
    requests = drawn_requests(log, 2, 2)
    batch, users = assembler.build(requests), loop(log)
    for n, request in enumerate(requests):
        past = [event for event in users.get(request.user, []) if event['time'] < request.time]
        long = past[:-3][-12:]
        assert batch['long/length'].tolist()[n] == len(long)
        padding = [0] * (12 - len(long))
        assert batch['long/item'][n].tolist() == [event['item'] for event in long] + padding
        gaps = [bucket(request.time, event['time'], GAPS) for event in long]
        assert batch['long/gap'][n].tolist() == gaps + padding


@pytest.mark.parametrize(('groups', 'most', 'rows'), [((2, 9), 32, 9), ((2,), 32, 40), ((2, 9), 3, 40)])
def test_in_runs_and_spread_over_the_candidates_say_the_same(made, monkeypatch, groups, most, rows):
    log, index = made
    lifelong = read_lifelong({'length': 100, 'search': 'hard', 'keep': 3}, log)
    arguments = index, FEATURES, 2, lifelong, read_time_gap(GAPS, log)
    requests = drawn_requests(log, 3, 4)
    spread = RequestAssembler(*arguments, SIZES).build(requests)
    monkeypatch.setattr(assembly, 'RUN', most)
    shared = RequestAssembler(*arguments, dataclasses.replace(SIZES, groups=groups)).build(requests)
    slot, place = shared.pop(SLOT), shared.pop(PLACE)
    assert shared['kept/item'].shape == (3, rows, 3) and slot.shape == (3, rows, most)
    assert shared.keys() == spread.keys()
    for n, request in enumerate(requests):
        count = len(request.items)
        assert len(set(place[n, :count])) == count and not place[n, count:].any()
        assert slot[n].reshape(-1)[place[n, :count]].tolist() == list(range(count))
        for key, array in shared.items():
            of_kept = key.startswith('kept/')
            found = array[n][place[n, :count] // most] if of_kept else array[n]
            np.testing.assert_array_equal(found, spread[key][n, :count] if of_kept else spread[key][n], key)


def test_runs_are_of_one_value_and_no_longer_than_they_may_be():
    values = np.asarray([7, 2, 7, 7, 9, 7, 2, 7])
    of_run, slot, place = assembly.cut_runs(values, 2)
    assert of_run.tolist() == [2, 7, 7, 7, 9]
    assert slot.tolist() == [[1, 6], [0, 2], [3, 5], [7, 0], [4, 0]]
    assert place.tolist() == [2, 0, 3, 4, 8, 5, 1, 6]
    assert slot.dtype == place.dtype == np.int32


def test_a_new_behaviour_is_in_the_next_batch(tmp_path):
    log, index = world(tmp_path)
    lifelong = read_lifelong({'length': 1000, 'search': 'hard', 'keep': 4}, log)
    assembler = RequestAssembler(index, FEATURES, 1, lifelong, sizes=SIZES)
    request = Request(3, np.asarray([5], np.int32))
    before = assembler.build([request])
    new = {'item': np.asarray([5, 5, 9]), 'position': np.asarray([1, 1, 2]), 'time': np.asarray([90, 91, 92])}
    index.append(np.asarray([3, 3, 3]), new)
    after = assembler.build([request])
    assert before['history/item'][0, 0] != 9 and after['history/item'][0, 0] == 9
    kept = before['kept/length'][0, 0]
    assert kept < 4 or before['kept/item'][0, 0, -2:].tolist() != [5, 5]
    last = after['kept/length'][0, 0]
    assert after['kept/item'][0, 0, last - 2 : last].tolist() == [5, 5]


def test_a_user_that_the_log_does_not_know_has_no_history(made):
    log, index = made
    lifelong = read_lifelong({'length': 1000, 'search': 'hard', 'keep': 4}, log)
    assembler = RequestAssembler(index, FEATURES, 3, lifelong, sizes=SIZES)
    batch = assembler.build([Request(1, np.asarray([5, 6], np.int32))])
    assert batch['user/user'].tolist() == [1]
    assert not batch['history/length'].any() and not batch['kept/length'].any()


@pytest.mark.parametrize(
    ('features', 'lifelong', 'message'),
    [
        ({'candidate': ['item', 'position']}, None, "no candidate feature 'position': use any of item, genres"),
        ({'history': ['rating']}, None, "no history feature 'rating'"),
        ({'user': ['item']}, None, "no user feature 'item'"),
        ({}, {'length': 5, 'search': 'hard', 'column': 'item'}, "branches by 'category': build an index of"),
    ],
)
def test_what_the_index_does_not_have_is_refused(made, features, lifelong, message):
    log, index = made
    with pytest.raises(ValueError, match=message):
        RequestAssembler(index, FEATURES | features, 5, read_lifelong(lifelong, log))


@pytest.mark.parametrize('sizes', [(), (0, 2), (4, 2), (2, 2)])
def test_sizes_that_do_not_ascend_are_refused(sizes):
    with pytest.raises(ValueError, match=r'sizes of requests are .*: give ascending numbers from 1 on'):
        Sizes(requests=sizes)
