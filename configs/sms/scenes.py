"""SMS and what it is compared with on rendered scenes of people and things.

    jaxrec train --config=configs/sms/scenes.py:SMS --workdir=runs/sms

After the colon stands the row, one of jaxrec/models/sms/presets.py.
"""

from jaxrec.models.sms.simulated import get_config as get_config
