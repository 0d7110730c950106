"""One plan: a step compiled for a mesh of a slice, and what that says. B batch."""

import math
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxrec.embeddings import choose_exchange
from jaxrec.parallel import make_mesh
from jaxrec.planning import checks
from jaxrec.planning.chips import Slice, Topology, make_devices, place, smaller_slices
from jaxrec.planning.collectives import merged, seconds
from jaxrec.planning.hlo import parse_hlo
from jaxrec.planning.hlo_cost import Cost, program_cost
from jaxrec.planning.products import traced_flops
from jaxrec.planning.shapes import World, abstract_batch, device_bytes, step_state
from jaxrec.planning.tokens import work_of
from jaxrec.training.state import Setup, TrainState

REPOSITORY = Path(__file__).resolve().parents[2]
STATE = ('params', 'model_state', 'opt_state', 'tables', 'row_opt_state', 'scratch')
UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
Plan = dict[str, Any]


class Ready(NamedTuple):
    """A step that a slice and a mesh can carry, not compiled yet; `state` and `batch` are shapes."""

    world: World
    where: Slice
    setup: Setup
    state: TrainState
    batch: dict[str, jax.ShapeDtypeStruct]


def prepare_plan(
    world: World, topology: Topology, mesh_shape: tuple[int, int] | None = None, batch: int | None = None
) -> Ready:
    """Refuses what a slice or a mesh (None: all devices on 'data') cannot carry, before anything is compiled.

    Raises:
      ValueError: an unknown slice, a mesh, batch, cuts or rows that it cannot carry, or tables on the host.
    """
    world.setup.require_tables_on_device('a plan')
    devices = make_devices(topology)
    shape = mesh_shape or (len(devices), 1)
    checks.check_mesh(topology, shape, len(devices))
    mesh = make_mesh(shape, devices)
    where = place(topology, list(mesh.devices.flat))
    setup = world.setup._replace(mesh=mesh)
    size = batch or world.batch_size
    checks.check_batch(size, mesh, topology)
    inputs = abstract_batch(world, size, mesh)
    state = step_state(world, setup, inputs)
    checks.check_rows(state, where)
    checks.check_cuts({name: getattr(state, name) for name in ('params', 'model_state', 'opt_state')})
    return Ready(world, where, setup, state, inputs)


def make_plan(
    world: World, topology: Topology, mesh_shape: tuple[int, int] | None = None, batch: int | None = None
) -> Plan:
    """`prepare_plan` and `compile_plan`, of the former's arguments."""
    return compile_plan(prepare_plan(world, topology, mesh_shape, batch))


def compile_plan(ready: Ready) -> Plan:
    """Compiles a step for a slice and reads off what it will take.

    Returns:
      {'topology', 'mesh', 'devices', 'batch', 'memory', 'flops', 'collectives', 'operations', 'time', ...},
      numbers of one device unless they say otherwise; 'time' is None where no rates are published.
    """
    world, where, setup, state, inputs = ready
    step = world.step(setup)
    step = step if hasattr(step, 'trace') else jax.jit(step)
    start = time.perf_counter()
    traced = step.trace(state, inputs)
    plan = _asked(ready, traced.jaxpr)
    try:
        compiled = traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        plan['compile_s'] = time.perf_counter() - start
        return plan | _refused(error, where, sum(plan['state_bytes'].values()))
    plan['compile_s'] = time.perf_counter() - start
    cost = _cost(compiled, where, setup.mesh.size)
    moved = _moved(compiled, state) if world.trains else []
    notes = [f'{name} leaves the step placed otherwise than it came' for name in moved] + cost.notes
    plan['notes'] = list(dict.fromkeys(_short(note) for note in plan['notes'] + notes))
    return plan | {
        'memory': _memory(compiled, where),
        'flops': cost.flops,
        'bytes': cost.nbytes,
        'collectives': _collectives(cost, where),
        'operations': _operations(cost, where),
        'xla': _xla(compiled, cost, where),
        'time': _time(cost, where, plan),
    }


