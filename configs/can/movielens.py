"""CAN and its bases on MovieLens latest-small (2016): rating >= 4 is positive, each user's last 20 % is test.

    python -m experiments.train --config=configs/can/movielens.py:CAN-DNN --workdir=runs/can_ml

The data root is $JAXREC_DATA or --data_dir. Histories are averaged, not summed: each user's test events are
the last, so their histories are longer than those of training, and a sum grows with them.
"""

from typing import Any

from ml_collections import ConfigDict

from configs.can.rows import row


def averaged(model: dict[str, Any]) -> dict[str, Any]:
    """A row with its histories averaged, those that co-actions read included.

    Args:
      model: from `row`.

    Returns:
      The row, changed where its model pools a history.
    """
    pooled = {key: 'mean' for key in ('history_pooling', 'pooling') if key in model['model']}
    return {**model, 'model': model['model'] | pooled}


def get_config(name: str = 'CAN-DNN') -> ConfigDict:
    """Builds the config of one row.

    Args:
      name: 'LR', 'DNN', 'DIN' or 'CAN-DNN'.

    Returns:
      The config.
    """
    ids = ('item', 'category')
    return ConfigDict(
        {
            **averaged(row(name)),
            'features': {'user': ('user',), 'candidate': ids, 'history': ids},
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
            'seed': 0,
        }
    )
