"""Session logs: requests read back as the raw ones, items never shown stay, bad sessions are named."""

import json
import pickle

import numpy as np
import pytest

from jaxrec.data.logs.columns import Ragged
from jaxrec.data.sessions.log import ColumnSpec, SessionLog, compile_sessions
from jaxrec.data.sources.from_config import stored
from tests.data.worlds import SESSION_COLUMNS, raw_sessions, raw_videos, small_sessions


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return small_sessions(tmp_path_factory.mktemp('sessions') / 'log')


def row(column, n):
    return column.values[column.offsets[n] : column.offsets[n + 1]]


def by_user_and_time(log, raw):
    """Which raw request each row of the log is."""
    users = log.vocabulary('user').encode(raw['user'])
    return sorted(range(len(users)), key=lambda n: (users[n], raw['time'][n]))


def test_requests_read_back_as_the_raw_ones(log):
    raw, item = raw_sessions(), log.vocabulary('item')
    order = by_user_and_time(log, raw)
    assert len(log) == len(order) == 150
    for n, given in enumerate(order):
        assert log.vocabulary('user').decode(log.events['user'][[n]])[0] == raw['user'][given]
        assert log.events['time'][n] == raw['time'][given]
        assert log.vocabulary('device').decode(log.events['device'][[n]])[0] == raw['device'][given]
        assert item.decode(row(log.events['item'], n)).tolist() == row(raw['item'], given).tolist()
        for name in ('watch_time', 'view', 'like', 'follow', 'position_bias'):
            found, expected = row(log.events[name], n), row(raw[name], given)
            np.testing.assert_array_equal(found, expected.astype(found.dtype))
    assert log.of_shown('watch_time').dtype == np.float32 and log.of_shown('view').dtype == np.int8
    users = log.user_offsets
    assert all((log.events['user'][users[u] : users[u + 1]] == u).all() for u in range(len(users) - 1))


def test_the_schema_says_what_a_model_may_know(log):
    described = {name: (c.kind, c.vocabulary, c.width) for name, c in log.schema.items()}
    assert described == {
        'user': ('categorical', 'user', 1),
        'item': ('categorical', 'item', 1),
        'device': ('categorical', 'device', 1),
        'category': ('categorical', 'category', 1),
        'tags': ('multi', 'tags', 2),
        'length': ('numeric', None, 1),
        **dict.fromkeys(('watch_time', 'view', 'like', 'follow', 'position_bias'), ('numeric', None, 1)),
    }
    assert log.shown == ('watch_time', 'view', 'like', 'follow', 'position_bias')


def test_items_that_were_never_shown_stay(log):
    videos, item = raw_videos(), log.vocabulary('item')
    assert log.schema['item'].rows == 35 and log.manifest['counts']['items'] == 33
    assert log.manifest['counts']['items_never_shown'] == 33 - len(np.unique(raw_sessions()['item'].values))
    ids = item.encode(videos['item'])
    assert (ids > 1).all()
    np.testing.assert_array_equal(log.items['length'][ids], videos['length'])
    np.testing.assert_array_equal(log.vocabulary('category').decode(log.items['category'][ids]), videos['category'])
    shown = np.bincount(item.encode(raw_sessions()['item'].values), minlength=35)
    np.testing.assert_array_equal(item.counts[ids], shown[ids] + 1)


def test_totals_are_those_of_a_loop(log):
    for most in (None, 2):
        expected = [row(log.events['watch_time'], n)[:most].sum() for n in range(len(log))]
        np.testing.assert_allclose(log.totals('watch_time', most), expected)
    np.testing.assert_array_equal(log.lengths, [len(row(log.events['item'], n)) for n in range(len(log))])


