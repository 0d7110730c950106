"""Visits with candidate pools that cannot be, raw or compiled."""

import shutil

import numpy as np
import pytest

from jaxrec.data.logs.columns import Ragged
from jaxrec.data.logs.raw_columns import Coded
from jaxrec.data.pools.log import ColumnSpec, PoolLog, Pools, compile_pools
from tests.bad_input.worlds import Case, assert_refused, edit_json, save
from tests.data.worlds import POOL_COLUMNS, raw_articles, raw_visits, small_pools


def raw(columns=None, articles=None, uniform=False, blocks=(), **changes):
    """Compiles visits some columns of which are changed (None: left out)."""

    def call(folder):
        given = raw_visits()
        for name, change in changes.items():
            given[name] = change(given.get(name)) if callable(change) else change
        given = {name: column for name, column in given.items() if column is not None}
        cut = lambda rows: {n: c.take(rows) if isinstance(c, Ragged) else c[rows] for n, c in given.items()}
        visits = list(map(cut, np.split(np.arange(300), blocks))) if blocks else given
        described = POOL_COLUMNS | (columns or {})
        described = {name: spec for name, spec in described.items() if spec is not None}
        items = raw_articles() if articles is None else articles
        compile_pools(folder / 'log', visits, items, columns=described, uniform=uniform)

    return call


def put(row, value):
    def change(column):
        column = column.copy() if value is None else column.astype(np.result_type(column, np.asarray(value)))
        column[row] = value
        return column

    return change


def rows_of(column):
    return [column.values[a:b].tolist() for a, b in zip(column.offsets, column.offsets[1:], strict=False)]


def pool(row, change):
    def apply(column):
        rows = rows_of(column)
        rows[row] = change(rows[row])
        return Ragged.from_rows(rows, str)

    return apply


def second_block_of_floats(folder):
    given = raw_visits()
    cut = lambda rows: {n: c.take(rows) if isinstance(c, Ragged) else c[rows] for n, c in given.items()}
    blocks = [cut(np.arange(100)), cut(np.arange(100, 300))]
    blocks[1]['true_user'] = blocks[1]['true_user'].astype(np.float64)
    compile_pools(folder / 'log', blocks, raw_articles(), columns=POOL_COLUMNS)


RAW: dict[str, Case] = {
    'out of time order': (
        raw(time=put(17, 900)),
        r'visit 17 has time 900, earlier than the visit before it, 10\d\d',
        'sort the visits by time',
    ),
    'out of order at the edge of a block': (
        raw(time=put(150, 900), blocks=(150,)),
        r'visit 150 has time 900, earlier than the visit before it, 1\d\d\d',
        'sort the visits by time',
    ),
    'a shown item outside its pool': (
        raw(item=put(31, 'i999')),
        r"visit 31 shows item 'i999', which is not among the \d items of its pool",
        'add it there or drop the visit',
    ),
    'a shown item of another pool': (
        raw(item=lambda c: np.roll(c, 50), blocks=(120,)),
        r"visit \d+ shows item 'i1\d\d', which is not among",
        'add it there or drop',
    ),
    'an empty pool': (
        raw(pool=pool(3, lambda row: []), affinity=None, columns={'affinity': None}),
        'visit 3 has an empty pool',
        'drop it',
    ),
    'an item twice in a pool': (
        raw(pool=pool(9, lambda row: [*row, row[0]]), affinity=None, columns={'affinity': None}),
        r"visit 9 has item 'i1\d\d' twice in its pool",
        'keep it once',
    ),
    'a propensity of 0': (
        raw(propensity=put(5, 0.0)),
        r'visit 5 has propensity 0\.0: it must lie in \(0, 1\]',
        'drop visits whose propensity is lost',
    ),
    'a propensity above 1': (raw(propensity=put(6, 1.5)), r'visit 6 has propensity 1\.5', r'in \(0, 1\]'),
    'a propensity that is lost': (
        raw(propensity=put(7, np.nan)),
        r"'propensity' is nan in row 7",
        'drop or fill such rows',
    ),
    'a click of 2': (raw(click=put(8, 2)), r"'click' is 2 in row 8", 'a click is 0 or 1'),
    'a click of 2 in a later block': (
        raw(click=put(208, 2), blocks=(200,)),
        r"visits from 200 on: events column 'click' is 2 in row 8",
        'a click is 0 or 1',
    ),
    'no clicks': (raw(click=None), "lack the key column 'click'", 'they have time'),
    'no time': (raw(time=None), "lack the key column 'time'", 'they have item'),
    'no pool': (raw(pool=None), 'visits have time, item, .* and no pool', 'give the candidates of each visit'),
    'pools in one array': (
        raw(pool=lambda c: np.zeros((300, 4), int)),
        'no pool among them as `Ragged`',
        'give the candidates of each visit',
    ),
    'codes beyond the pools': (
        raw(pool=lambda c: Pools(np.full(300, 300), c)),
        r'the visits from 0 on is int64 \(300,\) for 300 pools',
        'give each visit the row of its pool',
    ),
    'pools of fewer visits': (
        raw(pool=lambda c: Pools(np.arange(299), c)),
        'the column pool has 299 rows',
        'give each visit its pool',
    ),
    'a number too few for a pool': (
        raw(affinity=lambda c: Ragged.from_rows([row[1:] for row in rows_of(c)], float)),
        "column 'affinity' must have one number for each candidate",
        "of the visit's pool",
    ),
    'a number that is none for a candidate': (
        raw(affinity=lambda c: c._replace(values=put(3, np.nan)(c.values))),
        "'affinity' holds a number that is not finite",
        'fill it before compiling',
    ),
    'candidates that would share ids': (
        raw(columns={'item': ColumnSpec('categorical', buckets=5)}),
        "'item' is described with buckets",
        'leave its description out',
    ),
    'a history of anything else': (
        raw(columns={'history': ColumnSpec('multi')}),
        "'history' is described otherwise than as ColumnSpec",
        'rename the column',
    ),
    'the propensity as a feature': (
        raw(columns={'propensity': ColumnSpec('numeric')}),
        "'propensity' is a key column and no feature",
        'a copy under another name',
    ),
    'an attribute that is not described': (
        raw(columns={'topic': ColumnSpec('multi')}),
        "'topic' is described as multi",
        'multi means `Ragged`',
    ),
    'items twice': (
        raw(articles={**raw_articles(), 'item': np.full(21, 'i100')}),
        "items key 'i100' occurs more than once",
        'keep one row a key',
    ),
    'uniform beside propensities': (
        raw(uniform=True),
        'uniform=True with a column propensity',
        'leave one of them out',
    ),
    'blocks of other columns': (
        second_block_of_floats,
        r"column 'true_user' of the visits from 100 on is ndarray float64, before it was ndarray int64",
        'give all blocks the same columns',
    ),
    'no visit at all': (
        lambda folder: compile_pools(folder / 'log', [], columns={}),
        'there is not one visit',
        'check the reader',
    ),
    'a code of no item': (
        raw(item=lambda c: Coded(np.arange(300), np.asarray(['i100']))),
        r"'item' has codes 0\.\.299 for 1 values",
        'a code is the position of its value',
    ),
}


