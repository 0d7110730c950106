"""What a slice or a mesh cannot carry, refused before anything is compiled, with what would."""

import math
from typing import Any

import jax
from jax.sharding import Mesh

from jaxrec.models.onerec.options import Network
from jaxrec.planning.chips import GIB, Slice, Topology
from jaxrec.planning.shapes import device_bytes
from jaxrec.training.state import Setup, TrainState


def divisors(number: int) -> list[int]:
    """Of a number, ascending."""
    return [n for n in range(1, number + 1) if not number % n]


def check_mesh(topology: Topology, shape: tuple[int, int], devices: int) -> None:
    """Refuses a mesh that does not use every device of a slice, by a ValueError with the shapes that do."""
    if shape[0] * shape[1] != devices:
        shapes = ', '.join(f'{devices // n},{n}' for n in divisors(devices)[:6])
        raise ValueError(
            f'--mesh={shape[0]},{shape[1]} has {shape[0] * shape[1]} devices and {topology.name} has '
            f'{devices}: give data,model such as {shapes}'
        )


def check_batch(size: int, mesh: Mesh, topology: Topology) -> None:
    """Refuses a batch that the devices do not divide (they would compute padding), with those that they divide."""
    if size % mesh.size:
        up = -(-size // mesh.size) * mesh.size
        less = f'{up - mesh.size} or ' if up > mesh.size else ''
        raise ValueError(
            f'{topology.name}: {mesh.size} devices do not divide a batch of {size}, they would compute '
            f'padding: give --batch={less}{up}, or a slice of {_list(divisors(size))} devices'
        )


def check_cuts(dense: Any) -> None:
    """Refuses a mesh whose axes do not divide what a rule cuts over them, with the sizes of the axes that do."""

    def check(path: tuple, leaf: jax.ShapeDtypeStruct) -> None:
        sizes = dict(leaf.sharding.mesh.shape)
        for place, axes in enumerate(leaf.sharding.spec):
            names = (axes,) if isinstance(axes, str) else tuple(axes or ())
            ways = math.prod(sizes[name] for name in names)
            if leaf.shape[place] % ways:
                name = jax.tree_util.keystr(path, simple=True, separator='/')
                raise ValueError(
                    f'{name} {leaf.shape} is cut {ways} ways over {"x".join(names)}, which do not divide '
                    f'{leaf.shape[place]}: give a --mesh in which they are {_list(divisors(leaf.shape[place]))}'
                )

    jax.tree_util.tree_map_with_path(check, dense)


def check_rows(state: TrainState, where: Slice) -> None:
    """Refuses tables and their row state that do not fit a slice, with the number of chips that would hold them."""
    if where.chip is None or not state.tables:
        return
    each = where.chip.hbm / where.cores
    total = device_bytes((state.tables, state.row_opt_state))
    if total > each:
        chips = math.ceil(total * len(where.coordinates) / where.chip.hbm)
        name, largest = max(state.tables.items(), key=lambda entry: math.prod(entry[1].shape))
        raise ValueError(
            f'{where.topology.name} has {each / GIB:.1f} GiB a device, and tables with their row state take '
            f'{total / GIB:.1f} GiB of each (the largest is {name!r}, {largest.shape[0]:,} x '
            f'{largest.shape[1]}): give at least {chips} such chips, fewer --rows, or chips with more memory'
        )


def repeated_experts(setup: Setup, state: TrainState) -> list[str]:
    """What a plan notes of experts that every device holds and runs: nothing, or a sentence."""
    network = getattr(setup.task, 'network', None)
    if not isinstance(network, Network) or not network.experts or setup.mesh.size == 1:
        return []
    feed = state.params['decoder']['feed']
    if any(x.sharding.shard_shape(x.shape) != x.shape for x in jax.tree.leaves(feed)):
        return []
    return [
        f'{network.experts} experts, {device_bytes(feed) / GIB:.2f} GiB, are repeated on every device: '
        'nothing cuts them'
    ]


def _list(numbers: list[int]) -> str:
    texts = [str(n) for n in numbers]
    return texts[0] if len(texts) == 1 else f'{", ".join(texts[:-1])} or {texts[-1]}'
