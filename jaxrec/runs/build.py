"""From a config to the pieces of a run: log, sources, task, optimizers, mesh."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np

from jaxrec.configurable import resolve
from jaxrec.data.logs.log import Log
from jaxrec.data.logs.schema import Column
from jaxrec.data.sources.batch_source import BatchSource
from jaxrec.embeddings import make_row_optimizer
from jaxrec.options import plain, read_options
from jaxrec.parallel import make_mesh, put_batch
from jaxrec.runs.artifacts import make_files
from jaxrec.runs.optimizers import make_optimizer
from jaxrec.runs.sources import DATA_OPTIONS, SOURCE_OPTIONS, cut_source, log_of, read_data
from jaxrec.training.checkpoints import SAVE_S
from jaxrec.training.progress import LoopOptions
from jaxrec.training.state import Setup
from jaxrec.training.task import OnMesh, Particular, Task

TOP = ('task', 'model', 'features', 'data', 'files', 'train', 'seed', 'mesh')
TRAIN_OPTIONS: dict[str, Any] = {
    'batch_size': 1024,
    'eval_batch_size': 4096,
    'epochs': 1,
    'optimizer': 'adam',
    'learning_rate': 1e-3,
    'weight_decay': None,  # of AdamW and Muon; None leaves optax's, 1e-4 and 0
    'schedule': {},
    'row_optimizer': 'row_adagrad',
    'row_learning_rate': 0.05,
    'row_options': {},
    'clip_norm': None,
    'exchange': None,
    'tables_on': 'device',  # or 'host', where they do not fit the devices
    'evals_per_epoch': 1.0,  # below 1 where an epoch is a step or a few
    'eval_batches': None,  # of validation, in training: the best value that is told is of these batches
    'log_every': 100,
    'log_metrics': (),  # of evaluations, that log lines tell: () tells all, metrics.jsonl always has all
    'checkpoint_every': None,
    'keep': 2,  # one before the latest, should that be damaged
    'save_timeout': SAVE_S,  # seconds
    'monitor': 'auc',
    'maximize': True,
    'patience': None,
    'skip_not_finite': None,
    'tensorboard': False,
    'init_from': None,
}
# The options of the sections that are known whatever the task.
SECTIONS: dict[str, dict[str, Any]] = {'data': {**DATA_OPTIONS, **SOURCE_OPTIONS}, 'train': TRAIN_OPTIONS}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The pieces of a run; `data` and `train` are the config's sections, defaults filled in."""

    config: ml_collections.ConfigDict
    log: Log
    setup: Setup
    data: dict[str, Any]
    train: dict[str, Any]

    def source(self, part: str, shuffle: bool = False) -> BatchSource:
        """The batches of one part of the log, 'train', 'validation' or 'test'.

        With `shuffle`, for training, `train.epochs` epochs in a seeded order that changes by epoch, without the last
        incomplete batch, with history negatives and samples of lifelong histories if the config has them; else one
        epoch in log order, padded, without negatives and of whole histories.
        """
        return cut_source(self.config, self.log, self.data, self.train, part, shuffle)

    def example(self, source: BatchSource) -> dict[str, jax.Array]:
        """A batch on the devices, for its shapes."""
        return put_batch(source[0], self.setup.mesh)

    def loop_options(self, source: BatchSource, start: int = 0) -> LoopOptions:
        """When the loop logs, evaluates and saves, in steps of this source after `start` earlier ones."""
        t = self.train
        return LoopOptions(
            steps=start + len(source),
            eval_every=max(1, math.ceil(source.steps / t['evals_per_epoch'])),
            **{name: t[name] for name in ('log_every', 'checkpoint_every', 'monitor', 'maximize')},
            **{name: t[name] for name in ('patience', 'skip_not_finite')},
        )


def build(
    config: ml_collections.ConfigDict,
    data_dir: str | None = None,
    mesh_shape: tuple[int, int] | None = None,
    rows: Mapping[str, int] | None = None,
) -> Experiment:
    """Builds the pieces of a run; compiles the log if it is not there.

    Args:
      config: with the sections of `TOP`.
      data_dir: where real data sets lie; None takes the environment variable JAXREC_DATA.
      mesh_shape: (data, model); None takes `config.mesh`, and that None all devices.
      rows: {vocabulary: rows of its tables} in place of what the log has, to plan for; only shapes are then right.

    Raises:
      ValueError: a missing or unknown key, data that cannot be compiled, or batches that the task refuses.
    """
    train = _read_train(config)
    log = log_of(config, data_dir)
    data = read_data(config, log)
    features, schema = plain(config.features), dict(log.task_schema())
    if data['cartesian']:  # how many pairs there are is known once training has been read
        vocabularies = cut_source(config, log, data, train, 'train', shuffle=True).vocabularies
        schema |= {vocabulary.name: vocabulary.column for vocabulary in vocabularies}
        features['cartesian'] = tuple(vocabulary.name for vocabulary in vocabularies)
    schema = _with_rows(schema, rows or {})
    model = {**plain(config.get('model', {})), 'features': features}
    model |= make_files(config, log, data, model)
    task = resolve(config.task, 'task')(model, schema)
    if isinstance(task, Particular):
        task.check_data(data)
    setup = _setup(task, config, log, data, train, mesh_shape)
    if isinstance(task, OnMesh):
        task.on(setup.mesh)  # refuses one that does not suit it, before anything is made
    return Experiment(config, log, setup, data, train)


