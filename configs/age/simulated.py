"""AGE and what it is compared with, replayed on a simulated feed into which new items arrive.

    jaxrec age replay --config=configs/age/simulated.py:AGE-TS --workdir=runs/age_ts

After the colon stands the row, one of jaxrec/models/age/presets.py. No model reads histories: those of the log hold
clicks on all that its uniform logger showed, and a replay learns from matches alone. Models that need one, such as DIN,
SIM and CAN, have configs/age/histories.py. configs/age/table_replay.py says how the world was fixed and what a run
takes.
"""

from jaxrec.models.age.simulated import get_config as get_config
