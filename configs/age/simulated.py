"""AGE and what it is compared with, replayed on a simulated feed into which new items arrive.

    jaxrec age replay --config=configs/age/simulated.py:AGE-TS --workdir=runs/age_ts

The name after the colon is a row of jaxrec/models/age/presets.py. No model reads histories; models that need one, such
as DIN, SIM and CAN, have configs/age/histories.py. jaxrec/models/age/README.md has how the world was chosen.
"""

from jaxrec.models.age.simulated import get_config as get_config
