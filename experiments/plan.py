"""Predicts memory, traffic and speed of a config on slices of TPUs, or simulated devices, on any machine.

    python -m experiments.plan --config=configs/onerec/sized.py:1b --topology=v5e:16x16 --batch=2048
    python -m experiments.plan --config=configs/can/simulated.py:CAN-DNN --topology=v5e:16x16 \
        --topology=v6e:16x16 --mesh='256,1 16,16' --batch=65536 --rows=item=1000000000 --scaling
    python -m experiments.plan --config=configs/can/simulated.py:CAN-DNN --topology=cpu:8 --mesh=4,2

The real step is compiled ahead of time for each slice and mesh; nothing is run and no array of the state is
made. TPUs need the extra `plan` (pip install -e '.[plan]', Linux). The config's log is opened, and compiled
if it is not there; files that take long to make, such as semantic IDs, are replaced by stand-ins of the same
shapes. What is printed goes to --output as JSON, after each plan, with a picture beside it. A slice or mesh
that cannot carry the batch, what a rule cuts or the rows is refused with what would, before anything is
compiled; the others are planned, and the exit status is 2. --mesh takes several shapes, with spaces between
them.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
from absl import app, flags
from ml_collections import config_flags

from experiments.comparison.tables import write_json
from experiments.flags import DATA_DIR, MESH, friendly, parse_mesh
from experiments.planning.chips import CHIPS, GIB, Topology, make_devices, parse_topology, prepare_tpu
from experiments.planning.plan import Plan, Ready, compile_plan, prepare_plan
from experiments.planning.report import PREDICTED, describe, describe_scaling, draw
from experiments.planning.scaling import make_scaling
from experiments.planning.world import World, open_world

Refusal = dict[str, Any]

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


def parse_meshes(text: str | None, config: ml_collections.ConfigDict) -> list[tuple[int, int] | None]:
    """Reads --mesh, or the mesh of a config; None stands for all devices on 'data'.

    Raises:
      ValueError: anything but two numbers for each mesh.
    """
    if text is None:
        mesh = config.get('mesh', None)
        return [parse_mesh(','.join(map(str, mesh))) if mesh else None]
    if not text.split():
        raise ValueError(f'--mesh={text!r}: give two sizes, such as --mesh=4,2, or several such pairs')
    return [parse_mesh(one) for one in text.split()]


def prepare_plans(
    world: World, topologies: Sequence[Topology], meshes: Sequence[tuple[int, int] | None]
) -> tuple[list[Ready], list[Refusal]]:
    """Each topology with each mesh: those that can be compiled, and why the others cannot."""
    ready, refused = [], []
    for topology in topologies:
        for mesh in meshes:
            try:
                each = BATCH_PER_DEVICE.value
                batch = each * len(make_devices(topology)) if each else BATCH.value
                ready.append(prepare_plan(world, topology, mesh, batch))
            except ValueError as error:
                refused.append(tell_refusal(topology, mesh, error))
    return ready, refused


def tell_refusal(topology: Topology, mesh: Sequence[int] | None, error: ValueError) -> Refusal:
    """Prints why there is no plan, and returns that."""
    print(f'error: {error}', file=sys.stderr, flush=True)
    return {'topology': topology.name, 'mesh': list(mesh) if mesh else None, 'why': str(error)}


def make_one(ready: Ready) -> Plan:
    """Compiles a plan, and those of smaller slices if they are asked for, and prints them."""
    plan = compile_plan(ready)
    print(describe(plan, COLLECTIVES.value), flush=True)
    if SCALING.value:
        shape = tuple(plan['mesh'])
        plan['scaling'] = make_scaling(ready.world, ready.where.topology, shape, plan['batch'], plan)
        print(describe_scaling(plan['scaling']), flush=True)
    print()
    return plan


def describe_chip(kind: str) -> str:
    """The published rates of a chip."""
    chip = CHIPS[kind]
    clock = f', {chip.clock / 1e9:.2f} GHz' if chip.clock else ''
    return (
        f'{kind}: {chip.flops / 1e12:.0f} TFLOP/s bfloat16, {chip.hbm / GIB:.0f} GiB at '
        f'{chip.hbm_bytes / 1e9:.0f} GB/s, links {chip.ici_bytes / 1e9:.0f} GB/s both ways{clock} '
        f'({chip.source})'
    )


@friendly
def main(_: list[str]) -> None:
    """Plans each mesh on each topology, prints, and writes."""
    prepare_tpu()
    topologies = [parse_topology(name) for name in TOPOLOGY.value]
    meshes = parse_meshes(MESH.value, CONFIG.value)
    rows = parse_rows(ROWS.value)
    simulated = max((t.chips for t in topologies if t.kind == 'cpu'), default=1)
    if simulated > getattr(jax.config, 'jax_num_cpu_devices', 1):
        jax.config.update('jax_num_cpu_devices', simulated)
    world = open_world(CONFIG.value, data_dir=DATA_DIR.value, rows=rows, step=STEP.value)
    print(f'{PREDICTED}\n')
    waiting, refused = prepare_plans(world, topologies, meshes)
    plans: list[Plan] = []
    about = {'about': PREDICTED, 'config': CONFIG.value.to_dict(), 'rows': rows}
    for ready in waiting:
        try:
            plans.append(make_one(ready))
        except ValueError as error:
            refused.append(tell_refusal(ready.where.topology, ready.setup.mesh.devices.shape, error))
        if OUTPUT.value:
            write_json(Path(OUTPUT.value), about | {'plans': plans, 'refused': refused})
    for kind in sorted({t.kind for t in topologies} & set(CHIPS)):
        print(describe_chip(kind))
    if OUTPUT.value and plans:
        picture = Path(OUTPUT.value).with_suffix('.png')
        draw(plans, picture)
        print(f'wrote {OUTPUT.value}, {picture}')
    if refused:
        sys.exit(2)


if __name__ == '__main__':
    app.run(main)
