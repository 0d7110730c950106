"""Next items of behaviour logs and of session logs against a loop."""

import numpy as np
import pytest

from jaxrec.data.logs.behaviour_log import compile_log
from jaxrec.data.sources.behaviour_source import make_loader
from jaxrec.data.sources.next_item_source import NextItemSource
from tests.data.sources.test_behaviour_source import same
from tests.data.worlds import raw_world, small_clicks, small_log, small_sessions
from tests.oracles.sessions import history, requests_of

FEATURES = {'user': ['user', 'age'], 'candidate': ['item', 'genres'], 'history': ['item', 'genres', 'rating']}
SPLIT = {'kind': 'leave_last_out'}


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp('next') / 'log', events=300)


@pytest.fixture(scope='module')
def sessions(tmp_path_factory):
    return small_sessions(tmp_path_factory.mktemp('next') / 'sessions')


def make(log, **changes):
    arguments = {'features': FEATURES, 'split': SPLIT, 'part': 'train', 'batch_size': 4, 'history_length': 5}
    return NextItemSource(log.folder, **arguments | changes)


def all_of(source):
    batches = [source[i] for i in range(len(source))]
    joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    real = joined['host/event'] >= 0
    return {name: array[real] for name, array in joined.items()}


def examples_of(log, positive, part, min_history=1):
    """[(row, rows of its history)] of one part, by user and then in the order of the log."""
    users, times = log.events['user'], log.events['time'] if log.has_time else np.arange(len(log))
    found = []
    for user in np.unique(users):
        rows = [n for n in range(len(log)) if users[n] == user and positive[n]]
        cut = len(rows) - 2 if len(rows) >= 3 else len(rows)
        chosen = {'train': rows[:cut], 'validation': rows[cut : cut + 1], 'test': rows[cut + 1 :]}[part]
        for n in chosen:
            met = [m for m in rows if times[m] < times[n]]
            if len(met) >= min_history:
                found.append((n, met))
    return found


@pytest.mark.parametrize('part', ['train', 'validation', 'test'])
@pytest.mark.parametrize('label', [{}, {'kind': 'rating', 'threshold': 3.0}])
def test_leave_last_out_is_a_loop(log, part, label):
    positive = log.events['rating'] >= 3 if label else np.ones(len(log), bool)
    source = make(log, part=part, label=label, shuffle=False, remainder='pad')
    found, expected = all_of(source), examples_of(log, positive, part)
    items = log.events['item']
    assert found['host/event'].tolist() == [n for n, _ in expected] and source.examples == len(expected)
    for b, (n, met) in enumerate(expected):
        pad = [0] * (5 - len(met[-5:]))
        assert found['target/item'][b].tolist() == [items[n]] and found['valid'][b].tolist() == [1]
        assert found['history/item'][b].tolist() == items[met[-5:]].tolist() + pad
        assert found['history/rating'][b].tolist() == log.events['rating'][met[-5:]].tolist() + pad
        assert found['history/length'][b] == len(met[-5:])
        assert found['user/user'][b] == found['host/group'][b] == log.events['user'][n]
        assert found['user/age'][b] == log.users['age'][log.events['user'][n]]
    assert found['target/genres'].shape[1:] == (1, 3) and found['history/genres'].shape[1:] == (5, 3)


def test_one_example_a_user_is_its_last(log):
    found = all_of(make(log, per_user='last', shuffle=False, remainder='pad'))
    last = {}
    for n, _ in examples_of(log, np.ones(len(log), bool), 'train'):
        last[int(log.events['user'][n])] = n
    assert found['host/event'].tolist() == list(last.values())


@pytest.mark.parametrize('part', ['train', 'test'])
def test_windows_go_back_to_the_first_items_of_a_user(log, part):
    """In training each window's target is the third of the same user before that of the next one."""
    found = all_of(make(log, per_user='windows', part=part, history_length=3, shuffle=False, remainder='pad'))
    by_user = {}
    for n, _ in examples_of(log, np.ones(len(log), bool), part):
        by_user.setdefault(int(log.events['user'][n]), []).append(n)
    wanted = [n for rows in by_user.values() for n in (rows[::-1][::3][::-1] if part == 'train' else rows[-1:])]
    assert found['host/event'].tolist() == wanted and max(map(len, by_user.values())) > 3 * (part == 'train')
    assert found['history/item'].shape[1] == 3


