"""Predicts memory, traffic and speed of a config on slices of TPUs, or simulated devices, on any machine.

    python -m experiments.plan --config=configs/onerec/sized.py:1b --topology=v5e:16x16 --batch=2048
    python -m experiments.plan --config=configs/can/simulated.py:CAN-DNN --topology=v5e:16x16 \
        --topology=v6e:16x16 --mesh='256,1 16,16' --batch=65536 --rows=item=1000000000 --scaling
    python -m experiments.plan --config=configs/can/simulated.py:CAN-DNN --topology=cpu:8 --mesh=4,2

The real step is compiled ahead of time for each slice and mesh; nothing is run and no array of the state is
made. TPUs need the extra `plan` (pip install -e '.[plan]', Linux). The config's log is opened, and compiled
if it is not there; files that take long to make, such as semantic IDs, are replaced by stand-ins of the same
shapes. What is printed goes to --output as JSON, with a picture beside it. A slice or mesh that cannot carry
the batch, the experts or the rows is refused with what would. --mesh takes several shapes, with spaces
between them.
"""

from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_flags

from experiments.comparison.tables import write_json
from experiments.flags import DATA_DIR, MESH, friendly, parse_mesh
from experiments.planning.chips import CHIPS, GIB, make_devices, parse_topology, prepare_tpu
from experiments.planning.plan import make_plan
from experiments.planning.report import PREDICTED, describe, describe_scaling, draw
from experiments.planning.scaling import make_scaling
from experiments.planning.world import open_world

CONFIG = config_flags.DEFINE_config_file('config', lock_config=True)
TOPOLOGY = flags.DEFINE_multi_string(
    'topology', None, 'Such as v5e:16x16, v5p:4x8x8 or cpu:8.', required=True
)
BATCH = flags.DEFINE_integer('batch', None, "Over all devices; default: the config's.", lower_bound=1)
BATCH_PER_DEVICE = flags.DEFINE_integer('batch_per_device', None, 'In place of --batch.', lower_bound=1)
ROWS = flags.DEFINE_multi_string('rows', [], "vocabulary=rows, such as item=1000000000; default: the log's.")
STEP = flags.DEFINE_string(
    'step', 'train', "'train', 'predict' or package.module:name of a function of a Setup."
)
SCALING = flags.DEFINE_bool('scaling', False, 'Also plan smaller slices, at the same batch a device.')
COLLECTIVES = flags.DEFINE_integer('collectives', 12, 'How many to list.')
OUTPUT = flags.DEFINE_string('output', None, 'Takes the plans as JSON; a picture lies beside it.')


def parse_rows(given: list[str]) -> dict[str, int]:
    """Reads --rows.

    Raises:
      ValueError: anything but vocabulary=number.
    """
    rows = {}
    for text in given:
        name, _, number = text.partition('=')
        if not name or not number.replace('_', '').isdecimal():
            raise ValueError(f'--rows={text}: give a vocabulary and its rows, such as --rows=item=1000000000')
        rows[name] = int(number)
    return rows


@friendly
def main(_: list[str]) -> None:
    """Plans each mesh on each topology, prints, and writes."""
    prepare_tpu()
    topologies = [parse_topology(name) for name in TOPOLOGY.value]
    simulated = max((t.chips for t in topologies if t.kind == 'cpu'), default=1)
    if simulated > getattr(jax.config, 'jax_num_cpu_devices', 1):
        jax.config.update('jax_num_cpu_devices', simulated)
    rows = parse_rows(ROWS.value)
    world = open_world(CONFIG.value, data_dir=DATA_DIR.value, rows=rows, step=STEP.value)
    print(f'{PREDICTED}\n')
    plans = []
    for topology in topologies:
        devices = len(make_devices(topology))
        for text in (MESH.value or f'{devices},1').split():
            shape = parse_mesh(text) or (devices, 1)
            batch = BATCH_PER_DEVICE.value * devices if BATCH_PER_DEVICE.value else BATCH.value
            plan = make_plan(world, topology, shape, batch)
            print(describe(plan, COLLECTIVES.value), flush=True)
            if SCALING.value:
                plan['scaling'] = make_scaling(world, topology, shape, plan['batch'], plan)
                print(describe_scaling(plan['scaling']), flush=True)
            print()
            plans.append(plan)
    for kind in sorted({t.kind for t in topologies} & set(CHIPS)):
        chip = CHIPS[kind]
        print(
            f'{kind}: {chip.flops / 1e12:.0f} TFLOP/s bfloat16, {chip.hbm / GIB:.0f} GiB at '
            f'{chip.hbm_bytes / 1e9:.0f} GB/s, links {chip.ici_bytes / 1e9:.0f} GB/s '
            f'both ways ({chip.source})'
        )
    if OUTPUT.value:
        path = Path(OUTPUT.value)
        write_json(path, {'about': PREDICTED, 'config': CONFIG.value.to_dict(), 'rows': rows, 'plans': plans})
        draw(plans, path.with_suffix('.png'))
        print(f'wrote {path}, {path.with_suffix(".png")}')


if __name__ == '__main__':
    app.run(main)
