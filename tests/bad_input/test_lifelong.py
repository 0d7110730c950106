"""Lifelong histories and time gaps that are described wrongly, or asked of a log that has none."""

import numpy as np
import pytest

from jaxrec.data.logs.behaviour_log import compile_log
from jaxrec.data.sources.behaviour_source import RequestSource
from jaxrec.data.sources.requests import RequestBuilder
from jaxrec.runs.build import build
from tests.bad_input.worlds import Case, assert_refused, config
from tests.data.worlds import COLUMNS, raw_world
from tests.runs.test_clicks import clicks

FEATURES = {'user': ['user'], 'candidate': ['item'], 'history': ['item', 'rating']}
LABEL = {'kind': 'rating', 'threshold': 3.0}


def source(log, **changes):
    arguments = {
        'features': FEATURES,
        'label': LABEL,
        'split': {'kind': 'per_user_time'},
        'part': 'train',
        'batch_size': 32,
        'history_length': 5,
    }
    return RequestSource(log.folder, **arguments | changes)


def lifelong(**options):
    return lambda log: source(log, lifelong={'length': 8, **options})


def gap(**options):
    return lambda log: source(log, time_gap=options)


def timeless(log):
    raw = raw_world()
    del raw['events']['time']
    return source(compile_log(log.folder.parent / 'timeless', **raw, columns=COLUMNS), time_gap={'unit': 1})


def called_gap(log):
    raw = raw_world()
    raw['events']['gap'] = raw['events'].pop('position')
    columns = {'gap' if name == 'position' else name: spec for name, spec in COLUMNS.items()}
    return source(compile_log(log.folder.parent / 'gaps', **raw, columns=columns), time_gap={'unit': 1})


def request(times=None, items=(3, 4), **changes):
    def call(log):
        features = {**FEATURES, 'candidate': ['item', 'position']}
        builder = RequestBuilder(log, features, LABEL, 5, **changes)
        users, position = np.asarray([2, 3], np.int32), np.asarray([1, 1], np.int32)
        return builder.build({'user': users, 'item': np.asarray(items), 'position': position}, times)

    return call


CASES: dict[str, Case] = {
    'no description': (
        lambda log: source(log, lifelong=400),
        r'data\.lifelong is 400',
        r"give a description, such as \{'length': 400\}",
    ),
    'no length': (lambda log: source(log, lifelong={}), r'data\.lifelong\.length = 0', 'at least 1'),
    'a length in words': (lifelong(length='all'), r"data\.lifelong\.length = 'all' is str", 'int such as'),
    'nothing to keep': (lifelong(search='hard', keep=0), r'data\.lifelong\.keep = 0', 'give at least 1'),
    'misspelt key': (lifelong(serach='hard'), r'data\.lifelong\.serach is not an option', "did you mean 'search'"),
    'a search of the model': (
        lifelong(search='soft'),
        r"data\.lifelong\.search = 'soft' does not exist",
        "use None or 'hard'",
    ),
    'a search in several ids': (
        lifelong(search='hard', column='genres'),
        r"data\.lifelong\.column = 'genres' is multi",
        'use any of item, category',
    ),
    'a search in numbers': (lifelong(search='hard', column='year'), "'year' is numeric", 'use any of item'),
    'a search in what an event has': (
        lifelong(search='hard', column='position'),
        "'position' is no column of the items",
        'use any of item, category',
    ),
    'a search in nothing': (lifelong(search='hard', column='brand'), "'brand' is no column", 'use any of'),
    'an empty sample': (lifelong(sample=0), r'data\.lifelong\.sample = 0', 'from 1 to below length'),
    'a sample of all': (lifelong(sample=8), r'data\.lifelong\.sample = 8', 'which is 8, or None'),
    'half a sample': (lifelong(sample=0.5), r'data\.lifelong\.sample = 0\.5', 'give a whole number'),
    'no column to read': (
        lambda log: source(log, lifelong={'length': 8}, features={'candidate': ['item']}),
        r'data\.lifelong reads the columns of features\.history, and there are none',
        r'leave data\.lifelong out',
    ),
    'no gap description': (lambda log: source(log, time_gap='day'), r"data\.time_gap is 'day'", "such as {'unit'"),
    'no unit': (gap(unit=0), r'data\.time_gap\.unit = 0', 'give at least 1'),
    'half a second': (gap(unit=0.5), r'data\.time_gap\.unit = 0\.5 is float', 'int such as 86400'),
    'two buckets': (gap(buckets=2), r'data\.time_gap\.buckets = 2', 'give 3 to 55'),
    'buckets without end': (gap(buckets=56), r'data\.time_gap\.buckets = 56', 'give 3 to 55'),
    'misspelt gap key': (gap(bucket=9), r'data\.time_gap\.bucket is not', "did you mean 'buckets'"),
    'gaps of no column': (
        lambda log: source(log, time_gap={}, features={'candidate': ['item']}),
        r'data\.time_gap reads the columns of features\.history',
        'add some',
    ),
    'gaps without times': (timeless, r'timeless has no times', "compile the log with a column 'time'"),
    'a column of that name': (called_gap, "like the column 'gap' of", 'rename that column'),
    'rows without times': (
        request(time_gap={'unit': 1}),
        r'data\.time_gap counts back from the time of each request, and these have none',
        'add the column of times',
    ),
    'new rows, too': (request(lifelong={'length': 0}), r'data\.lifelong\.length = 0', 'at least 1'),
    'a column of other candidates': (
        request(items=((3, 4, 5), (6, 7, 8))),
        "column 'position' has 2 values for 2 rows of 3 candidates",
        'give one a candidate',
    ),
}

CONFIGS: dict[str, Case] = {
    'lifelong in a config': (config('DIN', data__lifelong={'length': 0}), r'data\.lifelong\.length = 0', 'at least 1'),
    'a column that the log of a config lacks': (
        config('DIN', data__lifelong={'length': 8, 'search': 'hard', 'column': 'brand'}),
        r"data\.lifelong\.column = 'brand' is no column of the items",
        'use any of item, category',
    ),
    'gaps in a config': (config('DIN', data__time_gap={'unit': -1}), r'data\.time_gap\.unit = -1', 'at least'),
    'misspelt in a config': (config(data__life_long={}), r'data\.life_long is not', "did you mean 'lifelong'"),
    'a log without users': (
        lambda world: build(clicks('LR', world.cache, lifelong={'length': 8})).source('train'),
        'is a click log, whose batches have no lifelong',
        'leave it out',
    ),
    'gaps without users': (
        lambda world: build(clicks('LR', world.cache, time_gap={'unit': 60})).source('train'),
        'is a click log, whose batches have no time_gap',
        'leave it out',
    ),
}


@pytest.mark.parametrize('name', CASES)
def test_bad_arguments(log, name):
    assert_refused(CASES[name], log)


@pytest.mark.parametrize('name', CONFIGS)
def test_bad_configs(world, name):
    assert_refused(CONFIGS[name], world)


def test_what_the_cases_spoil_is_sound(log):
    """A search in numbers and the rest are refused, these are not."""
    assert 'kept/item' in lifelong(search='hard', keep=1, sample=7)(log)[0]
    assert 'history/gap' in gap(unit=1, buckets=3)(log)[0]
    assert request(np.asarray([20, 20]), time_gap={'unit': 1})(log)['history/gap'].max() > 1
    assert 'long/gap' not in request(lifelong={'length': 2})(log)
