"""What a config may name, and what it may not."""

import json

import pytest
from ml_collections import ConfigDict

from jaxrec.configurable import allow_code, allowed_code, configurable, resolve
from jaxrec.models.baselines.dnn import make_task


def test_names_are_found():
    assert resolve('jaxrec.models.baselines.dnn:make_task', 'task') is make_task


def test_other_code_is_found_once_it_is_permitted():
    with allow_code(('json',)):
        assert resolve('json:dumps', 'task') is json.dumps
        assert resolve('json.decoder:JSONDecoder', 'log') is json.JSONDecoder
        assert allowed_code()[-1] == 'json'
        with pytest.raises(ValueError, match='--allow_code=jsonlike'):
            resolve('jsonlike:dumps', 'task')
    assert 'json' not in allowed_code()
    with pytest.raises(ValueError, match='--allow_code=json'):
        resolve('json:dumps', 'task')


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('os:system', '--allow_code=os'),
        ('subprocess:run', '--allow_code=subprocess'),
        ('builtins:exec', '--allow_code=builtins'),
        ('jaxrecs:make_task', '--allow_code=jaxrecs'),
        ('jaxrec.runs.build:build', 'is not a task'),
        ('jaxrec.files:replace_text', 'is not a task'),
        ('jaxrec.models.onerec.tokenizing.tokens:make_ids', 'is not a task'),
        ('jaxrec.configurable:importlib', 'is not a task'),
        ('jaxrec.data.images.records:ImageFolder', 'is not a task'),
        ('jaxrec.configurable:importlib.import_module', 'is not a plain name'),
        ('jaxrec.models.baselines.dnn:make_task.__globals__', 'is not a plain name'),
    ],
)
def test_code_that_a_config_must_not_name_is_refused(path, message):
    with pytest.raises(ValueError) as error:
        resolve(path, 'task')
    assert message in str(error.value) and repr(path) in str(error.value)


def test_a_subclass_of_what_may_be_named_may_not(monkeypatch):
    from jaxrec.data.images import records

    class Child(records.ImageFolder):
        pass

    monkeypatch.setattr(records, 'Child', Child, raising=False)
    with pytest.raises(ValueError, match='is not a reader'):
        resolve('jaxrec.data.images.records:Child', 'reader')
    assert resolve('jaxrec.data.images.records:ImageFolder', 'reader') is records.ImageFolder


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('math.sqrt', "write 'package.module:name'"),
        ('math:', "write 'package.module:name'"),
        (3, "write 'package.module:name'"),
        ('jaxrec.nowhere:f', "there is no module 'jaxrec.nowhere'"),
        ('nowhere_at_all.deep:f', "there is no module 'nowhere_at_all'"),
        ('jaxrec.configurable:resolv', "has no 'resolv'; it has Any, Callable"),
    ],
)
def test_bad_paths_say_why(path, message):
    with allow_code(('nowhere_at_all',)), pytest.raises(ValueError) as error:
        resolve(path, 'task')
    assert message in str(error.value) and repr(path) in str(error.value)


def test_a_missing_dependency_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / 'needs_more.py').write_text('import absent_dependency\n')
    monkeypatch.syspath_prepend(tmp_path)
    with allow_code(('needs_more',)), pytest.raises(ModuleNotFoundError, match='absent_dependency'):
        resolve('needs_more:f', 'task')


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="no kind 'helper'"):
        configurable('helper')


BASE = {'features': {'user': ('user',), 'candidate': ('item',), 'history': ('item',)}, 'seed': 0}
SIMULATED = {'log': 'jaxrec.data.simulators.ctr:simulate', 'arguments': {'users': 40, 'items': 60, 'seed': 0}}
LABELLED = SIMULATED | {'label': {'kind': 'impressions', 'column': 'click'}}
AGE = {'base': {'task': 'jaxrec.runs.fit:fit'}}
ARTIFACT = {'ids': {'make': 'shutil:rmtree', 'arguments': {}}}


@pytest.mark.parametrize(
    ('sections', 'message'),
    [
        ({'task': 'os:system', 'data': LABELLED}, '--allow_code=os'),
        ({'task': 'jaxrec.models.age:make_task', 'model': AGE, 'data': LABELLED}, 'is not a task'),
        (
            {'task': 'jaxrec.models.baselines.dnn:make_task', 'data': {'log': 'subprocess:run'}},
            '--allow_code=subprocess',
        ),
        ({'task': 'jaxrec.models.baselines.dnn:make_task', 'files': ARTIFACT, 'data': LABELLED}, '--allow_code=shutil'),
        (
            {
                'task': 'jaxrec.models.baselines.dnn:make_task',
                'train': {'optimizer': 'os:system'},
                'data': LABELLED | {'split': {'kind': 'per_user_time', 'validation': 0.1, 'test': 0.1}},
            },
            'os:system',
        ),
        ({'task': 'jaxrec.models.can:make_task', 'model': {'base': 'os:system'}, 'data': LABELLED}, '--allow_code=os'),
    ],
)
def test_a_config_of_a_stranger_runs_none_of_their_code(sections, message, tmp_path):
    from jaxrec.runs.build import build

    config = ConfigDict({**BASE, **sections})
    config.data.cache = str(tmp_path)
    with pytest.raises(ValueError, match=message):
        build(config)
