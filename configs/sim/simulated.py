r"""SIM, what it is compared with and what came after it, on a simulated world of long histories.

    jaxrec train --config=configs/sim/simulated.py:SIM-soft --workdir=runs/sim

After the colon stands the row, one of jaxrec/models/sim/presets.py. A user has 2,000 behaviours before its
impressions; of those that matter to a candidate none is among the last 500, and half are of other categories.
configs/sim/table_simulated.py says how the world was fixed.

On a pod leave --mesh out: all devices then stand on 'data', and rows are cut over all of them. What is
planned of SIM-soft with tables of 10^9 rows by

    jaxrec plan --config=configs/sim/simulated.py:SIM-soft --topology=v5e:16x16 --batch=2048 \
        --rows=item=1000000000 --rows=category=1000000000

is .6 of 16 GiB and .9 ms a step, 11 MiB sent by each device (docs/plans.md).
"""

from ml_collections import ConfigDict

from configs.runs import IDS, run_config
from jaxrec.models.sim.presets import SIMULATED_ROWS

# One page of 20 impressions for each user, 5,100 to train on (102,000 examples), 1,275 of validation and as
# many of test (25,500). A page is one request: its long history is read once for 20 candidates. Parts hold
# different users, and no user comes back: clicks on earlier pages, and an id that was trained on them, tell
# what a user wants without a look at old behaviours (with six pages a user DIN-short reached .875, SIM .891).
WORLD = {
    'users': 7_650,
    'history': 2_000,
    'impressions': 20,
    'page': 20,
    'categories': 20,
    'themes': 20,
    'theme_groups': 2,
    'episode': 14,
    'strays': 0.03,
    'habits': 6,
    'staples': 8,
    'long_effect': 2.5,
    'gap_effect': 2.0,
    'quality_effect': 0.3,
    'related': 0.8,
    'lately': 0.1,
}


def get_config(name: str = 'SIM-soft') -> ConfigDict:
    """Builds the config of one row of `jaxrec.models.sim.presets` on the simulated world."""
    return run_config(
        name,
        {
            'features': {'user': (), 'candidate': IDS, 'history': IDS},
            'data': {
                'log': 'jaxrec.data.simulators.lifelong:simulate',
                'arguments': {**WORLD, 'seed': 0},
                'cache': 'runs/logs',
                'label': {'kind': 'impressions', 'column': 'click'},
                'split': {
                    'kind': 'user_holdout',
                    'column': 'judged',
                    'among': (1,),
                    'validation': 1 / 6,
                    'test': 1 / 6,
                },
                'candidates': WORLD['page'],
                'history_length': 50,
                'min_history': 0,
                'lifelong': {'length': 1_950},
            },
            'train': {
                'batch_size': 16,  # pages, of 320 impressions
                'eval_batch_size': 32,
                'epochs': 32,
                'learning_rate': 3e-3,
                'row_optimizer': 'row_adagrad',
                'row_learning_rate': 0.2,
                'log_every': 100,
                'patience': 3,
            },
        },
        rows=SIMULATED_ROWS,
    )
