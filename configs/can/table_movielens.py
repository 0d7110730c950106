"""CAN's table on MovieLens latest-small (2016), real logs: 671 users, 9,066 movies, 100,004 ratings.

    jaxrec compare --config=configs/can/table_movielens.py --workdir=runs/can_movielens

The data root is $JAXREC_DATA or --data_dir.
"""

from ml_collections import ConfigDict

from configs.can.movielens import AVERAGED
from configs.can.movielens import get_config as one_run
from jaxrec.models.can.presets import COMPARED, PUBLISHED, floored


def get_config() -> ConfigDict:
    """Builds the table's config.

    Returns:
      One column, rows, search space, seeds.
    """
    run = one_run('DNN')
    return ConfigDict(
        {
            'title': 'CAN on MovieLens latest-small (2016), rating >= 4',
            'columns': {'movielens': {key: run[key] for key in ('features', 'data', 'train')}},
            'main': 'movielens',  # a ConfigDict forgets the order of its keys
            'order': COMPARED,
            'rows': floored(AVERAGED),
            'reference': 'DNN',
            'seeds': 5,
            'timed': ('movielens',),
            'trials': 4,
            'search': {
                'train': {'learning_rate': (1e-3, 3e-4, 3e-3), 'row_learning_rate': (0.05, 0.02, 0.1, 0.2)},
                'model': {'row_l2': (0.0, 1e-3, 1e-2, 3e-2)},
            },
            'slices': (),
            'shown': (
                'auc',
                'gauc',
                'logloss',
                'pcoc',
                'auc_minus_DNN',
                'trained',
                'parameters',
                'parameters_candidates',
                'step_ms',
                'seconds',
            ),
            'published': PUBLISHED,
            'note': (
                'Real logs; the published column is another data set and only its order can be compared. '
                'Seeds change the order of the data and the initial values; the split is fixed by time.'
            ),
            'quick': {'seeds': 2, 'trials': 0, 'timed': ()},
        }
    )
