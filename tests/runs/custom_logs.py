"""Days of a small log of one's own, and tiny configs for it."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxrec.data.logs.log import Log
from jaxrec.runs.models import model_config
from tests.runs.worlds import MODEL

MAPPING = {
    'user': 'uid',
    'item': 'sku',
    'time': {'column': 'ts', 'unit': 's'},
    'label': {'column': 'what', 'name': 'click', 'positive': ['click']},
    'events': {'place': {'kind': 'categorical'}, 'price': {'kind': 'numeric'}},
    'items': {'columns': {'brand': {'kind': 'categorical'}}},
}


def write_day(path: Path, day: int, rows: int, users: int, items: int) -> Path:
    """Random impressions of one day; ids from 0, so that a later day with more of them has new ones."""
    draw = np.random.default_rng(day)
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['uid', 'sku', 'ts', 'what', 'place', 'price', 'brand'])
        for _ in range(rows):
            item = draw.integers(items)
            what = 'click' if draw.random() < 0.2 + 0.5 * (item % 2) else 'view'
            time = 86_400 * (day + 1) + draw.integers(0, 5000)
            writer.writerow(
                [f'u{draw.integers(users)}', f'i{item}', time, what, f'p{draw.integers(3)}', 1.5, f'b{item % 4}']
            )
    return path


def config_of(log: Log, row: str = 'DNN', **train: Any) -> ConfigDict:
    """The config of a model, small, on one device."""
    config = model_config(row, log.folder)
    config.model.update(ConfigDict(MODEL[row]))
    config.data.history_length = 5
    config.train.update({'batch_size': 32, 'eval_batch_size': 64, 'epochs': 1, 'log_every': 5, **train})
    config.mesh = (1, 1)
    return config
