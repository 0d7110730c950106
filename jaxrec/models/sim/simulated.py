"""SIM, what it is compared with and what came after it, on simulated long histories.

A user has 2,000 behaviours before its impressions; of those that matter to a candidate none is among the last 500,
and half are of other categories.
"""

from ml_collections import ConfigDict

from jaxrec.models.sim.presets import SIMULATED_ROWS
from jaxrec.runs.config import IDS, run_config

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
