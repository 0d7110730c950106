r"""AGE over models that read a history, such as DIN, SIM and CAN, on the simulated feed of the replay.

    jaxrec age replay --config=configs/age/histories.py:AGE-TS --workdir=runs/age_din \
        --config.model.task=jaxrec.models.baselines.din:make_task

After the colon stands the row, one of jaxrec/models/age/presets.py. The base is one field: jaxrec.models.sim:make_task
and jaxrec.models.can:make_task are others. A base that takes no `dim` or `widths`, such as LR, is the whole
section: --config.model="{'task': 'jaxrec.models.baselines.lr:make_task'}".

Histories are clicks on whatever the log's uniform logger showed the user, also at visits where the policy had
picked something else. So these runs show that AGE explores over any base, and their click rates are not to be
compared with those of configs/age/simulated.py, where skipped visits teach nothing.
"""

from ml_collections import ConfigDict

from jaxrec.models.age.simulated import get_config as one_run

ITEM = ('item', 'category')  # the category is what SIM's hard search goes by


def get_config(name: str = 'AGE-TS') -> ConfigDict:
    """Builds the config of one row of `jaxrec.models.age.presets`, with histories of five clicks."""
    config = one_run(name)
    config.features.candidate = config.features.history = ITEM
    config.data.arguments.history = 5
    return config
