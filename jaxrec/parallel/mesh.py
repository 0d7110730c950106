"""The mesh, the rules that place arrays on it, and the batches that go to it.

Axes are always ('data', 'model'). Batches and table rows are cut over both; dense parameters are replicated unless a
rule says otherwise. B batch, n devices.
"""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

AXES = ('data', 'model')
BATCH = jax.P(AXES)
Rules = Sequence[tuple[str, jax.P]]
REPLICATED: Rules = (('.*', jax.P()),)


def make_mesh(
    shape: Sequence[int] | None = None, devices: Sequence[jax.Device] | None = None, axis_type: AxisType = AxisType.Auto
) -> Mesh:
    """Builds the ('data', 'model') mesh; the axis types are stated, since JAX's default changed.

    Args:
      shape: (data, model); None puts every device on 'data'.
      devices: None takes as many of `jax.devices()` as the shape asks for.
      axis_type: Auto in all of jaxrec; ops are tested under Explicit too.

    Raises:
      ValueError: other than two positive sizes, more devices than there are, or, with several processes, fewer.
    """
    available = list(jax.devices() if devices is None else devices)
    shape = (len(available), 1) if shape is None else tuple(shape)
    if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] > len(available):
        raise ValueError(
            f'mesh shape {shape}: give two sizes (data, model) whose product is at most the {len(available)} devices '
            'that JAX sees; simulate more on a CPU with XLA_FLAGS=--xla_force_host_platform_device_count=8'
        )
    if devices is None and jax.process_count() > 1 and math.prod(shape) < len(available):
        raise ValueError(
            f'mesh shape {shape}: {jax.process_count()} processes share a mesh of all their {len(available)} '
            'devices; give sizes of that product, or none'
        )
    # `jax.make_mesh` would refuse 32 x 8 on a slice of 16 x 16, whose axes it does not split.
    placed = mesh_utils.create_device_mesh(shape, available[: math.prod(shape)], allow_split_physical_axes=True)
    return Mesh(placed, AXES, axis_types=(axis_type,) * 2)


@functools.cache
def host_mesh() -> Mesh:
    """The mesh of the host's CPU alone, whatever the accelerator.

    Raises:
      ValueError: JAX was started without its CPU backend, or there are several processes.
    """
    if jax.process_count() > 1:
        raise ValueError(
            f'tables on the host are of one process and this run has {jax.process_count()}: cut them over '
            "the devices, train.tables_on = 'device'"
        )
    try:
        return make_mesh((1, 1), jax.devices('cpu')[:1])
    except RuntimeError as error:
        raise ValueError(
            f"tables on the host need JAX's CPU backend beside {jax.default_backend()!r} ({error}): set "
            f'JAX_PLATFORMS={jax.default_backend()},cpu, or leave it out'
        ) from error


def shardings(tree: Any, mesh: Mesh, rules: Rules = REPLICATED) -> Any:
    """Finds the NamedSharding of every leaf by the first rule whose pattern matches its path.

    Args:
      tree: arrays or shapes.
      mesh: where they will be.
      rules: (regular expression, PartitionSpec) pairs over paths such as 'params/Dense_0/kernel'.

    Raises:
      ValueError: a leaf that no rule matches.
    """

    def place(path: tuple, leaf: Any) -> jax.NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator='/')
        for pattern, spec in rules:
            if re.search(pattern, name):
                return jax.NamedSharding(mesh, spec)
        raise ValueError(f"no sharding rule matches {name!r} {leaf.shape}; add one, or ('.*', P()) as the last")

    return jax.tree_util.tree_map_with_path(place, tree)


def pad_to(batch: Mapping[str, np.ndarray], multiple: int) -> dict[str, np.ndarray]:
    """Pads {key: [B, ...]} with zero rows, absent by its 'valid', to a multiple; else the same arrays.

    Raises:
      ValueError: keys of different B, or no 'valid' where padding is needed.
    """
    sizes = {key: len(value) for key, value in batch.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(
            f'the batch has keys of different leading sizes: {sizes}; give every key the same B, padded rows included'
        )
    size = next(iter(sizes.values()))
    extra = -size % multiple
    if not extra:
        return dict(batch)
    if 'valid' not in batch:
        raise ValueError(
            f"{multiple} devices do not divide a batch of {size}, and without 'valid' it can't be padded; "
            f"add 'valid' float32 [B, C], or give a multiple of {multiple}"
        )
    return {k: np.concatenate([v, np.zeros((extra, *v.shape[1:]), v.dtype)]) for k, v in batch.items()}


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh | None = None) -> dict[str, jax.Array]:
    """Sends a host batch to the devices, cut over both mesh axes; keys under 'host/' stay behind.

    Args:
      batch: {key: [B of this process, ...]}, numpy.

    Returns:
      {key: [B, ...]}, global arrays.

    Raises:
      ValueError: a 64-bit integer column, which would wrap silently, or keys of different B.
    """
    sent = {key: value for key, value in batch.items() if not key.startswith('host/')}
    for key, value in sent.items():
        if value.dtype in (np.int64, np.uint64):
            raise ValueError(
                f'batch key {key!r} is {value.dtype}: 64-bit integers wrap on devices; keep it under '
                "'host/' or make it int32"
            )
    if mesh is None or mesh.size == 1:
        return jax.device_put(pad_to(sent, 1))
    padded = pad_to(sent, mesh.size // jax.process_count())
    sharding = jax.NamedSharding(mesh, BATCH)
    return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in padded.items()}


def take_local(x: jax.Array | np.ndarray) -> np.ndarray:
    """Fetches the part of a batch [B, ...] that this process has sent, or what was computed of it, in that order."""
    if not isinstance(x, jax.Array) or x.is_fully_addressable:
        return np.asarray(x)
    # A mesh may order devices otherwise than they are numbered, and rows are laid on them in mesh order.
    parts = {shard.index[0].start or 0: shard.data for shard in x.addressable_shards}
    return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])


def placement(trees: Mapping[str, Any]) -> str:
    """Describes {title: tree of arrays}, a line each: number of arrays, bytes in all and bytes on the first device."""
    lines = []
    for title, tree in trees.items():
        leaves = [x for x in jax.tree.leaves(tree) if isinstance(x, jax.Array) and hasattr(x, 'nbytes')]
        total = sum(x.nbytes for x in leaves)
        here = sum(x.addressable_shards[0].data.nbytes for x in leaves)
        lines.append(f'{title}: {len(leaves)} arrays, {total / 2**20:.2f} MiB, {here / 2**20:.2f} MiB a device')
    return '\n'.join(lines)
