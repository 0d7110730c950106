"""The models of CAN's tables by name: on any behaviour or click log, and on the simulated clicks."""

import functools

from jaxrec.models.can.presets import ROWS, averaged
from jaxrec.models.can.simulated import get_config
from jaxrec.runs.defaults import click_config
from jaxrec.runs.models import Model

# As on MovieLens: a user's last events are tested, whose histories are longer, and a sum grows with them.
ON_LOG = {name: averaged(row) for name, row in ROWS.items()}
MODELS = tuple(
    Model(
        name,
        'CAN, arXiv 2011.05625',
        'a behaviour log, or a click log for models without histories',
        'jaxrec train',
        'models/can' if 'CAN' in name else 'models/baselines',
        functools.partial(click_config, name=name, rows=ON_LOG),
        functools.partial(get_config, name),
    )
    for name in ROWS
)
