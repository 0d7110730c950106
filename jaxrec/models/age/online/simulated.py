"""AGE's online experiment (arXiv 2112.11136, section 5.3) on a simulated feed into which new items arrive.

`still` is the feed in which no item arrives: nothing is new or explored, and B has no reason to win. The paper explores
items below 3,000 impressions, of the 10,000 that an item needs there to be learned; here an item that is shown like all
others ends with some 600, so the limit is scaled.
"""

from ml_collections import ConfigDict

from jaxrec.models.age.presets import MODEL, ROWS
from jaxrec.models.age.simulated import WORLD
from jaxrec.runs.config import run_config

EXPLORERS = ('AGE-TS', 'Ensemble-TS')
WORLDS = {'feed': {}, 'still': {'lifetime': 0.0}}
# Of bucket B over A, on the display ads of April 2021; AFR, the share of advertisers that come back, is no
# part of a feed. The baseline's PCOC was 1.20.
PUBLISHED = {
    'AGE-TS': {'ctr': '+6.4%', 'new': '+3.0%', 'pcoc': '1.10', 'afr': '+5.5%'},
    'Ensemble-TS': {'ctr': '+1.2%', 'new': '+1.2%', 'pcoc': '1.16', 'afr': '+2.3%'},
    'Ensemble-UCB': {'ctr': '-3.1%', 'new': '+0.2%', 'pcoc': '1.19', 'afr': '+0.7%'},
}


def get_config(world: str = 'feed') -> ConfigDict:
    """Builds the config of the experiment in one of `WORLDS`."""
    if world not in WORLDS:
        raise ValueError(f'there is no world {world!r}; choose one of {sorted(WORLDS)}, as in online.py:still')
    config = run_config(
        'DNN',
        {
            'model': MODEL,
            # Histories of the log hold clicks on what its uniform logger showed, so no model reads them.
            'features': {'user': ('traits',), 'candidate': ('item', 'category')},
            'data': {
                'log': 'jaxrec.data.simulators.feed:simulate',
                'arguments': {
                    **WORLD,
                    'visits': 100_000,
                    'days': 6.0,
                    'bias': -2.2,
                    'history': 1,
                    **WORLDS[world],
                    'seed': 0,
                },
                'cache': 'runs/logs',
            },
            'stream': {'batch_size': 512, 'warm_up': 20_000, 'changed': 0.2},
            # Small batches: an undertrained gate lets nobody through, and then no lambda changes a winner.
            'train': {'batch_size': 64, 'learning_rate': 2e-3, 'row_learning_rate': 1e-2},
        },
        ROWS,
    )
    config.explorers = ConfigDict({name: ROWS[name] for name in EXPLORERS})
    config.online = ConfigDict({'shares': (0.5, 0.25, 0.25), 'learn_every': 4_000, 'max_impressions': 200})
    config.published = ConfigDict(PUBLISHED)
    return config
