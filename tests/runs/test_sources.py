"""The data section: which source cuts the batches, what it takes, and whose defaults those are."""

import pytest

from jaxrec.data.simulators.sessions import simulate
from jaxrec.data.sources.behaviour_source import RequestSource
from jaxrec.data.sources.next_item_source import NextItemSource
from jaxrec.data.sources.session_source import SessionSource
from jaxrec.runs.build import build
from jaxrec.runs.sources import read_data
from tests.models.onerec.run_worlds import tiny
from tests.runs.worlds import SESSIONS
from tests.runs.worlds import tiny as tiny_ctr


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp('world') / 'log', **SESSIONS)


def bare(log, **data):
    config = tiny('SASRec', log.folder.parent)
    for name in ('source', 'per_user', 'min_history', 'history_length', 'users'):
        del config.data[name]
    config.data.update(data)
    return config


def test_defaults_are_those_of_the_source(log):
    sessions = read_data(bare(log), log)
    assert sessions['history_length'] == 50 and sessions['session'] == SessionSource.items
    assert sessions['quality'] == {} and sessions['users'] == (0.0, 1.0) and sessions['mode'] == 'generate'
    assert not {'per_user', 'candidates', 'lifelong', 'items'} & set(sessions)
    items = read_data(bare(log, source='next_item'), log)
    assert items['min_history'] == NextItemSource.min_history == 1 and items['per_user'] == 'each'
    assert not {'session', 'mode', 'quality'} & set(items)
    assert RequestSource.min_history == 0


def test_a_run_cuts_the_batches_of_its_source(tmp_path):
    run = build(tiny('SASRec', tmp_path))
    source = run.source('train', shuffle=True)
    assert type(source) is NextItemSource and source.per_user == 'windows' and source.examples > 60
    config = tiny('OneRec', tmp_path)
    config.data.users = (0.0, 0.5)
    half = build(config).source('train')
    assert type(half) is SessionSource and half.items == 2 and half.left_out['other users'] > 100
    assert half[0]['target/item'].shape == (32, 2)


def test_sources_that_do_not_fit_the_log_are_refused(log, tmp_path):
    for data, message in (
        ({'source': 'requests'}, r"data\.source = 'requests' reads a behaviour log, and .* is a session log"),
        ({'source': 'item'}, r"data\.source = 'item' is unknown: use one of requests, sessions, next_item"),
        ({'source': 'next_item', 'session': 5}, r'data\.session: .* whose batches have no sessions'),
        ({'sessions': 5}, r'data\.sessions is not an option; did you mean'),
    ):
        with pytest.raises(ValueError, match=message):
            read_data(bare(log, **data), log)
    config = tiny_ctr('LR', tmp_path)
    config.data.source = 'sessions'
    with pytest.raises(ValueError, match=r'reads a session log, and .* is a behaviour log'):
        build(config)
    config.data.source, config.data.quality = '', None
    with pytest.raises(ValueError, match=r'is a behaviour log, whose batches have no quality'):
        build(config).source('train')


@pytest.mark.parametrize(
    ('row', 'section', 'change', 'message'),
    [
        ('SASRec', 'features', {'history': ()}, r'the model reads the history columns \(.item.,\)'),
        ('FDSA', 'features', {'history': ('item',)}, r"history columns \('item', 'category'\)"),
        ('SASRec', 'features', {'candidate': ()}, 'and the candidate column item, name them there'),
        ('OneRec', 'model', {'ids': 'nowhere.npz'}, r'nowhere\.npz is missing: tokenize the items again'),
        ('OneRec', 'files', {'ids': {'make': ''}}, "does not name an object: write 'package.module:name'"),
    ],
)
def test_what_a_model_lacks_is_named(tmp_path, row, section, change, message):
    config = tiny(row, tmp_path)
    config[section].update(change)
    with pytest.raises(ValueError, match=message):
        build(config)
