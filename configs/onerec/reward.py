"""OneRec's reward model on the simulated world of sessions.

jaxrec onerec reward --config=configs/onerec/reward.py --workdir=runs/onerec/reward

It learns from users of its own, none of whom the rows of configs/onerec/simulated.py learn from.
"""

from ml_collections import ConfigDict

from configs.onerec.simulated import JUDGE_HISTORY
from configs.onerec.simulated import get_config as get_generator
from configs.onerec.stages import reward_config


def get_config() -> ConfigDict:
    """Builds the config."""
    config = reward_config(get_generator('OneRec'))
    config.data.history_length = JUDGE_HISTORY
    return config
