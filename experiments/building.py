"""From a config to the pieces of a run: log, sources, task, optimizers, mesh.

B batch.
"""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
import optax

from jaxrec.data.api import make_source, open_log, source_arguments
from jaxrec.data.batch_source import BatchSource
from jaxrec.data.log import Log
from jaxrec.embeddings import make_row_optimizer
from jaxrec.importing import resolve
from jaxrec.options import plain, read_options
from jaxrec.parallel import make_mesh, put_batch
from jaxrec.training.progress import LoopOptions
from jaxrec.training.state import Setup

TOP = ('task', 'model', 'features', 'data', 'train', 'seed', 'mesh')
DATA_OPTIONS: dict[str, Any] = {
    'log': '',
    'arguments': {},
    'cache': 'runs/logs',
    'label': {},
    'split': {},
    'history_length': 50,
    'min_history': 0,
    'candidates': 1,
    'history_negatives': None,
    'lifelong': None,
    'time_gap': None,
    'cartesian': {},
    'published': {},
}
HISTORY_OPTIONS = (
    'history_length', 'min_history', 'candidates', 'history_negatives', 'lifelong', 'time_gap',
)  # fmt: skip
TRAIN_OPTIONS: dict[str, Any] = {
    'batch_size': 1024,
    'eval_batch_size': 4096,
    'epochs': 1,
    'optimizer': 'adam',
    'learning_rate': 1e-3,
    'row_optimizer': 'row_adagrad',
    'row_learning_rate': 0.05,
    'row_options': {},
    'clip_norm': None,
    'exchange': None,
    'evals_per_epoch': 1,
    'log_every': 100,
    'checkpoint_every': None,
    'keep': 1,
    'monitor': 'auc',
    'maximize': True,
    'patience': None,
    'tensorboard': False,
    'init_from': None,
}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The pieces of a run.

    Attributes:
      config: what they were built from.
      log: the compiled log.
      setup: task, optimizers, mesh.
      data: the config's data section, defaults filled in.
      train: the config's train section, defaults filled in.
    """

    config: ml_collections.ConfigDict
    log: Log
    setup: Setup
    data: dict[str, Any]
    train: dict[str, Any]

    def source(self, part: str, shuffle: bool = False) -> BatchSource:
        """The batches of one part of the log.

        Args:
          part: 'train', 'validation' or 'test'.
          shuffle: for training: a seeded order that changes by epoch, without the last incomplete batch, with
            history negatives and of samples of lifelong histories if the config wants them; else log order,
            padded, without negatives and of whole histories.

        Returns:
          The source: `train.epochs` epochs when shuffled, one otherwise.
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
            log_every=t['log_every'],
            eval_every=-(-source.steps // t['evals_per_epoch']),
            checkpoint_every=t['checkpoint_every'],
            monitor=t['monitor'],
            maximize=t['maximize'],
            patience=t['patience'],
        )


def build(
    config: ml_collections.ConfigDict, data_dir: str | None = None, mesh_shape: tuple[int, int] | None = None
) -> Experiment:
    """Builds the pieces of a run; compiles the log if it is not there.

    Args:
      config: with the sections of `TOP`.
      data_dir: where real data sets lie; None takes the environment variable JAXREC_DATA.
      mesh_shape: (data, model); None takes `config.mesh`, and that None all devices.

    Returns:
      The experiment.

    Raises:
      ValueError: a missing or unknown key, or data that cannot be compiled.
    """
    for name in ('task', 'features', 'data'):
        if name not in config:
            raise ValueError(f'the config has no {name!r}; a config has the sections {TOP}')
    if unknown := sorted(set(config) - set(TOP)):
        raise ValueError(f'config.{unknown[0]} is not a section; a config has the sections {TOP}')
    data = read_options(config.data, 'data', **DATA_OPTIONS)
    train = read_options(config.get('train', {}), 'train', **TRAIN_OPTIONS)
    _check_train(train)
    log = log_of(config, data_dir)
    # The defaults of options about histories are for logs that have some.
    takes = source_arguments(log) | set(config.data)
    data = {name: value for name, value in data.items() if name not in HISTORY_OPTIONS or name in takes}
    features, schema = plain(config.features), dict(log.schema)
    if data['cartesian']:  # how many pairs there are is known once training has been read
        vocabularies = cut_source(config, log, data, train, 'train', shuffle=True).vocabularies
        schema |= {vocabulary.name: vocabulary.column for vocabulary in vocabularies}
        features['cartesian'] = tuple(vocabulary.name for vocabulary in vocabularies)
    model = {**plain(config.get('model', {})), 'features': features}
    task = resolve(config.task)(model, schema)
    shape = mesh_shape or config.get('mesh', None)
    setup = Setup(
        task,
        make_optimizer(train['optimizer'], train['learning_rate']),
        make_row_optimizer(train['row_optimizer'], train['row_learning_rate'], **plain(train['row_options'])),
        make_mesh(tuple(shape) if shape else None),
        clip_norm=train['clip_norm'],
        exchange=train['exchange'],
    )
    return Experiment(config, log, setup, data, train)