def test_a_log_is_compiled_once_reopened_and_never_overwritten(tmp_path):
    first = small_sessions(tmp_path / 'log')
    assert small_sessions(tmp_path / 'log').manifest == first.manifest
    with pytest.raises(ValueError, match='will not be overwritten'):
        small_sessions(tmp_path / 'log', seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ['log']
    manifest = json.loads((tmp_path / 'log' / 'manifest.json').read_text())
    assert (manifest['format'], manifest['provenance']) == ('jaxrec.session_log', 'simulated')
    again = stored(tmp_path / 'nowhere', str(tmp_path / 'log'))
    assert isinstance(again, SessionLog)
    np.testing.assert_array_equal(again.of_shown('item'), first.of_shown('item'))
    packed = pickle.dumps(first)
    assert len(packed) < 500 and len(pickle.loads(packed)) == 150


def test_columns_may_be_few(tmp_path):
    raw = {name: raw_sessions()[name] for name in ('user', 'time', 'item')}
    log = compile_sessions(tmp_path / 'log', raw)
    assert log.shown == () and set(log.schema) == {'user', 'item'} and log.items.names == ()
    assert log.manifest['counts']['items_never_shown'] == 0
    with pytest.raises(ValueError, match=r"no 'view' for each shown item, it has none: .* compile the log"):
        log.of_shown('view')


def changed(name, place, value):
    column = raw_sessions()[name]
    values = column.values.astype(np.float64).copy()
    values[place] = value
    return {name: column._replace(values=values)}


def emptied():
    offsets = raw_sessions()['item'].offsets
    lengths = np.diff(offsets)
    n = int(np.argmax(lengths == 1))
    kept = np.delete(np.arange(offsets[-1]), offsets[n])
    cut = np.append(0, np.cumsum(np.where(np.arange(len(lengths)) == n, 0, lengths)))
    return {
        name: Ragged(column.values[kept], cut) for name, column in raw_sessions().items() if isinstance(column, Ragged)
    }


def shorter():
    return {'like': raw_sessions()['like'].take(np.arange(149, -1, -1))}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (emptied, r'session \d+ \(user \'u\d\', time 10\d\d\) is empty: leave out requests'),
        (lambda: changed('watch_time', 9, -0.5), r'session \d+ \(.*\) has watch_time -0\.5 at its item \d'),
        (lambda: changed('watch_time', 9, np.inf), r'has watch_time inf at its item \d: it must be seconds'),
        (lambda: changed('like', 9, 2), r'has like 2\.0 at its item \d: it must be 0 or 1; mend it'),
        (lambda: changed('position_bias', 9, np.nan), r'has position_bias nan .* must be a finite number'),
        (shorter, r"column 'like' must have one number for each shown item of every session"),
        (lambda: {'view': raw_sessions()['device'] % 2}, r"column 'view' has not one number for each shown"),
        (lambda: {'time': -raw_sessions()['time']}, r"'time' is -10\d\d in row \d+: times must not be neg"),
        (lambda: {'time': raw_sessions()['time'][:9]}, r'events columns have unequal lengths'),
        (lambda: {'item': raw_sessions()['device']}, r"'item' is described as multi: multi means `Ragged`"),
        (
            lambda: {'position_bias': raw_sessions()['item']},
            r"column 'position_bias' holds <U22: give numbers",
        ),
    ],
)  # fmt: skip
def test_bad_sessions_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        compile_sessions(tmp_path / 'log', raw_sessions() | changes(), raw_videos(), columns=SESSION_COLUMNS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['user', 'time', 'item'])
def test_key_columns_are_needed(tmp_path, name):
    raw = {key: column for key, column in raw_sessions().items() if key != name}
    with pytest.raises(ValueError, match=f"events lack the key column '{name}'"):
        compile_sessions(tmp_path / 'log', raw, raw_videos(), columns=SESSION_COLUMNS)


def test_unknown_items_are_named(tmp_path):
    few = {n: c.take(np.arange(20)) if isinstance(c, Ragged) else c[:20] for n, c in raw_videos().items()}
    with pytest.raises(ValueError, match=r"session \d+ .* shows item 'v1[23]\d', which is unknown: give it a row"):
        compile_sessions(tmp_path / 'log', raw_sessions(), few, columns=SESSION_COLUMNS)
    numbers = raw_videos() | {'item': np.arange(33)}
    with pytest.raises(ValueError, match=r'sessions hold items of dtype <U22, the items table holds int64'):
        compile_sessions(tmp_path / 'log', raw_sessions(), numbers, columns=SESSION_COLUMNS)


@pytest.mark.parametrize(
    ('columns', 'message'),
    [
        ({'item': ColumnSpec('multi', min_count=3)}, "column 'item' is described with a width, buckets, a floor"),
        ({'user': ColumnSpec('categorical', buckets=3)}, "column 'user' is described with buckets or a floor"),
        ({'like': ColumnSpec('numeric')}, "column 'like' has not one number for each shown item: give it as"),
        ({'colour': ColumnSpec('numeric')}, "`columns` describes 'colour', which no table has"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message):
        compile_sessions(tmp_path / 'log', raw_sessions(), raw_videos(), columns=SESSION_COLUMNS | columns)


def damage(folder, name, change):
    path = folder / 'events' / f'{name}.npy'
    array = np.load(path)
    change(array)
    np.save(path, array)


def set_to(place, value):
    return lambda array: array.__setitem__(place, value)


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        ('item.values', set_to(5, 1), r'item holds the unknown item 1 in row \d+: delete the folder'),
        ('item.values', set_to(5, 99), r'item holds ids 2\.\.99 but vocabulary'),
        ('item.offsets', lambda a: a.__setitem__(1, 0), r'item row 0 is an empty session'),
        ('view.offsets', lambda a: a.__setitem__(1, 0), r'view has not one number for each shown item'),
        ('like.values', set_to(7, 3), r'like holds 3 in row \d+, which no like can be'),
        ('watch_time.values', set_to(7, -1), r'watch_time holds -1\.0 in row \d+, which no watch_time'),
        ('time', set_to(0, 9_999), r'time\.npy is \d+ in row 1, earlier than before'),
    ],
)
def test_damaged_logs_are_refused(tmp_path, name, change, message):
    folder = small_sessions(tmp_path / 'log').folder
    damage(folder, name, change)
    with pytest.raises(ValueError, match=message):
        SessionLog(folder)
    assert len(SessionLog(folder, check_ids=False)) == 150


def test_values_of_shown_items_tell_no_rows_apart(log):
    with pytest.raises(ValueError, match=r"'view' of .* is multi-valued or hashed"):
        log.is_one_of('view', (1,))