def _asked(ready: Ready, jaxpr: Any) -> Plan:
    """What is known of a plan before its step is compiled."""
    world, where, setup, state, inputs = ready
    flops, notes = traced_flops(jaxpr, where.topology.kind if where.chip is None else 'tpu')
    work = work_of(setup.task, state.params, inputs) if world.trains else None
    held = {name: device_bytes(getattr(state, name)) for name in STATE}
    return {
        'topology': where.topology.name,
        'mesh': list(setup.mesh.devices.shape),
        'devices': setup.mesh.size,
        'batch': next(iter(inputs.values())).shape[0],
        'step': world.name,
        'exchange': (setup.exchange or choose_exchange(setup.mesh.size)) if state.tables else None,
        'versions': {'jax': jax.__version__},
        'state_bytes': held | {'batch': device_bytes(inputs)},
        'traced_flops': flops,
        'notes': checks.repeated_experts(setup, state) + notes,
        'tokens': None if work is None else work._asdict() | {'model_flops': work.flops},
    }


def _cost(compiled: Any, where: Slice, devices: int) -> Cost:
    rate = lasts = None
    if where.chip is not None:
        flops, nbytes = where.chip.flops / where.cores, where.chip.hbm_bytes / where.cores
        rate = lambda f, b: max(f / flops, b / nbytes)
        lasts = lambda collective: seconds(collective, where)
    return program_cost(parse_hlo(compiled.as_text()), devices, rate, lasts)


def _memory(compiled: Any, where: Slice) -> dict[str, Any]:
    """Bytes of a device as XLA lays them out, padding included."""
    told = compiled.memory_analysis()
    found = {
        'arguments': told.argument_size_in_bytes,
        'outputs': told.output_size_in_bytes,
        'aliased': told.alias_size_in_bytes,
        'temporaries': told.temp_size_in_bytes,
        'code': told.generated_code_size_in_bytes,
    }
    peak = sum(found.values()) - 2 * found['aliased']
    return found | {'peak': peak} | _fit(peak, where)


def _fit(peak: float, where: Slice) -> dict[str, Any]:
    if where.chip is None:
        return {'hbm': None, 'fits': None, 'free': None}
    each = where.chip.hbm / where.cores
    return {'hbm': each, 'fits': peak <= each, 'free': each - peak}


def _refused(error: Exception, where: Slice, held: int) -> Plan:
    """What the compiler says of a program that does not fit; `held` are bytes of state and batch. Others are raised."""
    text = str(error)
    if 'RESOURCE_EXHAUSTED' not in text or where.chip is None:
        raise error
    number = r'([\d.]+)([KMGT]?)'
    memory = {'peak': None, 'hbm': where.chip.hbm / where.cores, 'fits': False, 'free': None}
    for pattern, besides in (
        (rf'Used {number} of {number} hbm', 0),
        (rf'temporaries \({number}\) exceeds available HBM \({number}\)', held),
    ):
        if found := re.search(pattern, text):
            used, usable = (float(found[n]) * UNITS[found[n + 1]] for n in (1, 3))
            memory |= {'peak': used + besides, 'hbm': usable, 'free': usable - used - besides}
            break
    told = ' '.join(text.split())[:600]
    return {'memory': memory, 'refused': told, 'time': None, 'collectives': [], 'flops': None, 'bytes': None}


def _collectives(cost: Cost, where: Slice) -> list[dict[str, Any]]:
    found = []
    for one in merged(cost.collectives):
        taken = seconds(one, where) if where.chip is not None else None
        shown = 0.0 if taken is None else max(0.0, taken - (one.hidden or 0.0))
        found.append(
            {
                'kind': one.kind, 'bytes': one.nbytes, 'group': len(one.group), 'count': one.count,
                'source': _short(one.source), 'optional': one.optional,
                'seconds': None if taken is None else taken * one.count, 'exposed': shown * one.count,
            }
        )  # fmt: skip
    return found


def _operations(cost: Cost, where: Slice) -> list[dict[str, Any]]:
    """Work by line of code, what takes longest first, without the time of collectives."""
    lines = []
    for source, (flops, nbytes, cycles) in cost.places.items():
        taken = None if where.chip is None else max(_rooflines(flops, nbytes, where))
        line = {'source': _short(source), 'flops': flops, 'bytes': nbytes, 'seconds': taken}
        lines.append(line | _cycles(cycles, where))
    return sorted(lines, key=lambda x: -max(x['seconds'] or x['bytes'], x['cycle_seconds'] or 0.0))


def _cycles(cycles: float, where: Slice) -> dict[str, float | None]:
    clock = where.chip.clock if where.chip is not None else None
    return {'cycles': cycles or None, 'cycle_seconds': cycles / clock if cycles and clock else None}