def test_windows_of_a_user_cover_a_history(tmp_path):
    """Of 23 items in a row, histories of 5: what windows name as next leaves out the first item alone."""
    events = {'user': np.repeat(['a', 'b'], [23, 2]), 'item': np.array([f'i{n:02}' for n in range(25)])}
    log = compile_log(tmp_path / 'log', events)
    features = {'candidate': ['item'], 'history': ['item']}
    split = {'kind': 'user_holdout', 'validation': 0.0, 'test': 0.0}
    found = all_of(make(log, per_user='windows', split=split, features=features, shuffle=False, remainder='pad'))
    named = []
    for row in range(len(found['target/item'])):
        of_history = found['history/item'][row, 1 : found['history/length'][row]]
        named += [*of_history.tolist(), *found['target/item'][row].tolist()]
    names = log.vocabulary('item').decode(np.array(named)).tolist()
    assert sorted(names) == [f'i{n:02}' for n in range(25) if n not in (0, 23)]


def test_a_log_without_times_goes_by_its_order(tmp_path):
    raw = raw_world(events=80)
    events = {name: raw['events'][name] for name in ('user', 'item')}
    log = compile_log(tmp_path / 'log', events)
    features = {'candidate': ['item'], 'history': ['item']}
    found = all_of(make(log, part='test', features=features, shuffle=False, remainder='pad'))
    names = log.vocabulary('item')
    for b, user in enumerate(log.vocabulary('user').decode(found['host/group'])):
        mine = events['item'][events['user'] == user].tolist()
        assert names.decode(found['target/item'][b]).tolist() == mine[-1:]
        length = found['history/length'][b]
        assert names.decode(found['history/item'][b][:length]).tolist() == mine[:-1][-5:]


@pytest.mark.parametrize('part', ['train', 'test'])
def test_positive_items_of_a_request_share_their_history(sessions, part):
    features = {'user': ['user'], 'candidate': ['item', 'category'], 'history': ['item', 'watch_time']}
    split = {'kind': 'global_time'}
    source = make(
        sessions, features=features, split=split, part=part, label={'any_of': ('like',)}, min_history=2,
        shuffle=False, remainder='pad',
    )  # fmt: skip
    found, requests = all_of(source), requests_of(sessions)
    instants = sorted(request['time'] for request in requests)
    expected = []
    for n, request in enumerate(requests):
        late = request['time'] >= instants[int(len(requests) * 0.8)]
        early = request['time'] < instants[int(len(requests) * 0.7 + 1e-9)]
        met = history(requests, request['user'], request['time'], ('like',))
        if (early if part == 'train' else late) and len(met) >= 2:
            expected += [(n, item, met) for item, like in zip(request['item'], request['like'], strict=True) if like]
    assert found['host/event'].tolist() == [n for n, _, _ in expected] and len(expected) > 5
    for b, (n, item, met) in enumerate(expected):
        assert found['target/item'][b].tolist() == [item]
        assert found['target/category'][b].tolist() == [sessions.items['category'][item]]
        assert found['history/item'][b][: len(met[-5:])].tolist() == [i for i, _ in met[-5:]]
        assert found['history/length'][b] == len(met[-5:])
        assert found['user/user'][b] == requests[n]['user']


def test_the_last_request_with_a_positive_item_is_test(sessions):
    features = {'candidate': ['item'], 'history': ['item']}
    found = all_of(make(sessions, part='test', features=features, shuffle=False, remainder='pad', min_history=0))
    requests = requests_of(sessions)
    last = {}
    for n, request in enumerate(requests):
        if any(map(any, (request['view'], request['like'], request['follow']))):
            last[request['user']] = n
    assert sorted(set(found['host/event'].tolist())) == sorted(last.values())


