r"""OneRec and what it is compared with on KuaiRand, a log of short videos whose sessions are told by time.

    jaxrec onerec tokenize --config=configs/onerec/kuairand.py --workdir=runs/kuairand/tokens
    jaxrec train --config=configs/onerec/kuairand.py:OneRec --workdir=runs/kuairand/ntp
    jaxrec onerec reward --config=configs/onerec/kuairand.py:reward \
        --workdir=runs/kuairand/reward
    jaxrec onerec align --config=configs/onerec/align.py:ipa --workdir=runs/kuairand/ipa \
        --generator=runs/kuairand/ntp --reward=runs/kuairand/reward

The data root is $JAXREC_DATA or --data_dir; there the published folder is placed by hand, `KuaiRand-1K` or, by
--config.data.arguments.edition, another. After the colon stands a row of jaxrec/models/onerec/presets.py or `reward`.
`jaxrec.data.readers.kuairand` says what a session is; a video counts from five rows on. Videos have no content there,
so their vectors are made of what users watched in training; generator and reward model learn from different users.
Sessions of high quality are the paper's: five effective views, a watch time above the median, a like, follow or share.
"""

from ml_collections import ConfigDict

from jaxrec.models.onerec.presets import FEATURES, HISTORY, OF_ROWS, ROWS, SPLIT, TRAIN, of_length, tokenized
from jaxrec.models.onerec.stages import reward_config
from jaxrec.runs.config import run_config

REWARD = 'reward'


def get_config(name: str = 'OneRec') -> ConfigDict:
    """Builds the config of one row of `jaxrec.models.onerec.presets`, or of the reward model, on KuaiRand."""
    config = run_config(
        'OneRec' if name == REWARD else name,
        {
            'features': FEATURES,
            'files': {'ids': tokenized(behaviour=64, levels=3, clusters=256)},
            'data': {
                'log': 'jaxrec.data.readers.kuairand:compile_kuairand',
                'arguments': {'data_dir': '', 'edition': '1k', 'least': 5},
                'cache': 'runs/logs', 'label': {}, 'split': SPLIT, 'history_length': HISTORY, 'users': OF_ROWS,
            },
            'train': TRAIN,
        },
        of_length(ROWS, HISTORY),
    )  # fmt: skip
    return reward_config(config) if name == REWARD else config
