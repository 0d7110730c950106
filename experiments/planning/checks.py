"""What a slice or a mesh cannot carry, said before anything is compiled, with what would."""

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from experiments.planning.chips import GIB, Slice, Topology
from experiments.planning.world import device_bytes
from jaxrec import embeddings as emb
from jaxrec.parallel.mesh import shardings
from jaxrec.training.state import Setup


def divisors(number: int) -> list[int]:
    """Of a number, ascending."""
    return [n for n in range(1, number + 1) if not number % n]


def check_mesh(topology: Topology, shape: tuple[int, int], devices: int) -> None:
    """Refuses a mesh that does not use every device of a slice.

    Raises:
      ValueError: with the shapes that do.
    """
    if shape[0] * shape[1] != devices:
        shapes = ', '.join(f'{devices // n},{n}' for n in divisors(devices)[:6])
        raise ValueError(
            f'--mesh={shape[0]},{shape[1]} has {shape[0] * shape[1]} devices and {topology.name} has '
            f'{devices}: give data,model such as {shapes}'
        )


def check_batch(size: int, mesh: Mesh, topology: Topology) -> None:
    """Refuses a batch that the devices do not divide: they would compute padding.

    Raises:
      ValueError: with the batches that they divide.
    """
    if size % mesh.size:
        up = -(-size // mesh.size) * mesh.size
        less = f'{up - mesh.size} or ' if up > mesh.size else ''
        raise ValueError(
            f'{topology.name}: {mesh.size} devices do not divide a batch of {size}, they would compute '
            f'padding: give --batch={less}{up}, or a slice of {_list(divisors(size))} devices'
        )


def check_cuts(setup: Setup, dense: Mapping[str, Any]) -> None:
    """Refuses a mesh whose axes do not divide what a rule cuts over them, such as experts.

    Args:
      setup: with the mesh and the rules.
      dense: shapes of what the rules place.

    Raises:
      ValueError: naming the array, with the sizes of the axes that divide it.
    """
    placed = shardings(dense, setup.mesh, setup.placing)
    sizes = dict(setup.mesh.shape)

    def check(path: tuple, leaf: Any, sharding: jax.NamedSharding) -> None:
        for place, axes in enumerate(sharding.spec):
            names = (axes,) if isinstance(axes, str) else tuple(axes or ())
            ways = 1
            for name in names:
                ways *= sizes[name]
            if ways > 1 and leaf.shape[place] % ways:
                name = jax.tree_util.keystr(path, simple=True, separator='/')
                raise ValueError(
                    f'{name} {leaf.shape} is cut {ways} ways over {"x".join(names)}, which do not divide '
                    f'{leaf.shape[place]}: give a --mesh in which they are '
                    f'{_list(divisors(leaf.shape[place]))}'
                )

    jax.tree_util.tree_map_with_path(check, dense, placed)


def check_experts(setup: Setup) -> None:
    """Refuses an axis 'model' that does not divide the experts, where there is one to cut them.

    Raises:
      ValueError: with the sizes that do.
    """
    experts = getattr(getattr(setup.task, 'network', None), 'experts', 0)
    model = setup.mesh.shape['model']
    if experts and model > 1 and experts % model:
        raise ValueError(
            f'{experts} experts cannot be cut over a model axis of {model}: give a --mesh whose second size '
            f'is {_list(divisors(experts))}'
        )


def check_rows(setup: Setup, where: Slice) -> None:
    """Refuses tables that alone do not fit.

    Raises:
      ValueError: with the number of chips that would hold them.
    """
    if where.chip is None:
        return
    devices, by_row = emb.cut_rows(setup.mesh)
    total = 0
    for spec in setup.task.tables.values():
        rows = emb.padded_rows(spec.rows, devices)
        slots = jax.eval_shape(lambda s=spec, n=rows: (s.optimizer or setup.row_optimizer).init(n, s.dim))
        shapes = [jax.ShapeDtypeStruct((rows, spec.dim), 'float32', sharding=by_row)]
        shapes += [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=by_row) for x in jax.tree.leaves(slots)]
        total += device_bytes(shapes)
    each = where.chip.hbm / where.cores
    if total > each:
        chips = -(-total * devices // where.chip.hbm)
        largest = max(setup.task.tables.values(), key=lambda spec: spec.rows * spec.dim)
        raise ValueError(
            f'{where.topology.name} has {each / GIB:.1f} GiB a device, and tables with their row state take '
            f'{total / GIB:.1f} GiB of each (the largest is {largest.name!r}, {largest.rows:,} x '
            f'{largest.dim}): give at least {chips} such chips, fewer --rows, or chips with more memory'
        )


def _list(numbers: list[int]) -> str:
    texts = [str(n) for n in numbers]
    return texts[0] if len(texts) == 1 else f'{", ".join(texts[:-1])} or {texts[-1]}'
