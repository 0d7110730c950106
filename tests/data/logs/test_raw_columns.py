"""Raw tables: renamed keys, a digest of all their content, and what each check refuses.

Further bad columns are in `tests/bad_input/test_columns.py`.
"""

import hashlib

import numpy as np
import pytest

from jaxrec.data.logs.columns import Ragged
from jaxrec.data.logs.raw_columns import check_raw, describe_source
from jaxrec.data.logs.schema import ColumnSpec
from tests.data.worlds import COLUMNS, raw_world

NAMES = ('user', 'item', 'time')


def check(names=NAMES, columns=COLUMNS, **changed):
    return check_raw(**(raw_world() | changed), columns=columns, names=names)


def renamed(table, **names):
    return {names.get(name, name): column for name, column in table.items()}


def test_columns_pass_as_they_are_and_keys_are_categorical():
    raw, log = raw_world(), check()
    assert {side: set(table) for side, table in log.tables.items()} == {s: set(t) for s, t in raw.items()}
    for side, table in raw.items():
        for name, column in table.items():
            if isinstance(column, Ragged):
                assert all(map(np.array_equal, log.tables[side][name], column))
            else:
                np.testing.assert_array_equal(log.tables[side][name], column)
    assert log.specs == COLUMNS | {key: ColumnSpec('categorical') for key in ('user', 'item')}


def test_keys_are_called_alike_whatever_the_tables_call_them():
    names, raw = ('who', 'what', 'when'), raw_world()
    events = renamed(raw['events'], user='who', item='what', time='when')
    items, users = renamed(raw['items'], item='what'), renamed(raw['users'], user='who')
    floor = {'what': ColumnSpec('categorical', min_count=2)}
    log = check(names, COLUMNS | floor, events=events, items=items, users=users)
    assert log.digest() == check().digest()
    assert log.specs['item'].min_count == 2 and 'what' not in log.specs


def test_lists_become_arrays_and_tables_may_be_absent():
    log = check_raw({'user': ['a', 'b'], 'item': [1, 2], 'click': [0, 1]}, None, None, {}, NAMES)
    assert log.items == log.tables['users'] == {} and log.events['user'].dtype.kind == 'U'
    assert log.events['click'].tolist() == [0, 1]


def slow_digest(tables):
    """Every column in a line of bytes: where it stands, its dtype and shape, its values one by one."""
    line = b''
    for side in ('events', 'items', 'users'):
        for name in sorted(tables[side]):
            column = tables[side][name]
            for array in [column.values, column.offsets] if isinstance(column, Ragged) else [column]:
                line += f'{side}/{name} {array.dtype} {array.shape}'.encode()
                line += b''.join(array[n : n + 1].tobytes() for n in range(len(array)))
    return hashlib.sha256(line).hexdigest()


def test_the_digest_is_that_of_all_bytes():
    assert check().digest() == slow_digest(raw_world())


def test_the_digest_knows_content_and_not_layout():
    raw, whole = raw_world(), check().digest()
    backwards = {side: dict(reversed(table.items())) for side, table in raw.items()}
    assert check(**backwards).digest() == whole
    strided = raw['events'] | {'click': np.repeat(raw['events']['click'], 2)[::2]}
    assert check(events=strided).digest() == whole

    events, items, genres = raw['events'], raw['items'], raw['items']['genres']
    without_year = {name: column for name, column in items.items() if name != 'year'}
    one_click = np.where(np.arange(600) == 599, 1 - events['click'], events['click'])
    shifted = genres.offsets.copy()
    shifted[2] += 1  # the same values, one of them in the row before its own
    others = [
        {'events': events | {'click': one_click}},
        {'events': events | {'click': events['click'].astype(np.int32)}},
        {'events': renamed(events, click='like')},
        {'items': items | {'genres': Ragged(genres.values, shifted)}},
        {'items': without_year, 'users': raw['users'] | {'year': np.arange(12)}},
    ]
    digests = [check(**other).digest() for other in others]
    assert len({whole, *digests}) == 1 + len(others)


@pytest.mark.parametrize(
    ('names', 'columns', 'message'),
    [
        (('user', 'user', 'time'), {}, r"called \('user', 'user', 'time'\): give each a name of its own"),
        (NAMES, {'user': ColumnSpec('numeric')}, "events column 'user' of dtype <U22 cannot be numeric"),
        (NAMES, {'item': ColumnSpec('numeric')}, "'item' is described as numeric: it is always categorical"),
        (NAMES, {'user': ColumnSpec('categorical', min_count=2)}, "'user' has buckets or min_count"),
        (NAMES, {'year': ColumnSpec('multi')}, "items column 'year' is described as multi: multi means"),
        (NAMES, {'rating': ColumnSpec('categorical')}, "'rating' of dtype float32 cannot be categorical"),
    ],
)
def test_names_and_descriptions_that_do_not_fit_are_refused(names, columns, message):
    with pytest.raises(ValueError, match=message):
        check(names, COLUMNS | columns)


@pytest.mark.parametrize('key', NAMES)
def test_a_name_given_on_purpose_must_exist(key):
    events = renamed(raw_world()['events'], **{key: 'other'})
    names = tuple('absent' if name == key else name for name in NAMES)
    with pytest.raises(ValueError, match=r"events lack the key column 'absent'; they have .*other"):
        check(names, events=events)


@pytest.mark.parametrize('key', NAMES)
@pytest.mark.parametrize('beside', [True, False])
def test_a_column_that_already_has_the_name_of_a_key_is_not_taken_for_it(key, beside):
    events = raw_world()['events']
    events |= {'other': events[key]} if beside else {}
    names = tuple('other' if name == key else name for name in NAMES)
    with pytest.raises(ValueError, match=f"events have a column '{key}', but {key} is said to be called 'o"):
        check(names, events=events)


def test_a_source_is_known_by_name_content_and_size(tmp_path):
    (tmp_path / 'ratings.csv').write_bytes(b'abc')
    assert describe_source(tmp_path / 'ratings.csv') == {
        'name': 'ratings.csv',
        'sha256': 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',  # of FIPS 180-2, B.1
        'bytes': 3,
    }
    with pytest.raises(ValueError, match='is not a file: list the files'):
        describe_source(tmp_path)
