"""CAN and its bases on a log of one's own, made by `jaxrec.cli.ingest`.

    jaxrec train --config=configs/can/own.py:CAN-DNN,logs/mine --workdir=runs/mine

After the colon stand the row, one of `ROWS`, and the log. Features are all columns that the log
describes (for LR, which reads one-hots, without numeric ones); the label is its column of 0 and 1, or ratings
from `--config.data.label.threshold`, or, where it has none, every event against drawn items. A log that
extends another trains on its new events.
"""

from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from configs.runs import run_config
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.log import Log
from jaxrec.data.sources.from_config import stored
from jaxrec.models.can import presets as rows

ROWS = {name: rows.ROWS[name] for name in ('LR', 'DNN', 'DIN', 'CAN-DNN')}


def get_config(text: str = 'CAN-DNN') -> ConfigDict:
    """Builds the config of one row for one log.

    Args:
      text: 'row,folder of the log'; the row alone has the features of a log without attributes.

    Returns:
      The config.
    """
    name, _, path = text.partition(',')
    log = stored('', path) if path else None
    data: dict[str, Any] = {
        'log': 'jaxrec.data.sources.from_config:stored',
        'arguments': {'path': str(Path(path)) if path else ''},
        'label': label_of(log),
        'split': split_of(log),
    }
    if log is None or isinstance(log, BehaviourLog):
        data['history_length'] = 50
    return run_config(
        name,
        {
            'features': features_of(log, numbers=name != 'LR'),
            'data': data,
            'train': {
                'batch_size': 256,
                'epochs': 5,
                'learning_rate': 1e-3,
                'row_optimizer': 'row_adagrad',
                'row_learning_rate': 0.05,
                'evals_per_epoch': 1,
                'log_every': 100,
                'patience': 2,
                'init_from': None,
            },
        },
        ROWS,
    )


def features_of(log: Log | None, numbers: bool = True) -> dict[str, tuple[str, ...]]:
    """All columns that a log describes, by the sides that they are on; with or without numeric ones."""
    if log is None:
        return {'user': ('user',), 'candidate': ('item',), 'history': ('item',)}
    takes = lambda name: numbers or log.schema[name].kind != 'numeric'
    if not isinstance(log, BehaviourLog):
        return {'candidate': tuple(name for name in log.schema if takes(name))}
    described = lambda store: tuple(name for name in store.names if name in log.schema and takes(name))
    of_events = tuple(name for name in described(log.events) if name not in ('user', 'item'))
    items = ('item', *described(log.items))
    return {'user': ('user', *described(log.users)), 'candidate': (*items, *of_events), 'history': items}


def label_of(log: Log | None) -> dict[str, Any]:
    """The label rule that fits a log's first column of numbers that is no feature."""
    columns = label_columns(log)
    if log is None or not columns:
        return {'kind': 'sampled_negatives', 'sampler': 'uniform', 'per_positive': 1}
    if np.isin(log.events[columns[0]], (0, 1)).all():
        return {'kind': 'impressions', 'column': columns[0]}
    return {'kind': 'rating', 'column': columns[0], 'threshold': 4.0}


def label_columns(log: Log | None) -> list[str]:
    """The columns of numbers of a log's events that are no feature and not ours."""
    ours = ('time', 'generation')
    return [] if log is None else [n for n in log.events.names if n not in log.schema and n not in ours]


def split_of(log: Log | None) -> dict[str, Any]:
    """The latest ingest's events by time, or each user's by time, or, without users, all by time or row."""
    fractions = {'validation': 0.1, 'test': 0.2}
    if log is not None and 'generation' in log.events and log.has_time:
        return {'kind': 'latest_generation', **fractions}
    if log is None or isinstance(log, BehaviourLog):
        return {'kind': 'per_user_time', **fractions}
    return {'kind': 'global_time' if log.has_time else 'row_holdout', **fractions}
