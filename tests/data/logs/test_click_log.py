import json
import pickle

import numpy as np
import pytest

from jaxrec.data.logs.behaviour_log import BehaviourLog, compile_log
from jaxrec.data.logs.click_log import ClickLog, ColumnSpec, compile_clicks
from jaxrec.data.logs.columns import Ragged
from jaxrec.data.logs.raw_columns import Coded
from tests.data.worlds import CLICK_COLUMNS, COLUMNS, raw_clicks, raw_world, small_clicks


def coded(column):
    """The same column as codes into its values, in the order of their first appearance."""
    values, first, codes = np.unique(column, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return Coded(np.argsort(order)[codes].astype(np.int16), values[order])


def test_impressions_keep_their_order_and_decode_to_the_raw_ones(tmp_path):
    raw = raw_clicks()
    log = compile_clicks(tmp_path / 'log', raw, columns=CLICK_COLUMNS)
    for name in ('site', 'ad'):
        assert log.events[name].dtype == np.int32
        np.testing.assert_array_equal(log.vocabulary(name).decode(log.events[name]), raw[name])
    np.testing.assert_array_equal(log.events['click'], raw['click'])
    np.testing.assert_array_equal(log.events['time'], raw['time'])
    np.testing.assert_array_equal(log.events['price'], raw['price'].astype(np.float32))
    ids = log.events['keywords']
    assert log.vocabulary('keywords').decode(ids.values).tolist() == raw['keywords'].values.tolist()
    assert ids.offsets.tolist() == raw['keywords'].offsets.tolist()
    assert len(log) == 400 and log.has_time and log.manifest['counts'] == {'events': 400}


def test_the_schema_says_what_a_model_may_know(tmp_path):
    log = small_clicks(tmp_path / 'log')
    described = {name: (c.kind, c.vocabulary, c.rows, c.width) for name, c in log.schema.items()}
    assert described == {
        'site': ('categorical', 'site', 9 + 2, 1),
        'ad': ('categorical', 'ad', 11 + 2, 1),
        'device': ('categorical', 'device', 6 + 2, 1),
        'keywords': ('multi', 'keywords', 3 + 2, 3),
        'price': ('numeric', None, 0, 1),
    }
    assert set(log.events.names) == {*described, 'click', 'time', 'fold'}


def test_rare_values_are_out_of_vocabulary(tmp_path):
    raw = raw_clicks()
    sites, counts = np.unique(raw['site'], return_counts=True)
    floor = int(np.sort(counts)[4])
    columns = CLICK_COLUMNS | {'site': ColumnSpec('categorical', min_count=floor)}
    log = compile_clicks(tmp_path / 'log', raw, columns=columns)
    rare = np.isin(raw['site'], sites[counts < floor])
    np.testing.assert_array_equal(log.events['site'] == 1, rare)
    assert 0 < rare.sum() == log.manifest['vocabularies']['site']['occurrences_below_min_count']


def test_coded_columns_compile_to_the_same_log(tmp_path):
    raw = raw_clicks()
    plain = compile_clicks(tmp_path / 'plain', raw, columns=CLICK_COLUMNS)
    again = raw | {name: coded(raw[name]) for name in ('site', 'ad', 'device')}
    log = compile_clicks(tmp_path / 'coded', again, columns=CLICK_COLUMNS)
    assert log.manifest['vocabularies'] == plain.manifest['vocabularies'] and log.schema == plain.schema
    for name in ('site', 'ad', 'device'):
        np.testing.assert_array_equal(log.events[name], plain.events[name])


def test_coded_columns_of_behaviours_compile_to_the_same_log(tmp_path):
    raw = raw_world()
    plain = compile_log(tmp_path / 'plain', **raw, columns=COLUMNS)
    events = raw['events'] | {name: coded(raw['events'][name]) for name in ('user', 'item', 'position')}
    items = raw['items'] | {'category': coded(raw['items']['category'])}
    # A value under which nothing is stored takes no row.
    events['item'] = events['item']._replace(values=np.append(events['item'].values, 999))
    log = compile_log(tmp_path / 'coded', events, items, raw['users'], columns=COLUMNS)
    assert log.schema == plain.schema and log.manifest['counts'] == plain.manifest['counts']
    for store, other in ((log.events, plain.events), (log.items, plain.items), (log.users, plain.users)):
        assert set(store.names) == set(other.names)
        for name in store.names:
            same = np.testing.assert_array_equal
            if isinstance(store[name], Ragged):
                same(store[name].values, other[name].values)
                same(store[name].offsets, other[name].offsets)
            else:
                same(store[name], other[name])
    np.testing.assert_array_equal(log.user_offsets, plain.user_offsets)


def test_other_key_names_are_renamed(tmp_path):
    raw = raw_clicks()
    raw['clicked'], raw['hour'] = raw.pop('click'), raw.pop('time')
    log = compile_clicks(tmp_path / 'log', raw, columns=CLICK_COLUMNS, click='clicked', time='hour')
    assert {'click', 'time'} <= set(log.events.names) and 'hour' not in log.events


def test_compiling_twice_returns_the_same_log_and_never_overwrites(tmp_path):
    first = small_clicks(tmp_path / 'log')
    assert small_clicks(tmp_path / 'log').manifest == first.manifest
    with pytest.raises(ValueError, match='will not be overwritten'):
        small_clicks(tmp_path / 'log', seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ['log']
    manifest = json.loads((tmp_path / 'log' / 'manifest.json').read_text())
    assert (manifest['format'], manifest['provenance']) == ('jaxrec.click_log', 'simulated')
    assert len(pickle.dumps(first)) < 500 and len(pickle.loads(pickle.dumps(first))) == 400


def test_a_log_of_another_kind_is_not_opened(tmp_path):
    folder = small_clicks(tmp_path / 'log').folder
    with pytest.raises(ValueError, match=r'jaxrec.click_log version 1, this library reads jaxrec.behaviour'):
        BehaviourLog(folder)
    compile_log(tmp_path / 'other', **raw_world(), columns=COLUMNS)
    with pytest.raises(ValueError, match=r'jaxrec.behaviour_log version 1'):
        ClickLog(tmp_path / 'other')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'click': np.full(400, 3)}, "column 'click' is 3 in row 0: a click is 0 or 1"),
        ({'click': np.full(400, 'yes')}, "'click' is not numeric"),
        ({'click': None}, "events lack the key column 'click'; they have site"),
        ({'time': np.arange(400) - 1}, "column 'time' is -1 in row 0: times must not be negative"),
        ({'site': Coded(np.arange(400), np.arange(7))}, r'codes 0..399 for 7 values: a code is the position'),
        ({'site': Coded(np.zeros(400, int), np.asarray(['a', 'a']))}, 'one value under two codes'),
        ({'site': Coded(np.zeros(400), np.asarray(['a']))}, r'codes float64 \(400,\)'),
        ({'price': Coded(np.zeros(400, int), np.asarray([3]))}, "'price' is coded and cannot be numeric"),
        ({'fold': Coded(np.zeros(400, int), np.asarray([3]))}, "'fold' is not numeric and not described"),
        ({'ad': np.arange(3)}, "unequal lengths .*'ad': 3"),
    ],
)
def test_bad_raw_columns_are_refused(tmp_path, change, message):
    raw = {name: column for name, column in (raw_clicks() | change).items() if column is not None}
    with pytest.raises(ValueError, match=message):
        compile_clicks(tmp_path / 'log', raw, columns=CLICK_COLUMNS)
    assert not (tmp_path / 'log').exists()


@pytest.mark.parametrize('name', ['click', 'time'])
def test_the_keys_are_no_features(tmp_path, name):
    columns = CLICK_COLUMNS | {name: ColumnSpec('numeric')}
    with pytest.raises(ValueError, match=f"'{name}'"):
        compile_clicks(tmp_path / 'log', raw_clicks(), columns=columns)