def test_it_loads_as_the_others_do(log):
    source = make(log, batch_size=8, epochs=2)
    loader = make_loader(source)
    same(next(loader), source[0])
    assert source[0]['host/event'].shape == (8,)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'per_user': 'first'}, "per_user 'first' is unknown: use one of each, last, windows"),
        ({'history_length': 0}, 'history_length is 0: it must be at least 1'),
        ({'features': {'candidate': ['rating']}}, "has no candidate feature 'rating'"),
        ({'features': {'user': ['genres']}}, "has no user feature 'genres': use any of user, age"),
        ({'cartesian': {'pairs': (('item', 'history/item'),)}}, 'a next item has none: leave it out'),
        ({'label': {'kind': 'clicks'}}, "label kind 'clicks' is unknown"),
        ({'targets': 0}, 'targets is 0: it must be at least 1'),
        ({'targets': 3}, r'targets = 3: .* is a behaviour log, and only items of one request'),
        ({'targets': 3, 'per_user': 'last'}, "targets = 3 with per_user = 'last': one item of a user"),
        ({'widths': (3, 2)}, r'widths = \(3, 2\): give ascending lengths of histories, from 1 to below'),
        ({'widths': (5,)}, r'from 1 to below history_length = 5'),
    ],
)
def test_bad_arguments_are_refused(log, changes, message):
    with pytest.raises(ValueError, match=message):
        make(log, **changes)


def test_other_logs_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'is jaxrec\.click_log version 1, this library reads jaxrec\.behaviour'):
        make(small_clicks(tmp_path / 'clicks'), features={})
    with pytest.raises(ValueError, match=r'manifest\.json is missing, .* is no behaviour log'):
        NextItemSource(tmp_path, features={}, split=SPLIT, part='train', batch_size=1, history_length=1)


OF_SESSIONS = {
    'features': {'user': ['user'], 'candidate': ['item', 'category'], 'history': ['item', 'watch_time']},
    'split': {'kind': 'global_time'},
    'label': {'any_of': ('view', 'like')},
}


def told(batches):
    """Per real target (request, item, category, what is said of the history), sorted."""
    found = []
    for batch in batches:
        valid = batch['valid'].reshape(len(batch['valid']), -1)
        items, categories = (batch[f'target/{name}'].reshape(valid.shape) for name in ('item', 'category'))
        assert (items[valid == 0] == 0).all() and (categories[valid == 0] == 0).all()
        for b, slot in zip(*np.nonzero(valid), strict=True):
            length = batch['history/length'][b]
            past = [tuple(batch[f'history/{name}'][b, :length].tolist()) for name in ('item', 'watch_time')]
            row = batch['host/event'][b], batch['host/group'][b], batch['user/user'][b]
            found.append((*map(int, row), int(items[b, slot]), int(categories[b, slot]), *past))
    return sorted(found)


@pytest.mark.parametrize('targets', [2, 6])
@pytest.mark.parametrize('part', ['train', 'test'])
def test_items_of_a_request_stand_beside_one_history(sessions, part, targets):
    """The same items with the same histories, of which each stands there once for up to so many."""
    kept = {'part': part, 'shuffle': False, 'remainder': 'pad', **OF_SESSIONS}
    alone, together = make(sessions, **kept), make(sessions, targets=targets, **kept)
    one, several = ([source[i] for i in range(len(source))] for source in (alone, together))
    assert told(several) == told(one) and len(told(one)) == alone.examples == together.events > 20
    counts = np.unique([event for event, *_ in told(one)], return_counts=True)[1]
    assert together.examples == np.ceil(counts / targets).sum() < alone.examples
    assert several[0]['target/item'].shape == several[0]['valid'].shape == (4, targets, 1)
    assert several[0]['target/category'].shape[:3] == (4, targets, 1)
    real = np.concatenate([batch['valid'][batch['host/event'] >= 0] for batch in several])
    assert real.any((1, 2)).all() and counts.max() > 2


