"""The data section of a config: its options, the log that it names, and the batches that are cut from it."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxrec.data.logs.log import Log
from jaxrec.data.sources.batch_source import BatchSource
from jaxrec.data.sources.from_config import make_source, open_log, source_defaults
from jaxrec.options import plain, read_options

DATA_OPTIONS: dict[str, Any] = {
    'log': '',
    'arguments': {},
    'cache': 'runs/logs',
    'source': '',
    'label': {},
    'split': {},
    'cartesian': {},
    'published': {},
}
# What some sources take, each with its own default; these are for what has none, and say of what type it is.
SOURCE_OPTIONS: dict[str, Any] = {
    'history_length': 50,
    'min_history': 0,
    'candidates': 1,
    'history_negatives': None,
    'lifelong': None,
    'time_gap': None,
    'session': 5,
    'mode': '',
    'choose': '',
    'quality': None,
    'session_labels': {},
    'users': (),
    'per_user': '',
    'targets': 1,
    'widths': (),
    'image_size': None,
    'stride': 4,
    'entities': 48,
    'relations': 64,
    'centre': 'mass',
    'mask_stride': 0,
    'soft_masks': False,
    'augment': None,
}
# A ConfigDict's own method would hide a key `items`.
SOURCE_NAMES = {'session': 'items'}


def read_data(config: ConfigDict, log: Log) -> dict[str, Any]:
    """The data section with its defaults, those of options that only some sources accept included.

    Raises:
      ValueError: an unknown option, a value of another type, or a source that cannot read this log.
    """
    data = read_options(config.data, 'data', **DATA_OPTIONS, **SOURCE_OPTIONS)
    takes = source_defaults(log, data['source'])
    for name, fallback in SOURCE_OPTIONS.items():
        field = SOURCE_NAMES.get(name, name)
        if name in config.data:
            if name != field and field not in takes:  # the source would name what the config does not say
                raise ValueError(
                    f'data.{name}: {log.folder} is a {log.KIND}, whose batches have no sessions: leave it out'
                )
        elif field in takes:
            data[name] = fallback if takes[field] is dataclasses.MISSING else takes[field]
        else:
            del data[name]
    return data


def log_of(config: ConfigDict, data_dir: str | None = None) -> Log:
    """The log that a config names, compiled if it is not there.

    Args:
      config: of a run.
      data_dir: where real data sets are; None takes the environment variable JAXREC_DATA.

    Raises:
      ValueError: a missing or unknown key, or data that cannot be compiled.
    """
    data = read_options(config.data, 'data', **DATA_OPTIONS, **SOURCE_OPTIONS)
    return open_log({'log': data['log'], 'arguments': log_arguments(data, data_dir)}, log_folder(data))


def cut_source(
    config: ConfigDict, log: Log, data: Mapping[str, Any], train: Mapping[str, Any], part: str, shuffle: bool = False
) -> BatchSource:
    """The batches of one part of a log, as `Experiment.source` gives them; data and train have their defaults."""
    cartesian = plain(data['cartesian'])
    own = {SOURCE_NAMES.get(name, name): plain(data[name]) for name in SOURCE_OPTIONS if name in data}
    if not shuffle:  # what is drawn beside a history only serves a loss
        own.pop('history_negatives', None)
    return make_source(
        log,
        data['source'],
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
        **own,
    )


def log_arguments(data: Mapping[str, Any], data_dir: str | None) -> dict[str, Any]:
    """The keywords of the log's compiler, `data_dir` filled in, or None by JAXREC_DATA, where it is wanted."""
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
    """Where a log is cached, `<cache>/<compiler>-<digest of its arguments>`."""
    described = json.dumps([data['log'], plain(data['arguments'])], sort_keys=True)
    name = data['log'].rpartition(':')[2]
    return Path(data['cache']) / f'{name}-{hashlib.sha256(described.encode()).hexdigest()[:10]}'
