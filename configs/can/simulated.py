r"""CAN and its bases on the simulated CTR world.

    jaxrec train --config=configs/can/simulated.py:CAN-DNN --workdir=runs/can

After the colon stands the row, one of jaxrec/models/can/presets.py.

On a pod leave --mesh out: all devices then stand on 'data', and rows are cut over all of them. What is
planned of CAN-DNN with every table of 10^9 rows, the 160 wide ones included, by

    jaxrec plan --config=configs/can/simulated.py:CAN-DNN --topology=v5e:16x16 --batch=65536 \
        --rows=item=1000000000 --rows=category=1000000000 --rows=user=1000000000

is 9.2 of 16 GiB and 1.9 ms a step, 18 MiB sent by each device (docs/plans.md).
"""

from jaxrec.models.can.simulated import get_config as get_config
