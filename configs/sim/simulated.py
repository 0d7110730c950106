"""SIM, what it is compared with and what came after it, on a simulated world of long histories.

    python -m experiments.train --config=configs/sim/simulated.py:SIM-soft --workdir=runs/sim

After the colon stands the row, one of configs/sim/rows.py. A user has 2,000 behaviours before the first
impression; of those that matter to a candidate none is among the last 500, and half are of other categories.
"""

from ml_collections import ConfigDict

from configs.sim.rows import run_config


def get_config(name: str = 'SIM-soft') -> ConfigDict:
    """Builds the config of one row of `configs.sim.rows` on the simulated world."""
    return run_config(
        name,
        {
            'data': {
                'log': 'jaxrec.data.simulators.lifelong:simulate',
                # 60 impressions of each user: 103,500 to train on, 6,900 of validation and 27,600 of test.
                'arguments': {'users': 2_300, 'history': 2_000, 'impressions': 60, 'seed': 0},
                'cache': 'runs/logs',
                'label': {'kind': 'impressions', 'column': 'click'},
                'split': {
                    'kind': 'per_user_time',
                    'column': 'judged',
                    'among': (1,),
                    'validation': 0.05,
                    'test': 0.2,
                },
                'history_length': 50,
                'min_history': 0,
                'lifelong': {'length': 2_000},
            },
            'train': {
                'batch_size': 256,
                'eval_batch_size': 512,
                'epochs': 4,
                'learning_rate': 1e-3,
                'row_optimizer': 'row_adagrad',
                'row_learning_rate': 0.1,
                'evals_per_epoch': 2,
                'log_every': 50,
                'patience': 2,
            },
        },
    )
