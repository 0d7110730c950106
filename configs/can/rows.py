"""The models of CAN's tables, by the names of their rows; shared by all data sets of this folder."""

from typing import Any

ROWS: dict[str, dict[str, Any]] = {
    'LR': {'task': 'jaxrec.models.baselines.lr:make_task', 'model': {'row_l2': 0.0}},
    'DNN': {
        'task': 'jaxrec.models.baselines.dnn:make_task',
        'model': {'dim': 18, 'widths': (200, 80), 'history_pooling': 'sum', 'row_l2': 0.0},
    },
    'DIN': {
        'task': 'jaxrec.models.baselines.din:make_task',
        'model': {
            'dim': 18,
            'widths': (200, 80),
            'attention': (36,),
            'history_pooling': 'sum',
            'row_l2': 0.0,
        },
    },
    'CAN-DNN': {
        'task': 'jaxrec.models.can:make_task',
        'model': {
            'dim': 18,
            'widths': (200, 80),
            'history_pooling': 'sum',
            'preset': 'wsdm22_code',
            'pooling': 'sum',
            'row_l2': 0.0,
        },
    },
    'FFM': {
        'task': 'jaxrec.models.baselines.ffm:make_task',
        'model': {'dim': 18, 'history_pooling': 'sum', 'row_l2': 0.0},
    },
    'DeepFM': {
        'task': 'jaxrec.models.baselines.deepfm:make_task',
        'model': {'dim': 18, 'widths': (200, 80), 'history_pooling': 'sum', 'row_l2': 0.0},
    },
    'DeepFFM': {
        'task': 'jaxrec.models.baselines.deepffm:make_task',
        'model': {
            'dim': 18,
            'widths': (200, 80),
            'aware_dim': 18,
            'history_pooling': 'sum',
            'row_l2': 0.0,
        },
    },
    'xDeepFM': {
        'task': 'jaxrec.models.baselines.xdeepfm:make_task',
        'model': {
            'dim': 18,
            'widths': (200, 80),
            'cin': (32, 32),  # for five fields; the papers' hundreds are for dozens
            'history_pooling': 'sum',
            'row_l2': 0.0,
        },
    },
    'PNN': {
        'task': 'jaxrec.models.baselines.pnn:make_task',
        'model': {
            'dim': 18,
            'widths': (200, 80),
            'product': 'inner',
            'history_pooling': 'sum',
            'row_l2': 0.0,
        },
    },
    'NCF': {
        'task': 'jaxrec.models.baselines.ncf:make_task',
        'model': {
            'dim': 18,
            'widths': (200, 80),
            # As CAN's authors have it: the history stands for the user, and the MLP reads all features.
            'user': ('history/item', 'history/category'),
            'item': ('item', 'category'),
            'context': True,
            'history_pooling': 'sum',
            'row_l2': 0.0,
        },
    },
    'ONN': {
        'task': 'jaxrec.models.baselines.onn:make_task',
        'model': {
            'dim': 18,
            'widths': (200, 80),
            'aware_dim': 18,
            'history_pooling': 'sum',
            'row_l2': 0.0,
        },
    },
}


def row(name: str) -> dict[str, Any]:
    """The task and model sections of one row.

    Args:
      name: one of `ROWS`.

    Returns:
      {'task': import path, 'model': options}.

    Raises:
      ValueError: there is no such row.
    """
    if name not in ROWS:
        raise ValueError(
            f'there is no row {name!r}; choose one of {sorted(ROWS)}, as in configs/can/simulated.py:DNN'
        )
    return ROWS[name]
