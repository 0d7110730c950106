"""CAN's table on the simulated CTR world, with the truth known (compare tables 2 and 4 of arXiv 2011.05625).

    python -m experiments.compare --config=configs/can/table_simulated.py --workdir=runs/can_table

Two CPU cores, about 1 GB; not yet timed on a quiet machine. Results, and why they are provisional, are in
jaxrec/models/can/README.md.

--rows=LR,DNN,DIN,DIEN,CAN-DNN chooses among the rows.
"""

from ml_collections import ConfigDict

from configs.can.rows import ROWS
from configs.can.simulated import get_config as one_run


def get_config() -> ConfigDict:
    """Builds the table's config.

    Returns:
      Columns: the world with pair effects and, as `null`, the same world without. Rows, search space, seeds.
    """
    run = one_run('DNN')
    world = {key: run[key] for key in ('features', 'data', 'train')}
    null = ConfigDict(world).copy_and_resolve_references()
    null.data.arguments.pair_effect = 0.0
    return ConfigDict(
        {
            'title': 'CAN on the simulated CTR world',
            'columns': {'simulated': ConfigDict(world).copy_and_resolve_references(), 'null': null},
            'main': 'simulated',  # a ConfigDict forgets the order of its keys
            'order': tuple(ROWS),
            'rows': ROWS,
            'reference': 'DNN',
            'seeds': 5,
            'trials': 2,
            'search': {
                'train': {'learning_rate': (3e-3, 1e-3), 'row_learning_rate': (0.1, 0.03, 0.05, 0.2)},
                'model': {'row_l2': (0.0, 1e-4, 1e-3)},
            },
            'slices': ('unseen_pairs',),
            'shown': (
                'auc', 'gauc', 'logloss', 'pcoc', 'auc_unseen', 'share_unseen', 'auc_minus_DNN',
                'auc_unseen_minus_DNN', 'null/auc', 'null/auc_minus_DNN', 'trained', 'parameters', 'seconds',
            ),
            'published': {
                'DNN': {'Amazon Books AUC': '.7640 ± .0007'},
                'DIEN': {'Amazon Books AUC': '.8346 ± .0007'},
                'CAN-DNN': {'Amazon Books AUC': '.7935 ± .0007'},
            },
            'note': (
                'Simulated truth; the published column is another data set and only its order can be '
                'compared. Seed s draws world s, the order of the data and the initial values; tuning has a '
                'world of its own. `auc_unseen`: test examples none of whose (candidate item, history item) '
                'pairs occurred in training. `null`: the same worlds with the pair effect switched off.'
            ),
            'quick': {'seeds': 2, 'trials': 0},
        }
    )  # fmt: skip
