"""Bad input of every kind, from the first file to the last checkpoint: errors name the place and the remedy.

What can be wrong inside a log is listed in `tests/data/test_bad_input.py`; here is what a whole run meets.
"""

import json
import pathlib
import re
import shutil
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import running
from experiments.building import Experiment, build, read_config
from experiments.flags import parse_mesh
from jaxrec.data.api import open_log
from jaxrec.data.behaviour_log import BehaviourLog
from jaxrec.data.simulators.ctr import simulate
from jaxrec.embeddings import Table, as_specs, check_ids
from jaxrec.evaluation import CtrEvaluator
from jaxrec.parallel import make_mesh, put_batch
from jaxrec.parallel.mesh import pad_to
from jaxrec.training.checkpoint import Checkpoints
from jaxrec.training.state import abstract_state, init_state
from jaxrec.training.step import make_predict_step, make_train_step
from jaxrec.training.writers import read_metrics
from tests.experiments.worlds import tiny


class World:
    """A trained run of LR, copied for each case, and ways to spoil it."""

    def __init__(self, root: pathlib.Path):
        self.cache, self.kept = root / 'logs', root / 'run'
        self.config = tiny('LR', self.cache, {'epochs': 1, 'evals_per_epoch': 1})
        self.run = build(self.config)
        running.fit(self.run, self.kept)
        source = self.run.source('train', shuffle=True)
        self.batch, self.step = source[0], len(source)

    def at(self, folder: pathlib.Path) -> 'World':
        """The same world with a copy of its workdir and log that a case may damage."""
        copy = types.SimpleNamespace(**vars(self))
        copy.workdir, copy.log = folder / 'run', folder / 'log'
        shutil.copytree(self.kept, copy.workdir)
        shutil.copytree(self.run.log.folder, copy.log)
        return copy


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    return World(tmp_path_factory.mktemp('world'))


def config(row: str = 'LR', /, **changes: Any) -> Callable[[Any], Any]:
    """Builds a run whose config has some values changed: section__key=value, or None to drop the section."""

    def call(world: Any) -> Experiment:
        spoiled = tiny(row, world.cache)
        for path, value in changes.items():
            *sections, key = path.split('__')
            place = spoiled
            for section in sections:
                place = place[section]
            if value is None and not sections:
                del place[key]
            else:
                with place.ignore_type():
                    place[key] = value
        run = build(spoiled)
        run.source('train', shuffle=True)
        return run

    return call


def restore(
    world: Any, task: ConfigDict | None = None, step: int | None = None, rows: dict | None = None
) -> None:
    run = build(task or world.config)
    with Checkpoints(world.workdir / 'checkpoints', read_only=True) as checkpoints:
        abstract = abstract_state(run.setup, run.example(run.source('train')))
        checkpoints.restore(abstract, step, table_rows=rows or running.table_rows(run))


def damage(pattern: str) -> Callable[[Any], Any]:
    """Cuts the files of the last checkpoint that match, and scores it."""

    def call(world: Any) -> None:
        files = [f for f in (world.workdir / 'checkpoints' / str(world.step)).glob(pattern) if f.is_file()]
        assert files
        for file in files:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        running.score(world.run, world.workdir)

    return call


def more_rows(world: Any) -> None:
    other = tiny('LR', world.cache)
    other.data.arguments.items = 60
    restore(world, other)


def ids(value: Any, dtype: type = np.int32, table: str = 'item') -> Callable[[Any], Any]:
    specs = as_specs([Table('item', 51, 4)])
    return lambda world: check_ids(specs, {table: {'candidate/item': np.asarray([[2], [value]], dtype)}})


def batch(call: Callable[[dict], Any], **changes: Any) -> Callable[[Any], Any]:
    """Calls with the first training batch, some keys changed (None: left out)."""

    def spoiled(world: Any) -> Any:
        renamed = {key.replace('__', '/'): value for key, value in changes.items()}
        changed = {k: v(world.batch[k]) if callable(v) else v for k, v in renamed.items()}
        return call({k: v for k, v in (world.batch | changed).items() if v is not None})

    return spoiled


def train_on(world: Any) -> Any:
    run, first = world.run, put_batch(world.batch)
    without = {key: value for key, value in first.items() if key != 'candidate/item'}
    return make_train_step(run.setup)(init_state(run.setup, first, 0), without)


