"""Tiny runs of the real configs, for the tests of `experiments`."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from configs.can.simulated import get_config

WORLD = {
    'users': 80,
    'items': 49,
    'impressions': 20,
    'categories': 5,
    'groups': 4,
    'content_dim': 3,
    'seed': 0,
}
MODEL = {
    'LR': {},
    'DNN': {'dim': 4, 'widths': (8,)},
    'DIN': {'dim': 4, 'widths': (8,), 'attention': (4,)},
    'Cartesian': {'dim': 4, 'widths': (8,)},
    'CAN-DNN': {'dim': 4, 'widths': (8,), 'dims': (4, 2), 'orders': 2},
    'CAN+Cartesian': {'dim': 4, 'widths': (8,), 'dims': (4, 2), 'orders': 2},
}


def tiny(row: str, cache: str | Path, train: dict[str, Any] | None = None) -> ConfigDict:
    """The config of a row of the simulated world, on a world of 80 users and 51 table rows of items.

    1,120 training examples, 35 steps an epoch.
    """
    config = get_config(row).copy_and_resolve_references()
    config.data.arguments = ConfigDict(WORLD)
    config.data.cache = str(cache)
    config.data.history_length = 6
    config.model.update(MODEL[row])
    config.features = ConfigDict({'user': ('user',), 'candidate': ('item',), 'history': ('item',)})
    if 'cartesian' in config.data:
        config.data.cartesian.pairs = (('item', 'history/item'),)
    config.train.update(
        {
            'batch_size': 32,
            'learning_rate': 0.001,
            'row_optimizer': 'row_adagrad',
            'row_learning_rate': 0.05,
            'eval_batch_size': 64,
            'epochs': 2,
            'evals_per_epoch': 2,
            'log_every': 10,
            'patience': None,
        }
    )
    config.train.update(train or {})
    config.mesh = (1, 1)
    return config
