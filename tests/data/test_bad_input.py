"""Bad files, columns, ids and arguments: each error names the place and the remedy."""

import json

import numpy as np
import pytest

from jaxrec.data.behaviour_log import BehaviourLog, ColumnSpec, compile_log
from jaxrec.data.columns import ColumnStore, Ragged, write_columns
from jaxrec.data.labels import make_label
from jaxrec.data.negatives import negative_tables
from jaxrec.data.source import RequestSource
from jaxrec.data.splits import make_split
from jaxrec.data.vocabulary import Vocabulary, hash64
from tests.data.worlds import COLUMNS, raw_world, small_log


@pytest.fixture
def log(tmp_path):
    return small_log(tmp_path / 'log')


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def save(path, change):
    np.save(path, change(np.load(path)))


# Damage to a compiled log, the file that the error must name, and the remedy.
FILES = {
    'no manifest': (lambda f: (f / 'manifest.json').unlink(), 'manifest.json', 'compile_log'),
    'cut manifest': (
        lambda f: (f / 'manifest.json').write_text((f / 'manifest.json').read_text()[:50]),
        'manifest.json',
        'compile the log again',
    ),
    'other format': (
        lambda f: edit_json(f / 'manifest.json', format='click_log'),
        'manifest.json is click_log',
        'compile the log again',
    ),
    'other version': (
        lambda f: edit_json(f / 'manifest.json', version=99),
        'version 99',
        'compile the log again',
    ),
    'manifest without schema': (
        lambda f: (f / 'manifest.json').write_text('{"format": "jaxrec.behaviour_log", "version": 1}'),
        'lacks counts, fingerprint, schema',
        'compile the log again',
    ),
    'other number of events': (
        lambda f: edit_json(f / 'manifest.json', counts={'events': 7}),
        'events has 600 rows',
        'compile the log again',
    ),
    'no description': (
        lambda f: (f / 'items' / 'columns.json').unlink(),
        'items/columns.json',
        'compile it again',
    ),
    'broken description': (
        lambda f: (f / 'items' / 'columns.json').write_text('{'),
        'items/columns.json is damaged',
        'compile it again',
    ),
    'missing column': (
        lambda f: (f / 'events' / 'item.npy').unlink(),
        'events/item.npy is missing',
        'compile it again',
    ),
    'truncated column': (
        lambda f: (f / 'events' / 'item.npy').write_bytes((f / 'events' / 'item.npy').read_bytes()[:-4]),
        'events/item.npy has 2524 bytes instead of 2528',
        'compile it again',
    ),
    'not an array': (
        lambda f: (f / 'events' / 'item.npy').write_text('user,item\n'),
        'events/item.npy is not a readable .npy file',
        'compile it again',
    ),
    'other dtype': (
        lambda f: save(f / 'events' / 'time.npy', lambda a: a.astype(np.float64)),
        'events/time.npy holds <f8',
        'compile it again',
    ),
    'other length': (
        lambda f: save(f / 'events' / 'time.npy', lambda a: a[:-1]),
        'events/time.npy holds <i8 [599]',
        'compile it again',
    ),
    'cut offsets': (
        lambda f: save(f / 'items' / 'genres.offsets.npy', lambda a: a[:-1]),
        'items/genres.offsets.npy holds',
        'compile it again',
    ),
    'id above the vocabulary': (
        lambda f: save(f / 'events' / 'item.npy', lambda a: np.where(a == a.max(), 99, a).astype(np.int32)),
        "events/item holds ids 2..99 but vocabulary 'item' has rows 0..41",
        'compile the log again',
    ),
    'negative id': (
        lambda f: save(f / 'items' / 'genres.values.npy', lambda a: -a),
        "items/genres holds ids -4..-2 but vocabulary 'genres'",
        'compile the log again',
    ),
}


@pytest.mark.parametrize('name', FILES)
def test_damaged_files(log, name):
    damage, place, remedy = FILES[name]
    damage(log.folder)
    with pytest.raises(ValueError) as error:
        BehaviourLog(log.folder)
    assert place in str(error.value) and remedy in str(error.value), error.value


