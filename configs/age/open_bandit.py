"""AGE and what it is compared with on the Open Bandit Dataset (arXiv 2008.07146), logged uniformly.

    jaxrec age replay --config=configs/age/open_bandit.py:AGE-TS --workdir=runs/age_obd

The name after the colon is a row of jaxrec/models/age/presets.py. Needs the set, or its sample of 10,000 rows a
campaign, under --data_dir or $JAXREC_DATA; jaxrec/data/readers/bandits/open_bandit.py has its source. The counts below
suit the sample, of which hardly a click is left to replay: the run says so. The full set bears the counts of
configs/age/simulated.py. The log of the other logger, behaviour='bts', has propensities that differ, and is thinned to
a uniform one by --config.replay.accept=propensity; IPS, SNIPS, DM and DR are printed too.
"""

from ml_collections import ConfigDict

from jaxrec.models.age.presets import MODEL, ROWS, thresholds_at
from jaxrec.runs.config import run_config

UNIFORM_CTR = 0.0035  # of the uniform logger, campaign of all items


def get_config(name: str = 'AGE-TS') -> ConfigDict:
    """Builds the config of one row of `jaxrec.models.age.presets` on the campaign of all items."""
    return run_config(
        name,
        {
            'model': MODEL,
            'features': {
                'user': ('position', 'user_feature_0', 'user_feature_1', 'user_feature_2', 'user_feature_3'),
                'candidate': ('item', 'item_feature_1', 'item_feature_2', 'item_feature_3', 'affinity'),
            },
            'data': {
                'log': 'jaxrec.data.readers.bandits.open_bandit:compile_open_bandit',
                'arguments': {'data_dir': '', 'behaviour': 'random', 'campaign': 'all'},
                'cache': 'runs/logs',
            },
            'stream': {'batch_size': 512, 'share': 1.0, 'warm_up': 2_000, 'changed': 0.05},
            'replay': {
                'refit_every': 1_000, 'window': 2_000, 'accept': 'matches', 'checkpoint_every': 4_000,
                'off_policy': True,
            },
            # Small batches: a gate that 2,000 events have hardly taught lets nobody through.
            'train': {'batch_size': 16, 'epochs': 1, 'learning_rate': 3e-3, 'row_learning_rate': 1e-2},
        },
        ROWS | thresholds_at(UNIFORM_CTR),
    )  # fmt: skip
