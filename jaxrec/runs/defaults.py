"""Defaults for a click model on any log: features, label, split, batch size, evaluations and table widths."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.click_log import ClickLog
from jaxrec.data.logs.log import Log
from jaxrec.runs.config import run_config

HISTORY = 50
STORED = 'jaxrec.data.sources.from_config:stored'
STEPS = 100  # of an epoch, at least, where the log is large enough for batches of 32
EVALUATE_EVERY = 2_000  # steps between evaluations, at most


def stored_log(path: str) -> dict[str, Any]:
    """The part of a data section that names a compiled log."""
    return {'log': STORED, 'arguments': {'path': str(Path(path))}}


def click_config(path: str, name: str, rows: Mapping[str, Mapping[str, Any]]) -> ConfigDict:
    """The config of a click model on the log of a path, from the presets {name: preset}.

    Raises:
      ValueError: no log is there, or one whose events are no clicks.
    """
    from jaxrec.data.sources.from_config import stored  # it imports jax, and the table of models does not

    log, row = stored('', path), rows[name]
    if not isinstance(log, BehaviourLog | ClickLog):
        raise ValueError(
            f'{name} trains on a behaviour log or a click log, and {path} is a {log.KIND}: ingest one with '
            '--user, --item and --label, or choose another model from `jaxrec models`'
        )
    row = dict(row) | {'data': _data_of(name, log, row.get('data', {}))}
    linear = name == 'LR'  # reads one-hot vectors
    data = {**stored_log(path), 'label': label_of(log), 'split': split_of(log)}
    if isinstance(log, BehaviourLog):
        data['history_length'] = HISTORY
    sections = {'features': features_of(log, numbers=not linear), 'data': data, 'train': train_of(log)}
    config = run_config(name, sections, {name: row})
    if 'dim' in config.get('model', {}):
        config.model.dim = width_of(log)
    return config


def _data_of(name: str, log: Log, data: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's data section on this log; what the log lacks is refused with the option that gives it."""
    data = dict(data)
    if not isinstance(log, BehaviourLog):
        if data:
            raise ValueError(f'{name} reads histories, and {log.folder} has no users: ingest it with --user and --time')
        return data
    if data.get('lifelong'):
        longest = max(int(np.diff(log.user_offsets).max(initial=1)) - HISTORY, 1)
        data['lifelong'] = {'length': min(longest, 1_950), **data['lifelong']}
        column = data['lifelong'].get('column')
        if column and column not in log.items.names:
            columns = [c for c in log.items.names if c in log.schema and log.schema[c].kind == 'categorical']
            if not columns:
                raise ValueError(
                    f'{name} searches histories by a category of items, and {log.folder} has none: ingest it with '
                    '--item_attribute=category'
                )
            data['lifelong']['column'] = columns[0]
    if data.get('time_gap') and not log.has_time:
        raise ValueError(f'{name} reads time gaps, and {log.folder} has no times: ingest it with --time')
    if 'cartesian' in data:
        items = ['item', *(c for c in log.items.names if c in log.schema and log.schema[c].kind == 'categorical')]
        data['cartesian'] = data['cartesian'] | {'pairs': tuple((c, f'history/{c}') for c in items)}
    return data


def train_of(log: Log) -> dict[str, Any]:
    """Batch size, evaluations and early stopping that suit the size of a log."""
    events = log.manifest['counts']['events']
    batch = min(1_024, max(32, 1 << int(math.log2(max(events / STEPS, 1)))))
    return {
        'batch_size': batch,
        'epochs': 5,
        'learning_rate': 1e-3,
        'row_optimizer': 'row_adagrad',
        'row_learning_rate': 0.05,
        'evals_per_epoch': float(max(1, round(events / batch / EVALUATE_EVERY))),
        'log_every': 100,
        'patience': 2,
        'init_from': None,
    }


def width_of(log: Log) -> int:
    """Width of the tables: a power of two near twice the fourth root of the largest vocabulary, from 8 to 32."""
    largest = max((column.rows for column in log.schema.values() if column.vocabulary), default=1)
    return min(32, max(8, 1 << round(math.log2(2 * largest**0.25))))


def features_of(log: Log, numbers: bool = True) -> dict[str, tuple[str, ...]]:
    """All columns that a log describes, by the sides that they are on; with or without numeric ones."""
    takes = lambda name: numbers or log.schema[name].kind != 'numeric'
    if not isinstance(log, BehaviourLog):
        return {'candidate': tuple(name for name in log.schema if takes(name))}
    described = lambda store: tuple(name for name in store.names if name in log.schema and takes(name))
    of_events = tuple(name for name in described(log.events) if name not in ('user', 'item'))
    items = ('item', *described(log.items))
    return {'user': ('user', *described(log.users)), 'candidate': (*items, *of_events), 'history': items}


def label_of(log: Log) -> dict[str, Any]:
    """The label rule that fits a log's first column of numbers that is no feature."""
    columns = label_columns(log)
    if not columns:
        return {'kind': 'sampled_negatives', 'sampler': 'uniform', 'per_positive': 1}
    if np.isin(log.events[columns[0]], (0, 1)).all():
        return {'kind': 'impressions', 'column': columns[0]}
    return {'kind': 'rating', 'column': columns[0], 'threshold': 4.0}


def label_columns(log: Log) -> list[str]:
    """The columns of numbers of a log's events that are no feature and not the library's own."""
    ours = ('time', 'generation')
    return [name for name in log.events.names if name not in log.schema and name not in ours]


def split_of(log: Log) -> dict[str, Any]:
    """The latest ingest's events by time, or each user's by time, or, without users, all by time or row."""
    fractions = {'validation': 0.1, 'test': 0.2}
    if 'generation' in log.events and log.has_time:
        return {'kind': 'latest_generation', **fractions}
    if isinstance(log, BehaviourLog):
        return {'kind': 'per_user_time', **fractions}
    return {'kind': 'global_time' if log.has_time else 'row_holdout', **fractions}