def _rooflines(flops: float, nbytes: float, where: Slice) -> tuple[float, float]:
    """Seconds that products take a device, and its memory; 0 where no rates are published."""
    if where.chip is None:
        return 0.0, 0.0
    return flops * where.cores / where.chip.flops, nbytes * where.cores / where.chip.hbm_bytes


def _short(source: str) -> str:
    return source.replace(f'{REPOSITORY}/', '')


def _xla(compiled: Any, cost: Cost, where: Slice) -> dict[str, Any]:
    """XLA's own estimates: its analysis counts the body of a loop once, cycles are here counted in full."""
    told = compiled.cost_analysis() or {}
    optimal = told.get('optimal_seconds', 0)
    found = {'flops': told.get('flops'), 'bytes': told.get('bytes accessed')}
    return found | {'seconds': optimal if optimal > 0 else None} | _cycles(cost.cycles, where)


def _time(cost: Cost, where: Slice, plan: Plan) -> dict[str, Any] | None:
    """The roofline: the longer of products and memory traffic, and what collectives nothing hides."""
    if where.chip is None:
        return None
    batch, devices = plan['batch'], plan['devices']
    compute, memory = _rooflines(cost.flops, cost.nbytes, where)
    sure = [c for c in _collectives(cost, where) if not c['optional']]
    exposed = sum(c['exposed'] for c in sure)
    step = max(compute, memory) + exposed
    found = {
        'compute': compute, 'hbm': memory, 'collectives': sum(c['seconds'] for c in sure), 'exposed': exposed,
        'step': step, 'examples_per_s': batch / step, 'mfu': None,
        'bound': max(('compute', compute), ('hbm', memory), ('collectives', exposed), key=lambda x: x[1])[0],
    }  # fmt: skip
    if plan['tokens']:
        peak = where.chip.flops * devices / where.cores
        found['mfu'] = plan['tokens']['model_flops'] * batch / step / peak
    return found


def _moved(compiled: Any, state: TrainState) -> list[str]:
    """Parts of the state that come out of a step placed otherwise than they went in: a copy a step."""
    out = compiled.output_shardings[0]
    moved = set()
    for name in STATE:
        before, after = jax.tree.leaves(getattr(state, name)), jax.tree.leaves(getattr(out, name))
        for leaf, sharding in zip(before, after, strict=True):
            if leaf.sharding is not None and not leaf.sharding.is_equivalent_to(sharding, leaf.ndim):
                moved.add(name)
    return sorted(moved)


# Efficiency is relative to this many chips: below it collectives cross few links.
REFERENCE = 16


def make_scaling(
    world: World, topology: Topology, mesh_shape: tuple[int, int], batch: int, full: Plan
) -> list[dict[str, Any]]:
    """Plans of the smaller slices of a topology at the same batch a device.

    Args:
      world: what runs.
      topology: the largest slice.
      mesh_shape: (data, model) there; smaller meshes have the largest model axis that divides both.
      batch: B there.
      full: the plan of the largest slice.

    Returns:
      A dict a slice; `efficiency` is examples a second and chip against those of `REFERENCE` chips, or of the smallest
      slice that fits. Slices that cannot carry the rows have the reason, 'refused'.

    Raises:
      ValueError: what `make_plan` refuses on the largest slice.
    """
    devices = mesh_shape[0] * mesh_shape[1]
    entries = []
    for smaller in smaller_slices(topology):
        count = len(make_devices(smaller))
        model = math.gcd(mesh_shape[1], count)
        shape, size = (count // model, model), batch // devices * count
        entry: dict[str, Any] = {'chips': smaller.chips, 'mesh': list(shape), 'batch': size}
        try:
            plan = full if smaller == topology else make_plan(world, smaller, shape, size)
        except ValueError as error:
            entries.append(entry | {'refused': str(error)})
            continue
        entry |= {'fits': plan['memory']['fits'], 'peak': plan['memory']['peak']}
        if plan['time']:
            entry |= {key: plan['time'][key] for key in ('step', 'examples_per_s', 'exposed', 'mfu')}
        entries.append(entry)
    return _with_efficiency(entries)


def _with_efficiency(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    timed = [e for e in entries if 'examples_per_s' in e and e['fits']]
    if not timed:
        return entries
    base = next((e for e in timed if e['chips'] == REFERENCE), timed[0])
    each = base['examples_per_s'] / base['chips']
    return [e | ({'efficiency': e['examples_per_s'] / e['chips'] / each} if e in timed else {}) for e in entries]
