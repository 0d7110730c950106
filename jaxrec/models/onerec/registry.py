"""The models of OneRec's table by name: on any session or behaviour log, and on simulated sessions."""

import functools

from ml_collections import ConfigDict

from jaxrec.models.onerec.custom import log_config
from jaxrec.models.onerec.presets import ROWS
from jaxrec.models.onerec.simulated import get_config, reward_on_simulated
from jaxrec.runs.models import Model

REWARD = 'reward'


def _simulated(name: str) -> ConfigDict:
    return reward_on_simulated() if name == REWARD else get_config(name)


MODELS = tuple(
    Model(
        name,
        'OneRec, arXiv 2502.18965',
        'a session log' if name in ('OneRec', REWARD) else 'a session log or a behaviour log',
        'jaxrec onerec reward' if name == REWARD else 'jaxrec train',
        'models/onerec',
        functools.partial(log_config, name=name),
        functools.partial(_simulated, name),
    )
    for name in (*ROWS, REWARD)
)
