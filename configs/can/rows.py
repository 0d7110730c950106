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
}


def row(name: str) -> dict[str, Any]:
    """The task and model sections of one row.

    Args:
      name: 'LR', 'DNN', 'DIN' or 'CAN-DNN'.

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
