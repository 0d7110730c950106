"""Predicts memory, traffic and speed of a config on slices of TPUs, or simulated devices, on any machine.

    jaxrec plan --config=configs/onerec/sized.py:1b --topology=v5e:16x16 --batch=2048
    jaxrec plan --config=configs/can/simulated.py:CAN-DNN --topology=v5e:16x16 \
        --topology=v6e:16x16 --mesh='256,1 16,16' --batch=65536 --rows=item=1000000000 --scaling
    jaxrec plan --config=configs/can/simulated.py:CAN-DNN --topology=cpu:8 --mesh=4,2 --measure

The real step is compiled ahead of time for each slice and mesh; nothing is run and no array of the state is made. TPUs
need the extra `plan` (pip install -e '.[plan]', Linux). The config's log is opened, and compiled if it is not there;
files that take long to make, such as semantic IDs, are replaced by stand-ins of the same shapes. What is printed goes
to --output as JSON, after each plan, with a picture beside it. A slice or mesh that cannot carry the batch, what a rule
cuts or the rows is refused with what would, before anything is compiled; the others are planned, and the exit status is
2. --mesh takes several shapes, with spaces between them.
"""

import sys
from typing import Any

from absl import flags

from jaxrec.cli.configs import given_config
from jaxrec.cli.flags import DATA_DIR, MESH, friendly
from jaxrec.embeddings.lookup import EXCHANGES

TOPOLOGY = flags.DEFINE_multi_string('topology', None, 'Such as v5e:16x16, v5p:4x8x8 or cpu:8.', required=True)
BATCH = flags.DEFINE_integer('batch', None, "Over all devices; default: the config's.", lower_bound=1)
BATCH_PER_DEVICE = flags.DEFINE_integer('batch_per_device', None, 'In place of --batch.', lower_bound=1)
ROWS = flags.DEFINE_multi_string('rows', [], "vocabulary=rows, such as item=1000000000; default: the log's.")
STEP = flags.DEFINE_string('step', 'train', "'train', 'predict' or package.module:name of a function of a Setup.")
EXCHANGE = flags.DEFINE_multi_enum(
    'exchange', [], EXCHANGES, "How rows move between devices, each in a plan; default: the config's."
)
SCALING = flags.DEFINE_bool('scaling', False, 'Also plan smaller slices, at the same batch a device.')
COLLECTIVES = flags.DEFINE_integer('collectives', 12, 'How many to list.')
OPERATIONS = flags.DEFINE_integer(
    'operations', 0, "How many lines of code to list, by the time they take; XLA's cycles stand beside it."
)
MEASURE = flags.DEFINE_bool(
    'measure', False, 'Also run a few steps of a plan of simulated devices, and say what memory they took.'
)
OUTPUT = flags.DEFINE_string('output', None, 'Takes the plans as JSON; a picture lies beside it.')


@friendly
def main(_: list[str]) -> None:
    """Plans each mesh on each topology, prints, and writes."""
    from jaxrec.planning.command import Asked, plan_all

    what: tuple[Any, ...] = (TOPOLOGY, MESH, BATCH, BATCH_PER_DEVICE, ROWS, STEP, EXCHANGE, SCALING)
    shown = (COLLECTIVES, OPERATIONS, MEASURE, OUTPUT, DATA_DIR)
    if status := plan_all(Asked(given_config('jaxrec train'), *(flag.value for flag in (*what, *shown)))):
        sys.exit(status)
