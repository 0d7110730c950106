"""The models of SIM's tables by name: on any behaviour log, and on simulated long histories."""

import functools

from jaxrec.models.sim.presets import ROWS
from jaxrec.models.sim.simulated import get_config
from jaxrec.runs.defaults import click_config
from jaxrec.runs.models import Model

MODELS = tuple(
    Model(
        name,
        'SIM, arXiv 2006.05639',
        'a behaviour log',
        'jaxrec train',
        'models/sim' if 'SIM' in name else 'models/baselines',
        functools.partial(click_config, name=name, rows=ROWS),
        functools.partial(get_config, name),
    )
    for name in ROWS
)
