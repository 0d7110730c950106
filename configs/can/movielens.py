"""CAN and its bases on MovieLens latest-small (2016): rating >= 4 is positive, each user's last 20 % is test.

    jaxrec train --config=configs/can/movielens.py:CAN-DNN --workdir=runs/can_ml

The data root is $JAXREC_DATA or --data_dir. Histories are averaged, not summed: each user's test events are the last,
so their histories are longer than those of training, and a sum grows with them.
"""

from ml_collections import ConfigDict

from jaxrec.models.can.presets import ROWS, averaged
from jaxrec.runs.config import run_config

AVERAGED = {name: averaged(row) for name, row in ROWS.items()}


def get_config(name: str = 'CAN-DNN') -> ConfigDict:
    """Builds the config of one row of `jaxrec.models.can.presets` on MovieLens."""
    return run_config(
        name,
        {
            'data': {
                'log': 'jaxrec.data.readers.movielens:compile_movielens',
                'arguments': {'data_dir': '', 'edition': 'latest-small-2016'},
                'cache': 'runs/logs',
                'label': {'kind': 'rating', 'column': 'rating', 'threshold': 4.0},
                'split': {'kind': 'per_user_time', 'validation': 0.1, 'test': 0.2},
                'history_length': 50,
                'min_history': 0,
            },
            'train': {
                'batch_size': 256,
                'epochs': 8,
                'learning_rate': 1e-3,
                'row_optimizer': 'row_adagrad',
                'row_learning_rate': 0.05,
                'evals_per_epoch': 2,
                'log_every': 100,
                'patience': 3,
            },
        },
        rows=AVERAGED,
    )