@pytest.mark.parametrize(
    ('damage', 'place'),
    [
        (lambda f: (f / 'vocab' / 'item.npy').unlink(), 'vocab/item.npy'),
        (lambda f: save(f / 'vocab' / 'item.npy', lambda a: a[:-1]), 'vocab/item.npy has 39 values'),
        (lambda f: (f / 'vocab' / 'item.json').write_text('{}'), "vocabulary 'item' cannot be read"),
    ],
)
def test_damaged_vocabularies(log, damage, place):
    damage(log.folder)
    with pytest.raises(ValueError) as error:
        log.vocabulary('item')
    assert place in str(error.value) and 'compile it again' in str(error.value), error.value


@pytest.mark.parametrize('damage', [lambda p: p.unlink(), lambda p: save(p, lambda a: a[:-1])])
def test_damaged_user_offsets(log, damage):
    damage(log.folder / 'events' / 'user.offsets.npy')
    with pytest.raises(ValueError, match=r'user.offsets.npy .*compile the log again'):
        BehaviourLog(log.folder).user_offsets  # noqa: B018 - read for its error


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
    'NaN rating': (
        put('events', 'rating', with_nan),
        {},
        "events column 'rating' is nan in row 17",
        'drop or fill',
    ),
    'NaN time': (
        put('events', 'time', with_nan),
        {},
        "events column 'time' is nan in row 17",
        'drop or fill',
    ),
    'negative time': (
        put('events', 'time', lambda c: c - 10),
        {},
        "'time' is -10 in row",
        'must not be negative',
    ),
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
    'objects': (put('events', 'item', lambda c: c.astype(object)), {}, "'item' is object", 'astype(str)'),
    'two axes': (put('events', 'click', lambda c: c[:, None]), {}, "'click' has shape (600, 1)", 'Ragged'),
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
    'unknown column': (
        lambda raw: None,
        {'colour': ColumnSpec('categorical')},
        "describes 'colour'",
        'they have user',
    ),
    'name used twice': (
        put('items', 'click', np.zeros(40)),
        {},
        "'click' occurs in events and in items",
        'rename one',
    ),
    'unsafe name': (put('events', '../click', lambda c: np.zeros(600)), {}, "'../click'", 'use letters'),
    'broken offsets': (
        put('items', 'genres', lambda c: Ragged(c.values, c.offsets[::-1].copy())),
        {},
        "offsets of ragged column 'genres'",
        'start at 0',
    ),
    'merged users': (
        lambda raw: None,
        {'user': ColumnSpec('categorical', buckets=5)},
        "column 'user'",
        'filter users',
    ),
    'merged items': (
        lambda raw: None,
        {'item': ColumnSpec('categorical', buckets=5)},
        "column 'item'",
        'share',
    ),
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


@pytest.mark.parametrize('name', COLUMN_CASES)
def test_bad_columns(tmp_path, name):
    change, specs, place, remedy = COLUMN_CASES[name]
    raw = raw_world()
    change(raw)
    with pytest.raises(ValueError) as error:
        compile_log(tmp_path / 'log', **raw, columns=COLUMNS | specs)
    assert place in str(error.value) and remedy in str(error.value), error.value
    assert not (tmp_path / 'log').exists()


def source(log, **changes):
    arguments = {
        'features': {'user': ['user'], 'candidate': ['item'], 'history': ['item']},
        'label': {'kind': 'rating'},
        'split': {'kind': 'per_user_time'},
        'part': 'train',
        'batch_size': 32,
        'history_length': 5,
    }
    return RequestSource(log.folder, **arguments | changes)


