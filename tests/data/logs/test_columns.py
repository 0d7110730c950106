import pickle

import numpy as np
import pytest

from jaxrec.data.logs.columns import ColumnStore, Ragged, write_columns


@pytest.fixture
def columns():
    return {
        'a': np.arange(6, dtype=np.int32),
        'wide': np.arange(12.0).reshape(6, 2),
        'name': np.asarray(['x', 'é', '', 'longer', 'y', 'z']),
        'bag': Ragged.from_rows([[1, 2, 3], [], [4], [5, 6], [], [7]]),
        'words': Ragged.from_rows([['p'], [], ['q', 'r'], [], [], []], str),
    }


def test_round_trip_keeps_values_and_dtypes(tmp_path, columns):
    write_columns(tmp_path, columns)
    store = ColumnStore(tmp_path)
    assert len(store) == 6 and store.names == tuple(columns)
    for name, column in columns.items():
        found = store[name] if isinstance(column, Ragged) else (store[name],)
        for array, expected in zip(found, column if isinstance(column, Ragged) else (column,), strict=True):
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize('width', [1, 2, 5])
def test_ragged_rows_match_a_loop(columns, width):
    bag = columns['bag']
    index = np.asarray([3, 0, 1, 5, 0])
    expected = np.zeros((5, width), bag.values.dtype)
    for m, n in enumerate(index):
        row = bag.values[bag.offsets[n] : bag.offsets[n + 1]][:width]
        expected[m, : len(row)] = row
    np.testing.assert_array_equal(bag.rows(index, width), expected)


def test_ragged_take_keeps_whole_rows(columns):
    taken = columns['bag'].take(np.asarray([5, 1, 0]))
    np.testing.assert_array_equal(taken.values, [7, 1, 2, 3])
    np.testing.assert_array_equal(taken.offsets, [0, 1, 1, 4])


def test_an_all_empty_ragged_column_reads_zeros(tmp_path):
    write_columns(tmp_path, {'bag': Ragged.from_rows([[], []])})
    np.testing.assert_array_equal(ColumnStore(tmp_path)['bag'].rows(np.asarray([1, 0]), 3), np.zeros((2, 3)))


def test_a_store_pickles_as_its_folder(tmp_path):
    write_columns(tmp_path, {'a': np.arange(100_000)})
    store = ColumnStore(tmp_path)
    assert store['a'].sum() == 4999950000
    pickled = pickle.dumps(store)
    assert len(pickled) < 500
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again['a'], store['a'])
    assert repr(again) == repr(store)


def test_columns_are_mapped_not_read(tmp_path):
    write_columns(tmp_path, {'a': np.arange(10)})
    column = ColumnStore(tmp_path)['a']
    assert not column.flags.owndata and not column.flags.writeable
