"""SIM and what it is compared with on MovieLens latest-small (2016): rating >= 4 is positive.

    jaxrec train --config=configs/sim/movielens.py:SIM-soft --workdir=runs/sim_ml
    jaxrec train --config=configs/sim/movielens.py:cikm20_hard_time --workdir=runs/sim_ml_time

The data root is $JAXREC_DATA or --data_dir. Each user's last 20 % is test. The most active user has 2,391 ratings,
1,115 of them positive: these are the longest history, and both windows together hold it.
"""

from ml_collections import ConfigDict

from jaxrec.models.sim.presets import PAPER_ROWS, ROWS
from jaxrec.runs.config import run_config


def get_config(name: str = 'SIM-soft') -> ConfigDict:
    """Builds the config of one row of `jaxrec.models.sim.presets` on MovieLens."""
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
                # Training reads at most 256 of the long window, at random: all of it but for 24 of 671 users.
                'lifelong': {'length': 1_065, 'sample': 256},
            },
            'train': {
                'batch_size': 256,
                'eval_batch_size': 512,
                'epochs': 6,
                'learning_rate': 1e-3,
                'row_optimizer': 'row_adagrad',
                'row_learning_rate': 0.05,
                'log_every': 100,
                'patience': 2,
            },
        },
        ROWS | PAPER_ROWS,
    )
