"""OneRec and related models by name: on any session or behaviour log, and on simulated sessions."""

import functools

from ml_collections import ConfigDict

from jaxrec.models.onerec.presets import ROWS
from jaxrec.runs.models import Model

REWARD = 'reward'


def _on_log(path: str, name: str) -> ConfigDict:
    from jaxrec.models.onerec.custom import log_config  # it imports jax, and the table of models does not

    return log_config(path, name)


def _simulated(name: str) -> ConfigDict:
    from jaxrec.models.onerec.simulated import get_config, reward_on_simulated

    return reward_on_simulated() if name == REWARD else get_config(name)


MODELS = tuple(
    Model(
        name,
        'OneRec, arXiv 2502.18965',
        'a session log' if name in ('OneRec', REWARD) else 'a session log or a behaviour log',
        'jaxrec onerec reward' if name == REWARD else 'jaxrec train',
        'models/onerec',
        functools.partial(_on_log, name=name),
        functools.partial(_simulated, name),
    )
    for name in (*ROWS, REWARD)
)