def log_of(config: ml_collections.ConfigDict, data_dir: str | None = None) -> Log:
    """The log that a config names, compiled if it is not there.

    Args:
      config: of a run.
      data_dir: where real data sets lie; None takes the environment variable JAXREC_DATA.

    Raises:
      ValueError: a missing or unknown key, or data that cannot be compiled.
    """
    data = read_options(config.data, 'data', **DATA_OPTIONS)
    return open_log({'log': data['log'], 'arguments': log_arguments(data, data_dir)}, log_folder(data))


def cut_source(
    config: ml_collections.ConfigDict,
    log: Log,
    data: Mapping[str, Any],
    train: Mapping[str, Any],
    part: str,
    shuffle: bool = False,
) -> BatchSource:
    """The batches of one part of a log, as `Experiment.source` gives them.

    Args:
      config: the run's, of which features and seed count.
      log: the compiled log.
      data: the data section, defaults filled in.
      train: the train section, defaults filled in.
      part: 'train', 'validation' or 'test'.
      shuffle: for training, as in `Experiment.source`: all epochs; else one.

    Returns:
      The source.
    """
    cartesian = plain(data['cartesian'])
    histories = {name: data[name] for name in HISTORY_OPTIONS if name in data}
    if not shuffle:  # what is drawn beside a history only serves a loss
        histories.pop('history_negatives', None)
    return make_source(
        log,
        features=plain(config.features),
        label=plain(data['label']),
        split=plain(data['split']),
        part=part,
        batch_size=train['batch_size' if shuffle else 'eval_batch_size'],
        epochs=train['epochs'] if shuffle else 1,
        seed=config.seed,
        shuffle=shuffle,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        remainder='drop' if shuffle else 'pad',
        # Pairs of every epoch's negatives have ids, whichever part is read.
        cartesian={'epochs': train['epochs'], **cartesian} if cartesian else {},
        **histories,
    )


def _check_train(train: Mapping[str, Any]) -> None:
    """Refuses counts below 1, and values of a wrong type where the default is None."""
    for name in ('batch_size', 'eval_batch_size', 'epochs', 'evals_per_epoch', 'log_every', 'keep'):
        if train[name] < 1:
            raise ValueError(f'train.{name} = {train[name]}: give at least 1')
    for name, kind in (
        ('clip_norm', float),
        ('checkpoint_every', int),
        ('patience', int),
        ('exchange', str),
        ('init_from', str),
    ):
        value = train[name]
        allowed = (float, int) if kind is float else (kind,)
        if value is not None and (isinstance(value, bool) or not isinstance(value, allowed)):
            raise ValueError(
                f'train.{name} = {value!r} is {type(value).__name__}; give {kind.__name__} or None'
            )


def make_optimizer(name: str, learning_rate: float) -> optax.GradientTransformation:
    """The optimizer of the dense parameters.

    Args:
      name: 'adam', 'adamw', 'adagrad' or 'sgd'.
      learning_rate: a number.

    Returns:
      An optax optimizer.

    Raises:
      ValueError: an unknown name.
    """
    makers = {'adam': optax.adam, 'adamw': optax.adamw, 'adagrad': optax.adagrad, 'sgd': optax.sgd}
    if name not in makers:
        raise ValueError(f'train.optimizer = {name!r} does not exist; choose one of {sorted(makers)}')
    return makers[name](learning_rate)


def log_arguments(data: Mapping[str, Any], data_dir: str | None) -> dict[str, Any]:
    """The keywords of the log's compiler, with the data root filled in where it is wanted.

    Args:
      data: the data section.
      data_dir: the data root; None takes JAXREC_DATA.

    Returns:
      The keywords.

    Raises:
      ValueError: the compiler wants `data_dir` and there is none.
    """
    arguments = plain(data['arguments'])
    if 'data_dir' in arguments and not arguments['data_dir']:
        arguments['data_dir'] = data_dir or os.environ.get('JAXREC_DATA', '')
        if not arguments['data_dir']:
            raise ValueError(
                f'{data["log"]} reads files: give the folder that holds the data sets with --data_dir, or in '
                'the environment variable JAXREC_DATA'
            )
    return arguments


def log_folder(data: Mapping[str, Any]) -> Path:
    """Where a log is cached: runs with the same compiler and arguments share it.

    Args:
      data: the data section.

    Returns:
      `<cache>/<compiler>-<digest of its arguments>`.
    """
    described = json.dumps([data['log'], plain(data['arguments'])], sort_keys=True)
    name = data['log'].rpartition(':')[2]
    return Path(data['cache']) / f'{name}-{hashlib.sha256(described.encode()).hexdigest()[:10]}'


def batches(source: BatchSource) -> Iterator[dict[str, np.ndarray]]:
    """All batches of a source, in order.

    Args:
      source: the source.

    Returns:
      An iterator of host batches.
    """
    return (source[i] for i in range(len(source)))


@functools.cache
def read_config(path: str) -> ml_collections.ConfigDict:
    """Reads the config that a run was trained with.

    Args:
      path: a `config.json`.

    Returns:
      The config.

    Raises:
      ValueError: there is none.
    """
    file = Path(path)
    if not file.exists():
        raise ValueError(f'{file} is missing: give a workdir that `python -m experiments.train` has written')
    return ml_collections.ConfigDict(json.loads(file.read_text()))