ARGUMENTS = {
    'unknown label': (lambda log: make_label({'kind': 'stars'}), "'stars'", 'use one of impressions, rating'),
    'unknown field': (
        lambda log: make_label({'kind': 'rating', 'min': 4}),
        "no field 'min'",
        'it has column, threshold',
    ),
    'unknown sampler': (
        lambda log: make_label({'kind': 'sampled_negatives', 'sampler': 'hard'}),
        "'hard'",
        'use one of uniform',
    ),
    'unknown history sampler': (
        lambda log: source(log, history_negatives='same_category'),
        "history_negatives 'same_category'",
        'use one of uniform, popularity, or None',
    ),
    'history negatives of no item column': (
        lambda log: source(log, history_negatives='uniform', features={'history': ['rating']}),
        "the history features are ['rating']",
        "add 'item' or an item attribute",
    ),
    'graded impressions': (
        lambda log: make_label({'kind': 'impressions', 'column': 'rating'}).positive(log),
        'has rating=',
        "label kind 'rating'",
    ),
    'absent label column': (
        lambda log: source(log, label={'kind': 'rating', 'column': 'stars'}),
        "event column 'stars'",
        "name one of these as the label's `column`",
    ),
    'unknown split': (lambda log: make_split({'kind': 'random'}), "'random'", 'use one of leave_last_out'),
    'unknown split argument': (
        lambda log: make_split({'kind': 'leave_last_out', 'test': 0.5}),
        "no argument 'test'",
        'it has none',
    ),
    'fractions above 1': (
        lambda log: make_split({'kind': 'per_user_time', 'validation': 0.5, 'test': 0.5}),
        'validation=0.5, test=0.5',
        'together below 1',
    ),
    'category of no item': (
        lambda log: negative_tables(log, np.ones(600, bool), 'same_category', 'genre'),
        "'genre' is none of",
        'it has category',
    ),
    'unknown part': (lambda log: source(log, part='dev'), "'dev'", 'use one of train, validation, test'),
    'unknown feature': (
        lambda log: source(log, features={'candidate': ['item', 'colour']}),
        "no candidate feature 'colour'",
        'use any of genres',
    ),
    'unknown side': (
        lambda log: source(log, features={'item': ['item']}),
        "no side 'item'",
        'use user, candidate',
    ),
    'the label as a feature': (
        lambda log: source(log, features={'candidate': ['rating']}),
        "'rating' is the label itself",
        'take it out',
    ),
    'a batch larger than the part': (
        lambda log: source(log, batch_size=4096),
        'no batch of 4096',
        'lower batch_size',
    ),
    'no batch at all': (lambda log: source(log, batch_size=0), 'batch_size is 0', 'at least 1'),
    'a batch that cannot be shared': (
        lambda log: source(log, process_count=3),
        'batch_size 32 cannot be cut among 3',
        'multiple',
    ),
    'a process too many': (
        lambda log: source(log, process_index=2, process_count=2),
        'process_index 2',
        '0..1',
    ),
    'unknown remainder': (lambda log: source(log, remainder='keep'), "'keep'", "use 'drop' or 'pad'"),
    'unknown kind of column': (lambda log: ColumnSpec('text'), "'text'", 'use one of categorical'),
    'decoding padding': (
        lambda log: log.vocabulary('item').decode(np.asarray([2, 0])),
        'id 0',
        'mask them first',
    ),
    'decoding past the end': (lambda log: log.vocabulary('item').decode(np.asarray([42])), 'id 42', '2..41'),
    'decoding buckets': (
        lambda log: Vocabulary.hashed(5).decode(np.asarray([2])),
        '5 hash buckets',
        'cannot be decoded',
    ),
    'words among integers': (
        lambda log: log.vocabulary('item').encode(np.asarray(['a'])),
        '<U1 were looked up in a vocabulary of int64',
        'convert them first',
    ),
    'identifiers beyond int64': (
        lambda log: Vocabulary.build(np.asarray([2**63], np.uint64)),
        '9223372036854775808 does not fit',
        'as strings',
    ),
    'hashing floats': (lambda log: hash64(np.zeros(2)), 'float64', 'integers or strings'),
    'unknown stored column': (lambda log: log.events['price'], "no column 'price'", 'it has user'),
    'a folder of something else': (
        lambda log: compile_log(log.folder / 'events', **raw_world(), columns=COLUMNS),
        'events exists and is no behaviour log',
        'give another folder',
    ),
    'an absent source file': (
        lambda log: compile_log(log.folder / 'new', **raw_world(), columns=COLUMNS, sources=['ratings.csv']),
        'source ratings.csv is not a file',
        'list the files',
    ),
}


@pytest.mark.parametrize('name', ARGUMENTS)
def test_bad_arguments_and_ids(log, name):
    call, place, remedy = ARGUMENTS[name]
    with pytest.raises(ValueError) as error:
        call(log)
    assert place in str(error.value) and remedy in str(error.value), error.value


def test_stores_refuse_columns_of_unequal_length(tmp_path):
    with pytest.raises(ValueError, match='unequal lengths'):
        write_columns(tmp_path, {'a': np.zeros(3), 'b': np.zeros(4)})
    with pytest.raises(ValueError, match=r'columns.json is missing'):
        ColumnStore(tmp_path)
