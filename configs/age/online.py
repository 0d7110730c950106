"""AGE's online experiment (arXiv 2112.11136, section 5.3) on a simulated feed into which new items arrive.

    python -m experiments.age.online --config=configs/age/online.py --workdir=runs/age_online
    python -m experiments.age.online --config=configs/age/online.py:still --workdir=runs/age_online_still

`still` is the world in which no item arrives: there is nothing new to explore, and B should not win.
"""

from ml_collections import ConfigDict

from configs.age.rows import ROWS, run_config

EXPLORERS = ('AGE-TS', 'Ensemble-TS')
WORLDS = {'feed': {}, 'still': {'lifetime': 0.0}}


def get_config(world: str = 'feed') -> ConfigDict:
    """Builds the config of the experiment in one of `WORLDS`."""
    config = run_config(
        'DNN',
        {
            # Histories of the log hold clicks on what its uniform logger showed, so no model reads them.
            'features': {'user': ('traits',), 'candidate': ('item', 'category', 'source')},
            'data': {
                'log': 'jaxrec.data.simulators.feed:simulate',
                'arguments': {'visits': 100_000, 'history': 1, **WORLDS[world], 'seed': 0},
                'cache': 'runs/logs',
            },
            'stream': {'batch_size': 512, 'warm_up': 20_000, 'changed': 0.05},
            'train': {'batch_size': 256, 'learning_rate': 3e-3, 'row_learning_rate': 2e-2},
        },
    )
    config.explorers = ConfigDict({name: ROWS[name] for name in EXPLORERS})
    config.online = ConfigDict(
        {'shares': (0.5, 0.25, 0.25), 'learn_every': 4_000, 'max_impressions': 300, 'seeds': 5}
    )
    return config
