r"""CAN and its bases on the simulated CTR world.

    jaxrec train --config=configs/can/simulated.py:CAN-DNN --workdir=runs/can

After the colon stands the row, one of jaxrec/models/can/presets.py.

On a pod leave --mesh out: all devices then stand on 'data', and rows are cut over all of them. What is
planned of CAN-DNN with every table of 10^9 rows, the 160 wide ones included, by

    jaxrec plan --config=configs/can/simulated.py:CAN-DNN --topology=v5e:16x16 --batch=65536 \
        --rows=item=1000000000 --rows=category=1000000000 --rows=user=1000000000

is 9.2 of 16 GiB and 1.9 ms a step, 18 MiB sent by each device (docs/plans.md).
"""

from ml_collections import ConfigDict

from configs.runs import run_config
from jaxrec.models.can.presets import ROWS


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
