"""CAN and its bases on Taobao UserBehavior: a user's last click against one drawn item.

    jaxrec counts --config=configs/can/taobao.py
    jaxrec train --config=configs/can/taobao.py:CAN-DNN --workdir=runs/can_taobao

The file `UserBehavior.csv`, also as .gz or .zip, lies in $JAXREC_DATA or --data_dir, or in a folder `taobao` there;
fetch `UserBehavior.csv.zip` from https://tianchi.aliyun.com/dataset/649, which takes an account. In full it holds
100,150,807 lines; not yet run here.

The paper (arXiv 2011.05625) gives counts but no script, and others report that they cannot be met. They read as one
sample a user, 70 % of the users training. So it is here, the split seeded by `data.split.seed`: the last page view of a
user is the sample, page views strictly before it are its history, one item is drawn from those the user never viewed.
Lines outside the nine days that the publisher states are dropped. Of the training users 2 % are validation, on which
the step is chosen. Behaviours other than page views are in the log: `data.label.positives.among` says which of them
count.
"""

from ml_collections import ConfigDict

from jaxrec.models.can.presets import ROWS
from jaxrec.runs.config import run_config


def get_config(name: str = 'CAN-DNN') -> ConfigDict:
    """Builds the config of one row of `jaxrec.models.can.presets` on UserBehavior."""
    return run_config(
        name,
        {
            'data': {
                'log': 'jaxrec.data.readers.taobao:compile_taobao',
                'arguments': {'data_dir': '', 'outside': 'drop'},
                'cache': 'runs/logs',
                'label': {
                    'kind': 'sampled_negatives',
                    'sampler': 'uniform',
                    'per_positive': 1,
                    'positives': {'kind': 'one_of', 'column': 'behaviour', 'among': ('pv',)},
                },
                'split': {'kind': 'last_item_user_holdout', 'validation': 0.02, 'test': 0.3, 'seed': 0},
                'history_length': 100,
                'min_history': 1,
                # Table 1 of the paper.
                'published': {'train + validation events': 691_456, 'test events': 296_192, 'values in all': 5_159_463},
            },
            'train': {
                'batch_size': 128,
                'epochs': 1,
                'learning_rate': 1e-3,
                'row_optimizer': 'lazy_adam',
                'row_learning_rate': 1e-3,
                'evals_per_epoch': 4,
                'log_every': 500,
            },
        },
        ROWS,
    )
