"""One plan: a step compiled for a mesh of a slice, and what that says.

B batch.
"""

import re
import time
from pathlib import Path
from typing import Any

import jax

from experiments.planning import checks
from experiments.planning.chips import Slice, Topology, make_devices, place
from experiments.planning.collectives import merged, seconds
from experiments.planning.hlo import parse_hlo
from experiments.planning.hlo_cost import Cost, program_cost
from experiments.planning.jaxpr_flops import traced_flops
from experiments.planning.tokens import work_of
from experiments.planning.world import World, abstract_batch, device_bytes, full_state
from jaxrec.parallel import make_mesh
from jaxrec.training.state import Setup, TrainState

REPOSITORY = Path(__file__).resolve().parents[2]
STATE = ('params', 'model_state', 'opt_state', 'tables', 'row_opt_state', 'scratch')
Plan = dict[str, Any]


def make_plan(
    world: World, topology: Topology, mesh_shape: tuple[int, int] | None = None, batch: int | None = None
) -> Plan:
    """Compiles a step for a slice and reads off what it will take.

    Args:
      world: what runs.
      topology: on what.
      mesh_shape: (data, model); None puts all devices on 'data'.
      batch: B over all devices; None is the config's.

    Returns:
      {'topology', 'mesh', 'devices', 'batch', 'memory', 'flops', 'collectives', 'time', ...}, numbers of one
      device unless they say otherwise; 'time' is None where no rates are published.

    Raises:
      ValueError: a mesh, batch, experts or rows that the slice cannot carry.
    """
    devices = make_devices(topology)
    shape = mesh_shape or (len(devices), 1)
    checks.check_mesh(topology, shape, len(devices))
    mesh = make_mesh(shape, devices)
    where = place(topology, list(mesh.devices.flat))
    setup = world.setup._replace(mesh=mesh)
    size = batch or world.batch_size
    checks.check_batch(size, mesh, topology)
    checks.check_experts(setup)
    checks.check_rows(setup, where)
    inputs = abstract_batch(world, size, mesh)
    checks.check_cuts(setup, _dense_shapes(setup, inputs))
    state = full_state(setup, inputs)
    plan: Plan = {
        'topology': topology.name, 'mesh': list(shape), 'devices': len(devices), 'batch': size,
        'step': 'train' if world.trains else 'other', 'versions': {'jax': jax.__version__},
        'state_bytes': {n: device_bytes(getattr(state, n)) for n in STATE} | {'batch': device_bytes(inputs)},
    }  # fmt: skip
    return plan | _compile(world, setup, state, inputs, where)


def _dense_shapes(setup: Setup, inputs: Any) -> dict[str, Any]:
    """Shapes of what rules place."""
    params, model_state = jax.eval_shape(lambda b: setup.task.init(jax.random.key(0), b), inputs)
    return {'params': params, 'model_state': model_state}


def _compile(world: World, setup: Setup, state: TrainState, inputs: Any, where: Slice) -> Plan:
    step = world.step(setup)
    step = step if hasattr(step, 'trace') else jax.jit(step)
    start = time.perf_counter()
    traced = step.trace(state, inputs)
    asked, notes = traced_flops(traced.jaxpr, where.topology.kind if where.chip is None else 'tpu')
    work = work_of(setup.task, state.params, inputs)
    model = {} if work is None else work._asdict() | {'model_flops': work.flops(world.trains)}
    plan: Plan = {'traced_flops': asked, 'notes': notes, 'tokens': model or None}
    try:
        compiled = traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        plan['compile_s'] = time.perf_counter() - start
        return plan | _refused(error, where)
    plan['compile_s'] = time.perf_counter() - start
    cost = _cost(compiled, where, setup.mesh.size)
    moved = _moved(compiled, state) if world.trains else []
    notes += [f'{name} leaves the step placed otherwise than it came' for name in moved]
    plan['notes'] = list(dict.fromkeys(_short(note) for note in notes + cost.notes))
    return plan | {
        'memory': _memory(compiled, where),
        'flops': cost.flops,
        'bytes': cost.nbytes,
        'collectives': _collectives(cost, where),
        'xla': _xla(compiled, cost),
        'time': _time(cost, where, plan, next(iter(inputs.values())).shape[0], setup.mesh.size),
    }


def _cost(compiled: Any, where: Slice, devices: int) -> Cost:
    rate = None
    if where.chip is not None:
        flops, nbytes = where.chip.flops / where.cores, where.chip.hbm_bytes / where.cores
        rate = lambda f, b: max(f / flops, b / nbytes)
    return program_cost(parse_hlo(compiled.as_text()), devices, rate)


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


def _refused(error: Exception, where: Slice) -> Plan:
    """What the compiler says when a program does not fit.

    Raises:
      JaxRuntimeError: it refused for another reason.
    """
    text = str(error)
    if 'RESOURCE_EXHAUSTED' not in text or where.chip is None:
        raise error
    units = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
    found = re.search(r'Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm', text) or re.search(
        r'temporaries \(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)', text
    )
    used, usable = (
        (float(found[n]) * units[found[n + 1]] for n in (1, 3)) if found else (float('inf'), where.chip.hbm)
    )
    memory = {'peak': used, 'hbm': usable, 'fits': False, 'free': usable - used}
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


def _short(source: str) -> str:
    return source.replace(f'{REPOSITORY}/', '')


def _xla(compiled: Any, cost: Cost) -> dict[str, Any]:
    """XLA's own estimates, which count the body of a loop once."""
    told = compiled.cost_analysis() or {}
    optimal = told.get('optimal_seconds', 0)
    return {
        'flops': told.get('flops'),
        'bytes': told.get('bytes accessed'),
        'seconds': optimal if optimal > 0 else None,
        'cycles': cost.cycles if 0 < cost.cycles < 1e15 else None,
    }


def _time(cost: Cost, where: Slice, plan: Plan, batch: int, devices: int) -> dict[str, Any] | None:
    """The roofline: the longer of products and memory traffic, and what collectives nothing hides."""
    if where.chip is None:
        return None
    compute = cost.flops * where.cores / where.chip.flops
    memory = cost.nbytes * where.cores / where.chip.hbm_bytes
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
