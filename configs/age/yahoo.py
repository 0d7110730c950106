"""AGE and what it is compared with on Yahoo! R6B, the paper's data: users of 136 features, articles without any.

    jaxrec age replay --config=configs/age/yahoo.py:AGE-TS --workdir=runs/age_r6b

The name after the colon is a row of jaxrec/models/age/presets.py. Needs the files of Webscope's R6B under --data_dir or
$JAXREC_DATA, placed by hand after an agreement with Yahoo!; jaxrec/data/readers/bandits/yahoo.py has their source and
names. Not run here, for want of them. Days to tune on, apart from those of the test:
--config.data.arguments="{'data_dir': '', 'irregular': 'drop', 'days': (2,)}". As in the paper, the first 80,000 visits
train what every method starts from. The rest is not stated there; learning is in chunks of 80,000 visits.
"""

from ml_collections import ConfigDict

from jaxrec.models.age.presets import MODEL, ROWS
from jaxrec.runs.config import run_config


def get_config(name: str = 'AGE-TS') -> ConfigDict:
    """Builds the config of one row of `jaxrec.models.age.presets` on R6B."""
    return run_config(
        name,
        {
            'model': MODEL,
            'features': {'user': ('features',), 'candidate': ('item',)},
            'data': {
                'log': 'jaxrec.data.readers.bandits.yahoo:compile_yahoo',
                'arguments': {'data_dir': '', 'irregular': 'drop'},
                'cache': 'runs/logs',
            },
            'stream': {'batch_size': 2048, 'share': 1.0, 'warm_up': 80_000, 'changed': 0.05},
            'replay': {'refit_every': 80_000, 'window': 80_000, 'checkpoint_every': 2_000_000, 'off_policy': False},
            'train': {'batch_size': 256, 'epochs': 1, 'learning_rate': 1e-3, 'row_learning_rate': 1e-2},
        },
        ROWS,
    )
