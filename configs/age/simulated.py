"""AGE and what it is compared with, replayed on a simulated feed into which new items arrive.

    python -m experiments.age.replay --config=configs/age/simulated.py:AGE-TS --workdir=runs/age_ts

After the colon stands the row, one of configs/age/rows.py.
"""

from ml_collections import ConfigDict

from configs.age.rows import run_config

WORLD = {'visits': 1_080_000, 'history': 5}
ITEM = ('item', 'category', 'source')


def get_config(name: str = 'AGE-TS') -> ConfigDict:
    """Builds the config of one row of `configs.age.rows` on the simulated feed."""
    return run_config(
        name,
        {
            'features': {'user': ('traits',), 'candidate': ITEM, 'history': ITEM},
            'data': {
                'log': 'jaxrec.data.simulators.feed:simulate',
                'arguments': {**WORLD, 'seed': 0},
                'cache': 'runs/logs',
            },
            'stream': {'batch_size': 2048, 'share': 1.0, 'warm_up': 80_000, 'changed': 0.05},
            'replay': {'refit_every': 20_000, 'window': 20_000, 'monitor': 'true_ctr', 'tuned_on': 0.3},
            'train': {'batch_size': 256, 'epochs': 1, 'learning_rate': 1e-3, 'row_learning_rate': 1e-2},
        },
    )
