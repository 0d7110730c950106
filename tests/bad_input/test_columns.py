"""Columns that a log may not have, and columns that a config may not name."""

import numpy as np
import pytest

from jaxrec.data.logs.behaviour_log import BehaviourLog, ColumnSpec, compile_log
from jaxrec.data.logs.columns import Ragged
from tests.bad_input.worlds import Case, assert_refused, config, other_columns
from tests.data.worlds import COLUMNS, raw_world

CASES: dict[str, Case] = {
    'unknown feature': (
        config(features__candidate=('item', 'colour')),
        r"features\.candidate names column 'colour'",
        r"the log has the columns \['category', 'item', 'user'\]",
    ),
    'unknown side': (config(features__item=('item',)), r'features\.item', r"one of the sides \('user'"),
    'no candidate': (config(features__candidate=()), r'features\.candidate is empty', r'name at least one column'),
    'label of no column': (
        config(data__label={'kind': 'rating', 'column': 'stars'}),
        r"event column 'stars'",
        r"as the label's `column`",
    ),
    'truth as a feature': (config(features__candidate=('true_ctr',)), r"names column 'true_ctr'", r'has the columns'),
    'history unlike candidates': (
        config('DIN', features__history=('category',)),
        r"features\.history \['category'\]",
        r"must equal features\.candidate \['item'\]",
    ),
    'clicks of other than 0 and 1': (
        lambda world: (
            BehaviourLog(world.run.log.folder)
            and config(data__label={'kind': 'impressions', 'column': 'true_ctr'})(world)
        ),
        r'event 0 has true_ctr=',
        r"use label kind 'rating' with a threshold",
    ),
    'dtype of a column': (
        other_columns('time', lambda a: a.astype(np.float64)),
        r'events/time\.npy holds <f8',
        r'compile it again',
    ),
}


def put(table, name, value):
    def change(raw):
        raw[table][name] = value(raw[table].get(name)) if callable(value) else value

    return change


def with_nan(column):
    column = column.astype(np.float64)
    column[17] = np.nan
    return column


def drop(table, name):
    return lambda raw: raw[table].pop(name)


# A change to raw tables (or descriptions of columns), what the error must name, and the remedy.
COLUMN_CASES = {
    'NaN rating': (put('events', 'rating', with_nan), {}, "events column 'rating' is nan in row 17", 'drop or fill'),
    'NaN time': (put('events', 'time', with_nan), {}, "events column 'time' is nan in row 17", 'drop or fill'),
    'negative time': (put('events', 'time', lambda c: c - 10), {}, "'time' is -10 in row", 'must not be negative'),
    'times in words': (
        put('events', 'time', lambda c: c.astype(str)),
        {},
        "events column 'time'",
        'seconds since 1970',
    ),
    'unequal lengths': (put('events', 'click', lambda c: c[:-1]), {}, "'click': 599", 'one value a row'),
    'no user': (drop('events', 'user'), {}, "events lack the key column 'user'", 'they have item'),
    'no item key': (drop('items', 'item'), {}, "items lack the key column 'item'", 'they have genres'),
    'duplicate item': (
        put('items', 'item', lambda c: np.where(c == 101, 100, c)),
        {},
        'items key 100 occurs more than once',
        'keep one row',
    ),
    'objects': (put('events', 'item', lambda c: c.astype(object)), {}, "'item' is object", r'astype\(str\)'),
    'two axes': (put('events', 'click', lambda c: c[:, None]), {}, r"'click' has shape \(600, 1\)", 'Ragged'),
    'floats as categories': (
        put('items', 'category', lambda c: c + 0.5),
        {},
        "items column 'category' of dtype float64 cannot be categorical",
        'describe it otherwise',
    ),
    'undescribed words': (
        put('items', 'title', lambda c: np.full(40, 'a')),
        {},
        "items column 'title' is not numeric",
        'add it to `columns`',
    ),
    'one value described as many': (
        lambda raw: None,
        {'category': ColumnSpec('multi')},
        "items column 'category' is described as multi",
        '`Ragged`',
    ),
    'unknown column': (lambda raw: None, {'colour': ColumnSpec('categorical')}, "describes 'colour'", 'they have user'),
    'name used twice': (put('items', 'click', np.zeros(40)), {}, "'click' occurs in events and in items", 'rename one'),
    'unsafe name': (put('events', '../click', lambda c: np.zeros(600)), {}, "'../click'", 'use letters'),
    'broken offsets': (
        put('items', 'genres', lambda c: Ragged(c.values, c.offsets[::-1].copy())),
        {},
        "offsets of ragged column 'genres'",
        'start at 0',
    ),
    'merged users': (lambda raw: None, {'user': ColumnSpec('categorical', buckets=5)}, "column 'user'", 'filter users'),
    'merged items': (lambda raw: None, {'item': ColumnSpec('categorical', buckets=5)}, "column 'item'", 'share'),
    'disagreeing vocabulary': (
        lambda raw: None,
        {'category': ColumnSpec('categorical', vocabulary='genres')},
        "share vocabulary 'genres'",
        'give them the same',
    ),
    'no events': (
        lambda raw: raw['events'].update({n: c[:0] for n, c in raw['events'].items()}),
        {},
        'the log is empty',
        'check the reader',
    ),
}


@pytest.mark.parametrize('name', CASES)
def test_bad_columns_of_a_run(world, name):
    assert_refused(CASES[name], world)


@pytest.mark.parametrize('name', COLUMN_CASES)
def test_bad_columns(tmp_path, name):
    change, specs, place, remedy = COLUMN_CASES[name]
    raw = raw_world()
    change(raw)
    compile_into = lambda folder: compile_log(folder, **raw, columns=COLUMNS | specs)
    assert_refused((compile_into, place, remedy), tmp_path / 'log')
    assert not (tmp_path / 'log').exists()
