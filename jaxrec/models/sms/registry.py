"""SMS and what it is compared with by name: on any folder of annotated images, and on rendered scenes."""

import functools

from jaxrec.models.sms.custom import folder_config
from jaxrec.models.sms.presets import ROWS
from jaxrec.models.sms.simulated import get_config
from jaxrec.runs.models import Model

MODELS = tuple(
    Model(
        name if name == 'SMS' else f'SMS-{name}',
        'SMS, arXiv 2105.11168',
        'a folder of annotated images',
        'jaxrec train',
        'models/sms',
        functools.partial(folder_config, name=name),
        functools.partial(get_config, name),
    )
    for name in ROWS
)