def _read_train(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The train section, defaults filled in, of a config whose sections are checked."""
    for name in ('task', 'features', 'data'):
        if name not in config:
            raise ValueError(f'the config has no {name!r}; a config has the sections {TOP}')
    if unknown := sorted(set(config) - set(TOP)):
        raise ValueError(f'config.{unknown[0]} is not a section; a config has the sections {TOP}')
    train = read_options(config.get('train', {}), 'train', **TRAIN_OPTIONS)
    _check_train(train)
    if train['schedule'] and train['init_from']:
        raise ValueError(
            'train.schedule counts the steps of one run, and train.init_from goes on from those of another: '
            'give one of them'
        )
    if train['init_from'] and config.get('model', {}).get('weights'):
        raise ValueError(
            'model.weights begins with a published trunk, and train.init_from (--warm_start) with the '
            'parameters of another run, trunk included: give one of them'
        )
    return train


def _setup(
    task: Task,
    config: ml_collections.ConfigDict,
    log: Log,
    data: Mapping[str, Any],
    train: Mapping[str, Any],
    mesh_shape: tuple[int, int] | None,
) -> Setup:
    shape = mesh_shape or config.get('mesh', None)
    steps = 0
    if train['schedule']:  # opened only where it counts
        steps = len(cut_source(config, log, data, train, 'train', shuffle=True))
    return Setup(
        task,
        make_optimizer(
            train['optimizer'], train['learning_rate'], plain(train['schedule']), steps, train['weight_decay']
        ),
        make_row_optimizer(train['row_optimizer'], train['row_learning_rate'], **plain(train['row_options'])),
        make_mesh(tuple(shape) if shape else None),
        clip_norm=train['clip_norm'],
        exchange=train['exchange'],
        skip_not_finite=bool(train['skip_not_finite']),
        tables_on=train['tables_on'],
    )


def _with_rows(schema: Mapping[str, Any], rows: Mapping[str, int]) -> dict[str, Any]:
    """A schema whose vocabularies have other sizes; what is no column, as in that of pictures, stays."""
    columns = {name: column for name, column in schema.items() if isinstance(column, Column)}
    known = {column.vocabulary for column in columns.values() if column.vocabulary}
    if unknown := sorted(set(rows) - known):
        raise ValueError(f'rows of {unknown[0]!r}: the log has the vocabularies {sorted(known)}')
    resized = lambda column: dataclasses.replace(column, rows=rows.get(column.vocabulary or '', column.rows))
    return {**schema, **{name: resized(column) for name, column in columns.items()}}


def _check_train(train: Mapping[str, Any]) -> None:
    """Refuses counts below 1, and values of a wrong type where the default is None."""
    for name in ('batch_size', 'eval_batch_size', 'epochs', 'log_every', 'keep', 'save_timeout'):
        if train[name] < 1:
            raise ValueError(f'train.{name} = {train[name]}: give at least 1')
    if not train['evals_per_epoch'] > 0:
        raise ValueError(
            f'train.evals_per_epoch = {train["evals_per_epoch"]}: give a number above 0, such as 0.5 for '
            'every other epoch'
        )
    counts = dict.fromkeys(('checkpoint_every', 'eval_batches', 'patience', 'skip_not_finite'), int)
    for name, kind in {'clip_norm': float, **counts, 'exchange': str, 'init_from': str}.items():
        value = train[name]
        allowed = (float, int) if kind is float else (kind,)
        if value is not None and (isinstance(value, bool) or not isinstance(value, allowed)):
            raise ValueError(f'train.{name} = {value!r} is {type(value).__name__}; give {kind.__name__} or None')
    if train['tables_on'] not in ('device', 'host'):
        raise ValueError(f"train.tables_on = {train['tables_on']!r} does not exist; give 'device' or 'host'")
    if train['eval_batches'] is not None and train['eval_batches'] < 1:
        raise ValueError(f'train.eval_batches = {train["eval_batches"]}: give at least 1, or None for all')


def batches(source: BatchSource, most: int | None = None) -> Iterator[dict[str, np.ndarray]]:
    """All batches of a source, in order, or the first `most`."""
    return (source[i] for i in range(len(source) if most is None else min(most, len(source))))