def test_histories_of_like_lengths_stand_together(log):
    """No example more or fewer, of batches of three shapes, whose histories would fit no shorter one."""
    kept = {'history_length': 9, 'min_history': 0, 'epochs': 3, 'seed': 7}
    padded, grouped = make(log, **kept), make(log, widths=(2, 5), **kept)
    assert (grouped.steps, grouped.examples, len(grouped)) == (padded.steps, padded.examples, len(padded))
    orders = []
    for epoch in range(3):
        batches, shapes = [], []
        for step in range(grouped.steps):
            batch = grouped[epoch * grouped.steps + step]
            width, longest = batch['history/item'].shape[1], batch['history/length'].max()
            assert width == min(w for w in (2, 5, 9) if w >= longest)
            assert batch['history/genres'].shape[:2] == batch['history/rating'].shape == (4, width)
            batches.append(batch)
            shapes.append(width)
        mine = {int(event): b for b, batch in enumerate(batches) for event in batch['host/event']}
        theirs = [padded[epoch * padded.steps + step] for step in range(padded.steps)]
        assert sorted(mine) == sorted(int(event) for batch in theirs for event in batch['host/event'])
        # Of each length at most one batch, on a border, reads more than it would have to.
        longer = [
            sum(np.searchsorted((2, 5, 9), batch['history/length']) < (2, 5, 9).index(width))
            for batch, width in zip(batches, shapes, strict=True)
        ]
        assert set(shapes) == {2, 5, 9} and sum(count > 0 for count in longer) <= 2
        assert shapes != sorted(shapes)
        orders.append(list(mine))
    assert orders[0] != orders[1]
    for batch in theirs:  # and every example says what it said
        for b, event in enumerate(batch['host/event']):
            at = batches[mine[int(event)]]
            row = int(np.flatnonzero(at['host/event'] == event)[0])
            length = batch['history/length'][b]
            assert at['history/length'][row] == length and at['target/item'][row] == batch['target/item'][b]
            for name in ('item', 'genres', 'rating'):
                np.testing.assert_array_equal(at[f'history/{name}'][row, :length], batch[f'history/{name}'][b, :length])
                assert not batch[f'history/{name}'][b, at[f'history/{name}'].shape[1] :].any()


def test_grouped_batches_go_on_where_they_stopped(log):
    source = make(log, history_length=9, widths=(2, 5), min_history=0, epochs=2)
    unbroken = list(make_loader(source))
    first = make_loader(source)
    stop = source.steps + 2  # within the second epoch
    for _ in range(stop):
        next(first)
    resumed = make_loader(make(log, history_length=9, widths=(2, 5), min_history=0, epochs=2))
    resumed.set_state(first.get_state())
    rest = list(resumed)
    assert len(unbroken) == len(source) and len(rest) == len(source) - stop > 3
    for got, want in zip(rest, unbroken[stop:], strict=True):
        same(got, want)


def test_processes_that_share_a_grouped_batch_have_one_shape(log):
    kept = {'history_length': 9, 'widths': (2, 5), 'min_history': 0}
    whole = make(log, **kept)
    parts = [make(log, process_index=i, process_count=2, **kept) for i in range(2)]
    for step in range(len(whole)):
        joined = [part[step] for part in parts]
        same({name: np.concatenate([part[name] for part in joined]) for name in joined[0]}, whole[step])


def test_only_shuffled_batches_are_grouped(log):
    for remainder in ('drop', 'pad'):
        kept = {'history_length': 9, 'min_history': 0, 'remainder': remainder}
        plain, grouped = (make(log, shuffle=False, widths=w, **kept) for w in ((), (2, 5)))
        for step in range(len(plain)):
            same(grouped[step], plain[step])
    shuffled = make(log, history_length=9, min_history=0, remainder='pad', widths=(2, 5), batch_size=9)
    events = np.concatenate([shuffled[step]['host/event'] for step in range(len(shuffled))])
    assert sorted(events[events >= 0]) == sorted(all_of(plain)['host/event'])
    assert len(events) - (events >= 0).sum() == -shuffled.examples % 9 == (events[-9:] < 0).sum() > 0
