"""What all data sets of this folder share: the models of CAN's tables, by the names of their rows."""

from typing import Any

from ml_collections import ConfigDict

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
# Table 2 of arXiv 2011.05625, base DNN.
PUBLISHED = {
    'DNN': {'Amazon Books AUC': '.7640 ± .0007'},
    'CAN-DNN': {'Amazon Books AUC': '.7935 ± .0007'},
}


def averaged(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its histories averaged, those that co-actions read included.

    Args:
      row: one of `ROWS`.

    Returns:
      The row, changed where its model pools a history.
    """
    means = {key: 'mean' for key in ('history_pooling', 'pooling') if key in row['model']}
    return {**row, 'model': row['model'] | means}


def run_config(name: str, sections: dict[str, Any], rows: dict[str, dict[str, Any]] = ROWS) -> ConfigDict:
    """Builds the config of one run.

    Args:
      name: the row: 'LR', 'DNN', 'DIN' or 'CAN-DNN'.
      sections: what is the data set's own: `data` and `train`.
      rows: the rows to choose from.

    Returns:
      The config: the row's task and model, item and category as features, the sections, and seed 0.

    Raises:
      ValueError: there is no such row.
    """
    if name not in rows:
        raise ValueError(
            f'there is no row {name!r}; choose one of {sorted(rows)}, as in configs/can/simulated.py:DNN'
        )
    ids = ('item', 'category')
    features = {'user': ('user',), 'candidate': ids, 'history': ids}
    return ConfigDict({**rows[name], 'features': features, **sections, 'seed': 0})
