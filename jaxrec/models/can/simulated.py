"""CAN and its bases on simulated clicks whose true probabilities are known."""

from ml_collections import ConfigDict

from jaxrec.models.can.presets import ROWS
from jaxrec.runs.config import run_config


def get_config(name: str = 'CAN-DNN') -> ConfigDict:
    """Builds the config of one row of `jaxrec.models.can.presets` on the simulated world."""
    return run_config(
        name,
        {
            'data': {
                'log': 'jaxrec.data.simulators.ctr:simulate',
                'arguments': {
                    'users': 10_000,
                    'items': 2_000,
                    'impressions': 40,
                    'exploration': 0.7,
                    'groups': 24,
                    'pair_effect': 2.0,
                    'interest_effect': 0.6,
                    'seed': 0,
                },
                'cache': 'runs/logs',
                'label': {'kind': 'impressions', 'column': 'click'},
                'split': {'kind': 'per_user_time', 'validation': 0.1, 'test': 0.2},
                'history_length': 20,
                'min_history': 0,
            },
            'train': {
                'batch_size': 1024,
                'epochs': 16,
                'learning_rate': 3e-3,
                'row_optimizer': 'row_adagrad',
                'row_learning_rate': 0.2,
                'evals_per_epoch': 2,
                'log_every': 50,
                'patience': 4,
            },
        },
        ROWS,
    )