def predict_on(world: Any) -> Any:
    run, first = world.run, put_batch(world.batch)
    without = {key: value for key, value in first.items() if key != 'user/user'}
    return make_predict_step(run.setup)(init_state(run.setup, first, 0), without)


def spoil(path: str, change: Callable[[str], str], call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Rewrites a text file of the workdir before the call."""

    def spoiled(world: Any) -> Any:
        file = world.workdir / path
        file.write_text(change(file.read_text()))
        return call(world)

    return spoiled


def another_learning_rate(world: Any) -> Any:
    other = world.config.copy_and_resolve_references()
    other.train.learning_rate = 0.7
    return running.fit(build(other), world.workdir)


def cut_column(world: Any) -> Any:
    file = world.log / 'events' / 'item.npy'
    file.write_bytes(file.read_bytes()[:-8])
    return BehaviourLog(world.log)


def drop_file(name: str) -> Callable[[Any], Any]:
    def call(world: Any) -> Any:
        (world.log / name).unlink()
        return BehaviourLog(world.log)

    return call


def old_version(world: Any) -> Any:
    file = world.log / 'manifest.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | {'version': 0}))
    return BehaviourLog(world.log)


def other_columns(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], Any]:
    """Changes an event column of the log on disk, then opens it as the run does."""

    def call(world: Any) -> Any:
        file = world.log / 'events' / f'{name}.npy'
        np.save(file, change(np.load(file)))
        return BehaviourLog(world.log)

    return call


MOVIELENS = {
    'log': 'jaxrec.data.readers.movielens:compile_movielens',
    'arguments': ConfigDict({'data_dir': '', 'edition': 'latest-small-2016'}),
}
evaluator_add = lambda b: CtrEvaluator().add(b, {'probability': np.full(b['label'].shape, 0.5)})
open_ = lambda **described: lambda world: open_log(described, world.log)

# kind of input: {case: (what to do, the place the message names, the remedy it gives)}; both are patterns.
CASES: dict[str, dict[str, tuple[Callable[[Any], Any], str, str]]] = {
    'configs': {
        'unknown section': (
            config(optimiser={}),
            r'config\.optimiser is not a section',
            r"has the sections \('task'",
        ),
        'missing section': (config(features=None), r"no 'features'", r'has the sections'),
        'misspelt key': (
            config(train__batchsize=8),
            r'train\.batchsize is not an option',
            r"did you mean 'batch_size'",
        ),
        'misspelt model key': (config('DNN', model__width=(8,)), r'model\.width', r"did you mean 'widths'"),
        'wrong type': (
            config(train__batch_size='many'),
            r"train\.batch_size = 'many' is str",
            r'int such as 1024',
        ),
        'None for a number': (config(train__log_every=None), r'train\.log_every = None', r'int such as 100'),
        'count of zero': (
            config(train__evals_per_epoch=0),
            r'train\.evals_per_epoch = 0',
            r'give at least 1',
        ),
        'text for a norm': (
            config(train__clip_norm='big'),
            r"train\.clip_norm = 'big' is str",
            r'give float or None',
        ),
        'unknown row': (
            lambda world: tiny('SIM', world.cache),
            r"no row 'SIM'",
            r"choose one of \['CAN-DNN'",
        ),
        'unknown optimizer': (
            config(train__optimizer='lion'),
            r"train\.optimizer = 'lion'",
            r"one of \['adagrad', 'adam'",
        ),
        'unknown row optimizer': (
            config(train__row_optimizer='adam'),
            r"row optimizer 'adam'",
            r"choose one of \['lazy_adam'",
        ),
        'unknown preset': (
            config('CAN-DNN', model__preset='kdd'),
            r"model\.preset = 'kdd'",
            r"one of \['wsdm22_code'",
        ),
        'pair of no feature': (
            config('CAN-DNN', model__pairs=(('item', 'history/brand'),)),
            r'pairs: .*history/brand',
            r'write pairs as',
        ),
        'unknown label': (
            config(data__label={'kind': 'stars'}),
            r"label kind 'stars'",
            r'use one of impressions',
        ),
        'unknown split': (
            config(data__split={'kind': 'random'}),
            r"split kind 'random'",
            r'use one of leave_last_out',
        ),
        'unknown monitor': (
            lambda world: running.fit(
                config(train__monitor='ndcg', train__epochs=1)(world), world.workdir / 'new'
            ),
            r"train\.monitor = 'ndcg'",
            r"among the metrics \['auc'.*name one",
        ),
        'no data folder': (
            config(data__log=MOVIELENS['log'], data__arguments=MOVIELENS['arguments']),
            r'compile_movielens reads files',
            r'--data_dir, or in the environment variable JAXREC_DATA',
        ),
        'no such task': (
            config(task='jaxrec.models.sim:make_task'),
            r"no module 'jaxrec\.models\.sim'",
            r'check the spell',
        ),
        'no such function': (
            config(task='jaxrec.models.can:make'),
            r"jaxrec\.models\.can has no 'make'",
            r'it has .*make_task',
        ),
        'mesh in words': (
            lambda world: parse_mesh('8x1'),
            r"--mesh='8x1'",
            r'give two sizes, such as --mesh=4,2',
        ),
        'unknown knob': (
            lambda world: simulate(world.log, item=5),
            r'world\.item is not an option',
            r"did you mean 'items'",
        ),
    },
    'files': {
        'cut column': (
            cut_column,
            r'events/item\.npy has \d+ bytes instead of \d+',
            r'delete the folder and compile',
        ),
        'no manifest': (drop_file('manifest.json'), r'manifest\.json is missing', r'use `compile_log`'),
        'no column': (drop_file('events/click.npy'), r'events/click\.npy is missing', r'compile it again'),
        'another version': (
            old_version,
            r'manifest\.json is .*version 0, this library reads',
            r'compile the log again',
        ),
        'log of another world': (
            lambda world: simulate(world.log, users=9, items=50, categories=5, seed=1),
            r'log holds a log of other content',
            r'delete it or give another folder',
        ),
        'damaged metrics': (
            spoil(
                'metrics.jsonl',
                lambda text: text.replace('{', '', 1),
                lambda w: read_metrics(w.workdir / 'metrics.jsonl'),
            ),
            r'metrics\.jsonl:1 is not a JSON line',
            r'remove the line, or start a new workdir',
        ),
        'no config': (
            lambda world: read_config(str(world.log / 'config.json')),
            r'config\.json is missing',
            r'experiments\.train',
        ),
        'arguments that do not fit': (
            open_(log='jaxrec.data.readers.movielens:compile_movielens', arguments={'folder_name': 'x'}),
            r'arguments do not fit .*compile_movielens',
            r'it takes data_dir',
        ),
    },
    'columns': {
        'unknown feature': (
            config(features__candidate=('item', 'colour')),
            r"features\.candidate names column 'colour'",
            r"the log has the columns \['category', 'item', 'user'\]",
        ),
        'unknown side': (config(features__item=('item',)), r'features\.item', r"one of the sides \('user'"),
        'no candidate': (
            config(features__candidate=()),
            r'features\.candidate is empty',
            r'name at least one column',
        ),
        'label of no column': (
            config(data__label={'kind': 'rating', 'column': 'stars'}),
            r"event column 'stars'",
            r"as the label's `column`",
        ),
        'truth as a feature': (
            config(features__candidate=('true_ctr',)),
            r"names column 'true_ctr'",
            r'has the columns',
        ),
        'auxiliary loss without negatives': (
            lambda world: running.fit(
                config('DIEN', data__history_negatives=None)(world), world.workdir / 'new'
            ),
            r"lacks 'history_negative/<column>'",
            r"data\.history_negatives = 'uniform'",
        ),
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
    },
    'ids': {
        'negative': (
            ids(-1),
            r"'candidate/item' of table 'item' holds id -1, outside \[0, 51\)",
            r'map unknown values to 1',
        ),
        'too large': (
            ids(51),
            r"table 'item' holds id 51, outside \[0, 51\)",
            r'build the table with more rows',
        ),
        'floats': (
            ids(3, np.float32),
            r"'candidate/item' of table 'item' has dtype float32",
            r'ids are integers',
        ),
        'unknown table': (ids(3, table='brand'), r"ids of table 'brand'", r"the task has only \['item'\]"),
        '64 bits on a device': (
            batch(put_batch, candidate__item=lambda a: a.astype(np.int64)),
            r"key 'candidate/item' is int64",
            r"keep it under 'host/' or make it int32",
        ),
        'in a log beyond its vocabulary': (
            other_columns('item', lambda a: np.where(a == a.max(), 999, a).astype(np.int32)),
            r"events/item holds ids 2\.\.999 but vocabulary 'item'",
            r'compile the log again',
        ),
        'more rows than int32 names': (
            lambda world: Table('t', 2**31, 4),
            r"table 't': rows=2147483648",
            r'give 2 to',
        ),
        'two tables of one name': (
            lambda world: as_specs([Table('t', 9, 4), Table('t', 9, 5)]),
            r"two tables are called 't'",
            r'rename it',
        ),
    },
    'checkpoints': {
        'none': (
            lambda world: running.score(world.run, world.workdir / 'empty'),
            r'empty/checkpoints holds no checkpoint',
            r'Train first',
        ),
        'missing step': (
            lambda world: restore(world, step=7),
            r'no checkpoint of step 7; it has the steps \[35\]',
            r'name one of them',
        ),
        'another model': (
            lambda world: restore(world, tiny('DNN', world.cache)),
            r"35 is of another model: .* at 'params/bias'",
            r'Use the config it was trained with',
        ),
        'other table rows': (
            more_rows,
            r"\[\[51, 1\].*\[\[62, 1\].*at 'tables/item_weight'",
            r'config\.json in its workdir',
        ),
        'cut data': (
            damage('model/d/*'),
            r'checkpoints/35 is damaged',
            r'delete that folder and use an earlier step',
        ),
        'cut index': (damage('model/manifest.ocdbt'), r'checkpoints/35 is damaged', r'or train again'),
        'cut description': (
            damage('_CHECKPOINT_METADATA'),
            r'checkpoints/35 is damaged',
            r'use an earlier step',
        ),
        'another config': (
            another_learning_rate,
            r'run holds a run of another config \(train\.learning_rate was 0\.001 and is 0\.7\)',
            r'use another --workdir, or remove it',
        ),
    },
    'shapes': {
        'batch without a key': (
            train_on,
            r"the batch lacks 'candidate/item'",
            r'Give the source and the model the same',
        ),
        'prediction without a key': (predict_on, r"the batch lacks 'user/user'", r'the same features'),
        'predictions of another shape': (
            lambda world: CtrEvaluator().add(world.batch, {'probability': np.zeros((40, 1))}),
            r'\(40, 1\).*\(32, 1\)',
            r'padded the batch',
        ),
        'mesh larger than the machine': (
            lambda world: make_mesh((64, 64)),
            r'mesh shape \(64, 64\)',
            r'xla_force_host_platform_device_count',
        ),
        'mesh of one size': (
            lambda world: make_mesh((8,)),
            r'mesh shape \(8,\)',
            r'give two sizes \(data, model\)',
        ),
        'batch that the devices do not divide': (
            batch(lambda b: pad_to({k: v[:21] for k, v in b.items()}, 8), valid=None),
            r'batch of 21',
            r"add 'valid' float32",
        ),
        'label of one axis': (batch(evaluator_add, label=lambda a: a[:, 0]), r'\(32,\)', r'must be \[B, C\]'),
        'batch larger than the part': (
            config(train__batch_size=100_000),
            r"part 'train' of .* has 1120 examples, no batch of 100000",
            r'lower batch_size',
        ),
        'table of no width': (lambda world: Table('t', 9, 0), r"table 't': dim=0", r'at least one number'),
    },
}


@pytest.mark.parametrize(('kind', 'case'), [(kind, case) for kind, cases in CASES.items() for case in cases])
def test_the_error_names_the_place_and_the_remedy(kind, case, trained, tmp_path, monkeypatch):
    monkeypatch.delenv('JAXREC_DATA', raising=False)
    call, place, remedy = CASES[kind][case]
    with pytest.raises(ValueError) as error:
        call(trained.at(tmp_path))
    message = str(error.value)
    assert re.search(place, message) and re.search(remedy, message), message


def test_the_list_is_long_and_spread():
    assert sum(map(len, CASES.values())) >= 30
    assert all(len(cases) >= 4 for cases in CASES.values())


def test_the_world_itself_is_sound(trained, tmp_path):
    """What the cases spoil works unspoiled; otherwise they would show nothing."""
    world = trained.at(tmp_path)
    assert len(BehaviourLog(world.log)) == 1600
    config()(world)
    restore(world)
    batch(put_batch)(world)
    batch(evaluator_add)(world)
    ids(3)(world)
    assert np.isfinite(running.score(world.run, world.workdir)[0].compute()['auc'])
