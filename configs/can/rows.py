"""What all data sets of this folder share: the models of CAN's tables, by the names of their rows."""

from typing import Any

from ml_collections import ConfigDict

BASE = {'dim': 18, 'widths': (200, 80), 'history_pooling': 'sum', 'row_l2': 0.0}
ROWS: dict[str, dict[str, Any]] = {
    'LR': {'task': 'jaxrec.models.baselines.lr:make_task', 'model': {'row_l2': 0.0}},
    'DNN': {'task': 'jaxrec.models.baselines.dnn:make_task', 'model': {**BASE}},
    'DIN': {'task': 'jaxrec.models.baselines.din:make_task', 'model': BASE | {'attention': (36,)}},
    'CAN-DNN': {
        'task': 'jaxrec.models.can:make_task',
        'model': BASE | {'preset': 'wsdm22_code', 'pooling': 'sum'},
    },
    'FFM': {
        'task': 'jaxrec.models.baselines.ffm:make_task',
        'model': {key: BASE[key] for key in ('dim', 'history_pooling', 'row_l2')},
    },
    'DeepFM': {'task': 'jaxrec.models.baselines.deepfm:make_task', 'model': {**BASE}},
    'DeepFFM': {'task': 'jaxrec.models.baselines.deepffm:make_task', 'model': BASE | {'aware_dim': 18}},
    # Of 32 maps, since there are five fields; the hundreds of the papers are for dozens.
    'xDeepFM': {'task': 'jaxrec.models.baselines.xdeepfm:make_task', 'model': BASE | {'cin': (32, 32)}},
    'PNN': {'task': 'jaxrec.models.baselines.pnn:make_task', 'model': BASE | {'product': 'inner'}},
    # As CAN's authors have it: the history stands for the user, and the MLP reads all features.
    'NCF': {
        'task': 'jaxrec.models.baselines.ncf:make_task',
        'model': BASE
        | {'user': ('history/item', 'history/category'), 'item': ('item', 'category'), 'context': True},
    },
    'ONN': {'task': 'jaxrec.models.baselines.onn:make_task', 'model': BASE | {'aware_dim': 18}},
}
# Tables 2 and 3 of arXiv 2011.05625, base DNN.
PUBLISHED = {
    'FFM': {'Amazon Books AUC': '.7523 ± .0004'},
    'DNN': {'Amazon Books AUC': '.7640 ± .0007'},
    'DeepFM': {'Amazon Books AUC': '.7682 ± .0005'},
    'DeepFFM': {'Amazon Books AUC': '.7711 ± .0004'},
    'xDeepFM': {'Amazon Books AUC': '.7697 ± .0005'},
    'PNN': {'Amazon Books AUC': '.7801 ± .0002'},
    'NCF': {'Amazon Books AUC': '.7820 ± .0005'},
    'ONN': {'Amazon Books AUC': '.7851 ± .0007'},
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
      name: one of `rows`.
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
