"""Arguments of the data side: labels, splits, sources and where a log is compiled to."""

import numpy as np
import pytest

from jaxrec.data.features.labels import make_label
from jaxrec.data.features.negatives import negative_tables
from jaxrec.data.logs.behaviour_log import ColumnSpec, compile_log
from jaxrec.data.sources.behaviour_source import RequestSource
from jaxrec.data.sources.splits import make_split
from tests.bad_input.worlds import Case, assert_refused
from tests.data.worlds import COLUMNS, raw_world


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


CASES: dict[str, Case] = {
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
        r"the history features are \['rating'\]",
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
    'unknown side': (lambda log: source(log, features={'item': ['item']}), "no side 'item'", 'use user, candidate'),
    'the label as a feature': (
        lambda log: source(log, features={'candidate': ['rating']}),
        "'rating' is the label itself",
        'take it out',
    ),
    'a batch larger than the part': (lambda log: source(log, batch_size=4096), 'no batch of 4096', 'lower batch_size'),
    'no batch at all': (lambda log: source(log, batch_size=0), 'batch_size is 0', 'at least 1'),
    'a batch that cannot be shared': (
        lambda log: source(log, process_count=3),
        'batch_size 32 cannot be cut among 3',
        'multiple',
    ),
    'a process too many': (lambda log: source(log, process_index=2, process_count=2), 'process_index 2', '0..1'),
    'unknown remainder': (lambda log: source(log, remainder='keep'), "'keep'", "use 'drop' or 'pad'"),
    'unknown kind of column': (lambda log: ColumnSpec('text'), "'text'", 'use one of categorical'),
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


@pytest.mark.parametrize('name', CASES)
def test_bad_arguments(log, name):
    assert_refused(CASES[name], log)
