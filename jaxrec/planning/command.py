"""The planner's command without its flags: what it reads, refuses, prints and writes."""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections

from jaxrec.options import parse_mesh
from jaxrec.planning.chips import CHIPS, GIB, Topology, make_devices, parse_topology, prepare_tpu
from jaxrec.planning.measured import check_measurable, describe_measured, measure_peak
from jaxrec.planning.plan import Plan, Ready, compile_plan, make_scaling, prepare_plan
from jaxrec.planning.report import PREDICTED, describe, describe_scaling, draw
from jaxrec.planning.shapes import World, open_world
from jaxrec.runs.comparison.tables import write_json

Refusal = dict[str, Any]


class Asked(NamedTuple):
    """What the command line says, each as its flag of jaxrec/cli/plan.py has it."""

    config: ml_collections.ConfigDict
    topologies: Sequence[str]
    mesh: str | None = None
    batch: int | None = None
    batch_per_device: int | None = None
    rows: Sequence[str] = ()
    step: str = 'train'
    exchanges: Sequence[str] = ()
    scaling: bool = False
    collectives: int = 12
    operations: int = 0
    measure: bool = False
    output: str | None = None
    data_dir: str | None = None


def parse_rows(given: Sequence[str]) -> dict[str, int]:
    """Reads --rows, vocabulary=number each."""
    rows = {}
    for text in given:
        name, _, number = text.partition('=')
        if not name or not number.replace('_', '').isdecimal():
            raise ValueError(f'--rows={text}: give a vocabulary and its rows, such as --rows=item=1000000000')
        rows[name] = int(number)
    return rows


def parse_meshes(text: str | None, config: ml_collections.ConfigDict) -> list[tuple[int, int] | None]:
    """Reads --mesh, or the mesh of a config; None stands for all devices on 'data'."""
    if text is None:
        mesh = config.get('mesh', None)
        return [parse_mesh(','.join(map(str, mesh))) if mesh else None]
    if not text.split():
        raise ValueError(f'--mesh={text!r}: give two sizes, such as --mesh=4,2, or several such pairs')
    return [parse_mesh(one) for one in text.split()]


def prepare_plans(
    asked: Asked, world: World, topologies: Sequence[Topology], meshes: Sequence[tuple[int, int] | None]
) -> tuple[list[Ready], list[Refusal]]:
    """Each topology with each mesh and exchange: those that can be compiled, and why the others cannot."""
    ready, refused = [], []
    worlds = [world.exchanging(name) for name in asked.exchanges] or [world]
    for topology, mesh, one in itertools.product(topologies, meshes, worlds):
        try:
            each = asked.batch_per_device
            batch = each * len(make_devices(topology)) if each else asked.batch
            ready.append(prepare_plan(one, topology, mesh, batch))
        except ValueError as error:
            refused.append(tell_refusal(topology, mesh, error))
    return ready, refused


def tell_refusal(topology: Topology, mesh: Sequence[int] | None, error: Exception) -> Refusal:
    """Prints why there is no plan, and returns that."""
    print(f'error: {error}', file=sys.stderr, flush=True)
    return {'topology': topology.name, 'mesh': list(mesh) if mesh else None, 'why': str(error)}


def make_one(ready: Ready, asked: Asked) -> Plan:
    """Compiles a plan, and those of smaller slices if they are asked for, and prints them."""
    plan = compile_plan(ready)
    print(describe(plan, asked.collectives, asked.operations), flush=True)
    if asked.measure:
        plan['measured_peak'] = measure_peak(ready)
        print(describe_measured(plan, plan['measured_peak']), flush=True)
    if asked.scaling:
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
        f'{kind}: {chip.flops / 1e12:.0f} TFLOP/s bfloat16, {chip.hbm / GIB:.0f} GiB at {chip.hbm_bytes / 1e9:.0f} '
        f'GB/s, links {chip.ici_bytes / 1e9:.0f} GB/s both ways{clock} ({chip.source})'
    )


def plan_all(asked: Asked) -> int:
    """Plans each mesh on each topology, prints, writes, and returns the exit status: 2 where something was refused.

    Raises:
      ValueError: what cannot be read, before a log is opened.
    """
    prepare_tpu()
    topologies = [parse_topology(name) for name in asked.topologies]
    meshes = parse_meshes(asked.mesh, asked.config)
    rows = parse_rows(asked.rows)
    if asked.measure:
        check_measurable(topologies, asked.step)
    simulated = max((t.chips for t in topologies if t.kind == 'cpu'), default=1)
    if simulated > getattr(jax.config, 'jax_num_cpu_devices', 1):
        jax.config.update('jax_num_cpu_devices', simulated)
    world = open_world(asked.config, data_dir=asked.data_dir, rows=rows, step=asked.step)
    print(f'{PREDICTED}\n')
    waiting, refused = prepare_plans(asked, world, topologies, meshes)
    plans: list[Plan] = []
    about = {'about': PREDICTED, 'config': asked.config.to_dict(), 'rows': rows}
    if asked.output:
        write_json(Path(asked.output), about | {'plans': plans, 'refused': refused})
    for ready in waiting:
        try:
            plans.append(make_one(ready, asked))
        except (ValueError, jax.errors.JaxRuntimeError) as error:
            refused.append(tell_refusal(ready.where.topology, ready.setup.mesh.devices.shape, error))
        if asked.output:
            write_json(Path(asked.output), about | {'plans': plans, 'refused': refused})
    for kind in sorted({t.kind for t in topologies} & set(CHIPS)):
        print(describe_chip(kind))
    if asked.output and plans:
        picture = Path(asked.output).with_suffix('.png')
        draw(plans, picture)
        print(f'wrote {asked.output}, {picture}')
    return 2 if refused else 0
