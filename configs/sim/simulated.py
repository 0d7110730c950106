r"""SIM, what it is compared with and what came after it, on a simulated world of long histories.

    jaxrec train --config=configs/sim/simulated.py:SIM-soft --workdir=runs/sim

After the colon stands the row, one of jaxrec/models/sim/presets.py. A user has 2,000 behaviours before its
impressions; of those that matter to a candidate none is among the last 500, and half are of other categories.
configs/sim/table_simulated.py says how the world was fixed.

On a pod leave --mesh out: all devices then stand on 'data', and rows are cut over all of them. What is
planned of SIM-soft with tables of 10^9 rows by

    jaxrec plan --config=configs/sim/simulated.py:SIM-soft --topology=v5e:16x16 --batch=2048 \
        --rows=item=1000000000 --rows=category=1000000000

is .6 of 16 GiB and .9 ms a step, 11 MiB sent by each device (docs/plans.md).
"""

from jaxrec.models.sim.simulated import get_config as get_config
