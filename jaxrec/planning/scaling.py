"""How a step grows with the slice: the same work a device on 1 chip, 2, 4, ... up to a slice."""

import math
from typing import Any

from jaxrec.planning.chips import Topology, make_devices, smaller_slices
from jaxrec.planning.plan import Plan, make_plan
from jaxrec.planning.shapes import World

# Efficiency is told against this many chips: below it collectives cross few links.
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
