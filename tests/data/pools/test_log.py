"""Pool logs: every visit reads back as the raw one, pools are kept once, blocks make no difference."""

import json
import pickle

import numpy as np
import pytest

from jaxrec.data.logs.columns import Ragged
from jaxrec.data.logs.raw_columns import Coded
from jaxrec.data.pools.log import ColumnSpec, PoolLog, Pools, compile_pools
from tests.data.worlds import POOL_COLUMNS, raw_articles, raw_visits, small_pools


def part_of(raw, rows):
    return {name: c.take(rows) if isinstance(c, Ragged) else c[rows] for name, c in raw.items()}


def row(column, n):
    return column.values[column.offsets[n] : column.offsets[n + 1]]


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return small_pools(tmp_path_factory.mktemp('pools') / 'log')


def test_visits_read_back_as_the_raw_ones(log):
    raw, item = raw_visits(), log.vocabulary('item')
    for n in range(300):
        pool = row(log.pools['candidates'], log.events['pool'][n])
        assert sorted(item.decode(pool).tolist()) == sorted(row(raw['pool'], n).tolist())
        assert (np.diff(pool) > 0).all()
        assert item.decode(pool[[log.events['shown'][n]]])[0] == raw['item'][n]
        assert item.decode(row(log.events['history'], n)).tolist() == row(raw['history'], n).tolist()
        lent = dict(zip(row(raw['pool'], n).tolist(), row(raw['affinity'], n).tolist(), strict=True))
        found = dict(zip(item.decode(pool).tolist(), row(log.events['affinity'], n).tolist(), strict=True))
        assert found == {name: np.float32(value) for name, value in lent.items()}
    np.testing.assert_array_equal(item.decode(log.events['item']), raw['item'])
    for name in ('time', 'click', 'propensity', 'true_user'):
        np.testing.assert_array_equal(log.events[name], raw[name])
    assert log.events['propensity'].dtype == np.float64
    np.testing.assert_array_equal(log.vocabulary('device').decode(log.events['device']), raw['device'])


def test_pools_that_come_back_are_kept_once(log):
    raw = raw_visits()
    distinct = {tuple(sorted(row(raw['pool'], n))) for n in range(300)}
    assert len(distinct) == len(log.pools) == log.manifest['counts']['pools'] < 6
    assert log.candidates == max(map(len, distinct)) == log.padded_pools.shape[1]


def test_the_schema_says_what_a_model_may_know(log):
    described = {name: (c.kind, c.vocabulary, c.width) for name, c in log.schema.items()}
    assert described == {
        'item': ('categorical', 'item', 1),
        'history': ('multi', 'item', 3),
        'traits': ('multi', 'traits', 4),
        'device': ('categorical', 'device', 1),
        'age': ('numeric', None, 1),
        'affinity': ('numeric', None, 1),
        'topic': ('categorical', 'topic', 1),
        'words': ('multi', 'words', 3),
        'price': ('numeric', None, 1),
    }
    assert log.is_pair('affinity') and not log.is_pair('age') and not log.is_pair('traits')
    raw = raw_visits()
    candidates = set(raw['pool'].values) | set(raw['history'].values)
    assert log.schema['item'].rows == len(candidates) + 2 == log.schema['history'].rows
    assert log.manifest['dropped'] == {'items that occur in no pool': 21 - len(candidates)}


def test_attributes_stand_under_the_ids_of_their_items(log):
    raw, item = raw_articles(), log.vocabulary('item')
    for n, name in enumerate(raw['item']):
        if (found := int(item.encode(np.asarray([name]))[0])) > 1:
            assert log.items['price'][found] == n / 2
            assert log.vocabulary('topic').decode(log.items['topic'][[found]])[0] == n % 4
            words = log.vocabulary('words').decode(row(log.items['words'], found)).tolist()
            assert words == ['a', 'b', 'c'][: n % 4]