@pytest.mark.parametrize('name', RAW)
def test_raw_visits(tmp_path, name):
    assert_refused(RAW[name], tmp_path)
    assert not (tmp_path / 'log').exists()


def column(path, change):
    def call(log):
        save(log / path, change)
        PoolLog(log)

    return call


def truncated(path):
    def call(log):
        content = (log / path).read_bytes()
        (log / path).write_bytes(content[:-8])
        PoolLog(log)

    return call


def without_pools(log):
    shutil.rmtree(log / 'pools')
    PoolLog(log)


def other_format(log):
    edit_json(log / 'manifest.json', format='jaxrec.click_log')
    PoolLog(log)


FILES: dict[str, Case] = {
    'a truncated column': (
        truncated('events/shown.npy'),
        r'events/shown\.npy has \d+ bytes instead of \d+',
        'delete the folder and compile it again',
    ),
    'truncated pools': (truncated('pools/candidates.values.npy'), r'candidates\.values\.npy has', 'compile it'),
    'no pools': (without_pools, r'pools/columns\.json is missing', 'compile it again'),
    'another kind of log': (
        other_format,
        r'manifest\.json is jaxrec\.click_log version 1, this library reads jaxrec\.pool_log',
        'delete the folder and compile the log again',
    ),
    'times out of order': (
        column('events/time.npy', lambda a: a[::-1]),
        r'events/time\.npy is \d+ at visit \d+, which does not fit',
        'compile the log again',
    ),
    'a click of 2': (
        column('events/click.npy', lambda a: put(4, 2)(a).astype(np.int8)),
        r'events/click\.npy is 2 at visit 4',
        'compile',
    ),
    'a propensity of 0': (
        column('events/propensity.npy', put(11, 0.0)),
        r'events/propensity\.npy is 0\.0 at visit 11',
        'compile the log again',
    ),
    'a place outside the pool': (
        column('events/shown.npy', lambda a: put(12, 40)(a).astype(np.int32)),
        r'events/shown\.npy is 40 at visit 12',
        'compile the log again',
    ),
    'a shown item outside its pool': (
        column('events/item.npy', lambda a: np.roll(a, 1)),
        r'events/item\.npy is \d+ at visit \d+',
        'compile the log again',
    ),
    'a pool that is not there': (
        column('events/pool.npy', lambda a: put(13, 99)(a).astype(np.int32)),
        r'events/pool\.npy is 99 at visit 13',
        'compile the log again',
    ),
    'an empty pool': (
        column('pools/candidates.offsets.npy', lambda a: np.sort(put(1, 0)(a))),
        r'pools/candidates row 0 is an empty pool',
        'compile the log again',
    ),
    'an id outside the vocabulary': (
        column('pools/candidates.values.npy', lambda a: put(0, 999)(a).astype(np.int32)),
        r'pools/candidates holds ids \d+\.\.999, not of 2\.\.',
        'compile the log again',
    ),
}


@pytest.mark.parametrize('name', FILES)
def test_compiled_logs(tmp_path, name):
    small_pools(tmp_path / 'log')
    assert_refused(FILES[name], tmp_path / 'log')


def test_what_the_cases_spoil_is_sound(tmp_path):
    for number, call in enumerate((raw(), raw(blocks=(150,)))):
        (folder := tmp_path / str(number)).mkdir()
        call(folder)
        assert len(PoolLog(folder / 'log')) >= 60
