"""CAN and its bases on Avazu's click log: nine days train, the tenth is held out.

    jaxrec counts --config=configs/can/avazu.py
    jaxrec train --config=configs/can/avazu.py:CAN-DNN --workdir=runs/can_avazu

The file `train.gz`, also unpacked, lies in $JAXREC_DATA or --data_dir, or in a folder `avazu` there; fetch it from
https://www.kaggle.com/c/avazu-ctr-prediction/data, which takes an account. In full it holds 40,428,967 impressions; not
yet run here.

The paper (arXiv 2011.05625) calls the tenth day validation; here one half of it, chosen by hash, is validation and the
other test. Its counts do not tell the split: 403,793 looks like a number that lost a digit, and 36,387,240 is .9000 of
the file, as a random tenth would leave. Other splits: --config.data.split.kind=row_holdout, with the arguments of
jaxrec.data.sources.splits.row_holdout.

There are no users and no histories, so no GAUC and no DIN; CAN and Cartesian products cross columns of the impression.
"""

from typing import Any

from ml_collections import ConfigDict

from jaxrec.data.readers.avazu import FIELDS
from jaxrec.models.can import presets as rows
from jaxrec.runs.config import run_config

# The paper has 16 pairs of 9 fields and does not say which. These are ours: what seems to be the ad (C14, C17 and C21
# are anonymous) and its place on the page own micro-networks, where and when it was shown feeds them. Wide tables stay
# small: device_ip and device_id, whose values are millions, are in no pair.
AVAZU_PAIRS = (
    *((ad, f'candidate/{field}') for ad in ('C14', 'C17', 'C21') for field in (
        'site_id', 'site_domain', 'app_id', 'device_model', 'hour',
    )),
    ('banner_pos', 'candidate/site_id'),
)  # fmt: skip


def crossing(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose co-actions and Cartesian products, where it has any, are of `AVAZU_PAIRS`."""
    changed = dict(row)
    if row['task'] == 'jaxrec.models.can:make_task':
        changed['model'] = row['model'] | {'pairs': AVAZU_PAIRS}
    if 'data' in row:
        changed['data'] = {'cartesian': {'pairs': AVAZU_PAIRS}}
    return changed


ROWS = {name: crossing(rows.ROWS[name]) for name in ('LR', 'DNN', 'Cartesian', 'CAN-DNN', 'CAN+Cartesian')}


def get_config(name: str = 'CAN-DNN') -> ConfigDict:
    """Builds the config of one row of `ROWS` on Avazu."""
    return run_config(
        name,
        {
            'features': {'candidate': (*FIELDS, 'hour', 'weekday')},
            'data': {
                'log': 'jaxrec.data.readers.avazu:compile_avazu',
                'arguments': {'data_dir': '', 'min_count': 1},
                'cache': 'runs/logs',
                'label': {'kind': 'impressions', 'column': 'click'},
                'split': {'kind': 'days', 'held_out': 1, 'validation': 0.5, 'seed': 0},
                # Table 1 of the paper.
                'published': {'train events': 36_387_240, 'validation events': 403_793, 'values in all': 6_763_060},
            },
            'train': {
                'batch_size': 128,
                'epochs': 1,
                'learning_rate': 1e-3,
                'row_optimizer': 'lazy_adam',
                'row_learning_rate': 1e-3,
                'evals_per_epoch': 4,
                'log_every': 5000,
            },
        },
        ROWS,
    )