@pytest.mark.parametrize('cuts', [(1, 7, 7, 60, 299), (150,)])
def test_blocks_compile_to_the_same_log(log, tmp_path, cuts):
    raw = raw_visits()
    parts = [part_of(raw, rows) for rows in np.split(np.arange(300), cuts)]
    again = compile_pools(tmp_path / 'log', parts, raw_articles(), columns=POOL_COLUMNS)
    assert again.schema == log.schema and again.logging == log.logging
    assert again.manifest['vocabularies'] == log.manifest['vocabularies']
    assert again.manifest['counts'] == log.manifest['counts']
    for store, other in ((again.events, log.events), (again.pools, log.pools), (again.items, log.items)):
        assert set(store.names) == set(other.names)
        for name in store.names:
            for found, expected in zip(parts_of(store[name]), parts_of(other[name]), strict=True):
                np.testing.assert_array_equal(found, expected)


def parts_of(column):
    return column if isinstance(column, Ragged) else (column,)


def test_shared_pools_and_coded_columns_compile_to_the_same_log(log, tmp_path):
    raw = raw_visits()
    kept = np.arange(0, 300, 50)
    shared = raw | {
        'pool': Pools(np.repeat(np.arange(6), 50), raw['pool'].take(kept)),
        'item': Coded(*np.unique(raw['item'], return_inverse=True)[::-1]),
    }
    again = compile_pools(tmp_path / 'log', shared, raw_articles(), columns=POOL_COLUMNS)
    # The pair column follows the order of the pools that are given: within a period it is the same.
    for name in ('item', 'pool', 'shown', 'affinity'):
        for found, expected in zip(parts_of(again.events[name]), parts_of(log.events[name]), strict=True):
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(again.pools['candidates'].values, log.pools['candidates'].values)


def without(*names, **changes):
    return {name: c for name, c in (raw_visits() | changes).items() if name not in names}


def test_how_the_items_were_chosen_is_known_or_said(log, tmp_path):
    columns = {name: spec for name, spec in POOL_COLUMNS.items() if name not in raw_articles()}
    assert log.logging == 'uniform'
    unknown = compile_pools(tmp_path / 'unknown', without('propensity'), columns=columns)
    assert unknown.logging == 'unknown' and 'propensity' not in unknown.events
    said = compile_pools(tmp_path / 'said', without('propensity'), columns=columns, uniform=True)
    assert said.logging == 'uniform'
    np.testing.assert_array_equal(said.events['propensity'], raw_visits()['propensity'])
    uneven = raw_visits()['propensity']
    uneven[7] *= 0.9
    other = compile_pools(tmp_path / 'other', without(propensity=uneven), columns=columns)
    assert other.logging == 'propensities'


def test_compiling_twice_returns_the_same_log_and_never_overwrites(tmp_path):
    first = small_pools(tmp_path / 'log')
    assert small_pools(tmp_path / 'log').manifest == first.manifest
    with pytest.raises(ValueError, match='will not be overwritten'):
        small_pools(tmp_path / 'log', seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ['log']
    manifest = json.loads((tmp_path / 'log' / 'manifest.json').read_text())
    assert (manifest['format'], manifest['provenance']) == ('jaxrec.pool_log', 'simulated')
    assert len(pickle.dumps(first)) < 500 and len(pickle.loads(pickle.dumps(first))) == 300


def test_a_visit_counts_for_each_candidate(log):
    raw, item = raw_visits(), log.vocabulary('item')
    for name in ('i100', 'i105', 'i110'):
        occurs = (raw['pool'].values == name).sum() + (raw['history'].values == name).sum()
        found = int(item.encode(np.asarray([name]))[0])
        assert occurs == (item.counts[found] if found > 1 else 0)


def test_columns_may_be_few(tmp_path):
    bare = {name: raw_visits()[name] for name in ('time', 'item', 'pool', 'click')}
    log = compile_pools(tmp_path / 'log', bare, columns={})
    assert set(log.schema) == {'item'} and PoolLog(log.folder).logging == 'unknown'
    described = compile_pools(
        tmp_path / 'cut', raw_visits(), raw_articles(),
        columns=POOL_COLUMNS | {'history': ColumnSpec('multi', vocabulary='item', width=2)},
    )  # fmt: skip
    assert described.schema['history'].width == 2
