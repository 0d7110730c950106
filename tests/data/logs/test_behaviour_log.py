import json
import pickle
import shutil

import numpy as np
import pytest

from jaxrec.data.logs.behaviour_log import BehaviourLog, ColumnSpec, compile_log
from tests.data.worlds import COLUMNS, raw_world, small_log


def test_events_are_sorted_stably_and_decode_to_the_raw_ones(tmp_path):
    raw = raw_world()
    log = compile_log(tmp_path / 'log', **raw, columns=COLUMNS)
    user, item = log.vocabulary('user'), log.vocabulary('item')
    compiled = list(
        zip(user.decode(log.events['user']), item.decode(log.events['item']), log.events['click'], strict=True)
    )
    ids = user.encode(raw['events']['user'])
    order = sorted(range(600), key=lambda n: (ids[n], raw['events']['time'][n]))
    assert compiled == [tuple(raw['events'][name][n] for name in ('user', 'item', 'click')) for n in order]


def test_user_offsets_delimit_each_user(tmp_path):
    log = small_log(tmp_path / 'log')
    assert log.user_offsets.shape == (log.schema['user'].rows + 1,)
    for user in range(log.schema['user'].rows):
        rows = np.flatnonzero(log.events['user'] == user)
        np.testing.assert_array_equal(np.arange(log.user_offsets[user], log.user_offsets[user + 1]), rows)


def test_attributes_are_read_by_id(tmp_path):
    log = small_log(tmp_path / 'log')
    raw = raw_world()
    names = log.vocabulary('item').decode(np.arange(2, log.schema['item'].rows))
    for item, name in enumerate(names, 2):
        row = int(name) - 100
        assert log.vocabulary('category').decode(log.items['category'][[item]])[0] == row % 5
        assert log.items['year'][item] == 1950 + row
        genres = log.items['genres'].rows(np.asarray([item]), 3)[0]
        raw_genres = raw['items']['genres']
        expected = raw_genres.values[raw_genres.offsets[row] : raw_genres.offsets[row + 1]]
        np.testing.assert_array_equal(log.vocabulary('genres').decode(genres[genres > 0]), expected)
    assert log.items['category'][:2].tolist() == [0, 1] and log.items['year'][:2].tolist() == [0, 0]
    assert not log.items['genres'].rows(np.arange(2), 3).any()


def test_manifest_counts_what_is_there_and_what_is_not(tmp_path):
    raw = raw_world()
    raw['items'] = {name: column for name, column in raw['items'].items() if name != 'genres'}
    raw['items'] = {name: np.append(column[1:], column[-1] + 1) for name, column in raw['items'].items()}
    source = tmp_path / 'events.csv'
    source.write_text('a,b\n')
    columns = {name: spec for name, spec in COLUMNS.items() if name != 'genres'}
    log = compile_log(tmp_path / 'log', **raw, columns=columns, sources=[source], dropped={'broken lines': 3})
    assert log.manifest['counts'] == {
        'events': 600,
        'items': 40,
        'items_without_attributes': 1,
        'users': 12,
        'users_without_attributes': 0,
    }
    assert log.manifest['dropped'] == {'broken lines': 3, 'items that occur in no event': 1}
    assert log.manifest['sources'][0]['name'] == 'events.csv' and log.manifest['sources'][0]['bytes'] == 4
    assert log.manifest['vocabularies']['item']['rows'] == 42
    missing = log.vocabulary('item').encode(np.asarray([100]))
    assert log.items['category'][missing] == 1


def test_frequency_floor_buckets_widths_and_shared_vocabularies(tmp_path):
    raw = raw_world()
    raw['events']['first_item'] = raw['events']['item'][::-1].copy()
    columns = COLUMNS | {
        'genres': ColumnSpec('multi', width=2),
        'position': ColumnSpec('categorical', buckets=7),
        'category': ColumnSpec('categorical', min_count=9),
        'item': ColumnSpec('categorical', vocabulary='movie'),
        'first_item': ColumnSpec('categorical', vocabulary='movie'),
    }
    log = compile_log(tmp_path / 'log', **raw, columns=columns)
    assert log.schema['genres'].width == 2 and log.items['genres'].lengths.max() == 2
    assert log.schema['position'].rows == 9
    assert log.schema['category'].rows == 2 and log.manifest['vocabularies']['category']['values_below_min_count'] == 5
    assert log.schema['first_item'] == log.schema['item']
    decoded = log.vocabulary('movie').decode(log.events['first_item'])
    assert sorted(decoded.tolist()) == sorted(raw['events']['first_item'].tolist())


def test_without_times_the_given_order_counts(tmp_path):
    raw = raw_world()
    del raw['events']['time']
    raw['events']['row'] = np.arange(600)
    log = compile_log(tmp_path / 'log', **raw, columns=COLUMNS)
    assert not log.has_time
    for user in range(2, log.schema['user'].rows):
        assert (np.diff(log.events['row'][log.user_offsets[user] : log.user_offsets[user + 1]]) > 0).all()


def test_other_key_names_are_renamed(tmp_path):
    events = {'who': np.asarray([1, 1]), 'what': np.asarray([7, 8]), 'when': np.asarray([1.5, 0.5])}
    items = {'what': np.asarray([7, 8]), 'kind': np.asarray(['a', 'b'])}
    log = compile_log(
        tmp_path / 'log',
        events,
        items,
        columns={'kind': ColumnSpec('categorical')},
        user='who',
        item='what',
        time='when',
    )
    assert log.vocabulary('item').decode(log.events['item']).tolist() == [8, 7]
    assert log.events['time'].tolist() == [0.5, 1.5]


def test_compiling_twice_returns_the_same_log_and_never_overwrites(tmp_path):
    first = small_log(tmp_path / 'log')
    written = (tmp_path / 'log' / 'manifest.json').stat().st_mtime_ns
    assert small_log(tmp_path / 'log').manifest == first.manifest
    assert (tmp_path / 'log' / 'manifest.json').stat().st_mtime_ns == written
    with pytest.raises(ValueError, match='will not be overwritten'):
        small_log(tmp_path / 'log', seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ['log']


def test_a_failed_compilation_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr('jaxrec.data.logs.vocabulary.Vocabulary.save', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        small_log(tmp_path / 'log')
    assert list(tmp_path.iterdir()) == []


def test_a_log_pickles_as_its_folder_and_moves(tmp_path):
    log = small_log(tmp_path / 'log')
    assert len(pickle.dumps(log)) < 500
    shutil.move(tmp_path / 'log', tmp_path / 'moved')
    moved = BehaviourLog(tmp_path / 'moved')
    assert moved.manifest == log.manifest and len(moved) == 600


def test_the_manifest_is_plain_json(tmp_path):
    manifest = json.loads((small_log(tmp_path / 'log').folder / 'manifest.json').read_text())
    assert manifest['provenance'] == 'simulated' and manifest['schema']['genres']['kind'] == 'multi'
