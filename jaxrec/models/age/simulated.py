"""AGE and what it is compared with, replayed on a simulated feed into which new items arrive.

No model reads histories: those of the log hold clicks on all that its uniform logger showed, and a replay learns from
matches alone.
"""

from ml_collections import ConfigDict

from jaxrec.models.age.presets import MODEL, ROWS
from jaxrec.runs.config import run_config

# 72,000 visits a day, of which 1,900 are matched; the first 80,000 are warm-up, a million are replayed.
# Random earns about what it does on R6B (.036), so table 3's fixed thresholds are the paper's own.
WORLD = {
    'visits': 1_080_000,
    'days': 15.0,
    'lifetime': 2.0,
    'bias': -3.3,
    'quality_effect': 0.8,
    'source_share': 0.0,
    'pair_effect': 0.4,
    'history': 1,
}
ITEM = ('item',)  # R6B's articles have no other feature


def get_config(name: str = 'AGE-TS') -> ConfigDict:
    """Builds the config of one row of `jaxrec.models.age.presets` on the simulated feed."""
    return run_config(
        name,
        {
            'model': MODEL,
            'features': {'user': ('traits',), 'candidate': ITEM},
            'data': {
                'log': 'jaxrec.data.simulators.feed:simulate',
                'arguments': {**WORLD, 'seed': 0},
                'cache': 'runs/logs',
            },
            'stream': {'batch_size': 2048, 'share': 1.0, 'warm_up': 80_000, 'changed': 0.2},
            'replay': {
                'refit_every': 20_000,
                'window': 20_000,
                'monitor': 'true_ctr',
                'tuned_on': 0.5,
                'checkpoint_every': 200_000,
                'off_policy': False,
            },
            'train': {'batch_size': 256, 'epochs': 1, 'learning_rate': 1e-3, 'row_learning_rate': 3e-3},
        },
        ROWS,
    )
