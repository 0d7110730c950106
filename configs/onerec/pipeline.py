"""OneRec's whole pipeline on the simulated world of sessions: 5,000 users, 2,000 items, 100,000 requests.

jaxrec onerec pipeline --config=configs/onerec/pipeline.py --workdir=runs/onerec
"""

from ml_collections import ConfigDict

from configs.onerec.reward import get_config as get_reward
from configs.onerec.simulated import get_config as get_generator
from configs.onerec.stages import OF_METHOD, align_config


def get_config() -> ConfigDict:
    """Builds the config: 3 levels and ranks, 8 experts of which 2 are active, sessions of 5, 32 beams."""
    generator = get_generator('OneRec')
    generator.train.epochs = 6
    # Of 2% of the requests a pair weighs half of what it does of 1%.
    of_method = OF_METHOD | {'ipo': {'weight': OF_METHOD['ipo']['weight'] / 2}}
    return ConfigDict(
        {
            'generator': generator,
            'reward': get_reward(),
            'align': align_config(beams=32, passes=2.0, ratio=0.02, weight=50.0, judged=128),
            'pipeline': {'methods': ('ntp', 'ipa'), 'of_method': of_method, 'requests': 600},
        }
    )
