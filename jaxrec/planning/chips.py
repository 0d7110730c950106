"""Chips whose rates their maker publishes, and slices of them as tori of links.

The numbers are those of docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e,tpu7x}, read in November 2026. v4's links and
clock are those of arXiv 2304.01433, table 4; v5e's clock and which slices close to rings those of
jax-ml.github.io/scaling-book, part 2; v5p's clock is what its peak means for 8 units of 128 x 128. `cpu:8` is eight
devices that XLA simulates; other slices need libtpu in `make_devices`.
"""

import dataclasses
import math
import os
import re
from collections.abc import Sequence
from typing import Any

GB, GIB = 10**9, 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """Published rates of a chip.

    Attributes:
      flops: of bfloat16 products, a second.
      hbm: bytes.
      hbm_bytes: a second.
      ici_bytes: a second, of all links of a chip, both directions added.
      dimensions: of the torus; a chip has two links in each.
      wraps_from: sizes of a dimension that close it to a ring are multiples of this; of a three-dimensional
        slice, whose rings switches close, all dimensions have such sizes or none is closed.
      clock: of its cores, in Hz; None where nobody publishes it.
      source: where the numbers stand.
    """

    flops: float
    hbm: int
    hbm_bytes: float
    ici_bytes: float
    dimensions: int
    wraps_from: int
    clock: float | None
    source: str


_DOCS = 'docs.cloud.google.com/tpu/docs/'
CHIPS = {
    'v4': Chip(275e12, 32 * GIB, 1200e9, 600e9, 3, 4, 1.05e9, _DOCS + 'v4 and arXiv 2304.01433'),
    'v5e': Chip(197e12, 16 * GIB, 819e9, 400e9, 2, 16, 1.5e9, _DOCS + 'v5e and jax-ml.github.io/scaling-book'),
    'v5p': Chip(459e12, 95 * GIB, 2765e9, 1200e9, 3, 4, 1.75e9, _DOCS + 'v5p'),
    'v6e': Chip(918e12, 32 * GIB, 1638e9, 800e9, 2, 16, None, _DOCS + 'v6e'),
    'tpu7x': Chip(2307e12, 192 * GIB, 7380e9, 1200e9, 3, 4, None, _DOCS + 'tpu7x'),
}
# Slices of 1 to 256 chips that can be had, or compiled for; in that order.
SLICES = {
    2: ('1x1', '2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16'),
    3: ('1x1x1', '2x2x1', '2x2x2', '2x2x4', '2x4x4', '4x4x4', '4x4x8', '4x8x8'),
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """A named slice.

    Attributes:
      name, kind: such as 'v5e:16x16' or 'cpu:8', and a key of `CHIPS` or 'cpu'.
      dims: chips along each dimension.
    """

    name: str
    kind: str
    dims: tuple[int, ...]

    @property
    def chips(self) -> int:
        """How many."""
        return math.prod(self.dims)

    @property
    def chip(self) -> Chip | None:
        """Its rates; None of what has none."""
        return CHIPS.get(self.kind)


@dataclasses.dataclass(frozen=True)
class Slice:
    """The devices of a mesh, in its order: the chip's coordinates on the torus of each, and devices a chip."""

    topology: Topology
    coordinates: tuple[tuple[int, ...], ...]
    cores: int = 1

    @property
    def chip(self) -> Chip | None:
        """Rates of a whole chip."""
        return self.topology.chip

    @property
    def link_bytes(self) -> float:
        """Bytes a second over one link in one direction, a device's part where a chip has several."""
        assert self.chip is not None
        return self.chip.ici_bytes / (4 * self.chip.dimensions) / self.cores

    def spans(self, group: Sequence[int]) -> list[tuple[int, bool]]:
        """(places it takes, whether these close to a ring) of each dimension that a group of devices spans."""
        found = []
        for axis, size in enumerate(self.topology.dims):
            places = len({self.coordinates[device][axis] for device in group})
            if places > 1:
                found.append((places, places == size and self._closes(axis)))
        return found

    def _closes(self, axis: int) -> bool:
        if self.chip is None:
            return False
        dims = self.topology.dims
        sizes = dims if self.chip.dimensions == 3 else dims[axis : axis + 1]
        return not any(size % self.chip.wraps_from for size in sizes)


def parse_topology(name: str) -> Topology:
    """Reads a name such as 'v5e:16x16' or 'cpu:8'; ValueError for another form, chip, or number of dimensions."""
    kind, _, shape = name.partition(':')
    if kind not in ('cpu', *CHIPS) or not re.fullmatch(r'[1-9]\d*(x[1-9]\d*)*', shape):
        raise ValueError(
            f'--topology={name}: give a chip and a shape, such as v5e:16x16, v5p:4x4x4 or cpu:8; chips are '
            f'{", ".join(CHIPS)} and cpu'
        )
    dims = tuple(int(size) for size in shape.split('x'))
    wanted = 1 if kind == 'cpu' else CHIPS[kind].dimensions
    if len(dims) != wanted:
        several = 'x'.join(['4'] * wanted) if kind != 'cpu' else '8'
        raise ValueError(
            f'--topology={name}: slices of {kind} have {wanted} dimension{"s" * (wanted > 1)}, such as {kind}:{several}'
        )
    return Topology(name, kind, dims)


def smaller_slices(topology: Topology) -> list[Topology]:
    """Slices of the same chip from one chip up to as many, and that itself."""
    if topology.kind == 'cpu':
        names = [str(2**i) for i in range(topology.chips.bit_length())]
    else:
        names = list(SLICES[len(topology.dims)])
    slices = [parse_topology(f'{topology.kind}:{name}') for name in names]
    return [found for found in slices if found.chips < topology.chips] + [topology]


def prepare_tpu() -> None:
    """Tells JAX and libtpu, before either looks for devices, that there is no TPU here."""
    import jax

    if not os.environ.get('JAX_PLATFORMS'):
        jax.config.update('jax_platforms', 'cpu')
    os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
    os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
    os.environ.setdefault('TPU_ACCELERATOR_TYPE', 'v5litepod-4')


def make_devices(topology: Topology) -> list[Any]:
    """The devices of a slice: described by libtpu (they can be compiled for, not run on), or simulated CPUs.

    Raises:
      ValueError: libtpu is absent or does not know the slice, or fewer simulated CPUs than asked for.
    """
    import jax

    if topology.kind == 'cpu':
        devices = jax.devices('cpu')
        if len(devices) < topology.chips:
            raise ValueError(
                f'--topology={topology.name}: JAX simulates {len(devices)} CPU devices; set the environment '
                f'variable JAX_NUM_CPU_DEVICES={topology.chips}'
            )
        return devices[: topology.chips]
    from jax.experimental import topologies

    # libtpu takes hosts of several chips for granted where it isn't told.
    single = {'chips_per_host_bounds': (1, 1, 1)} if topology.chips == 1 else {}
    try:
        found = topologies.get_topology_desc(platform='tpu', topology_name=topology.name, **single)
    except Exception as error:  # libtpu's own kinds of error have no common class
        text = str(error).splitlines()[0][:300]
        if 'not installed' in text:
            raise ValueError(
                f"--topology={topology.name} needs libtpu, which compiles for TPUs: pip install -e '.[plan]'"
            ) from error
        raise ValueError(
            f'--topology={topology.name}: libtpu knows no such slice ({text}); try one of '
            f'{", ".join(f"{topology.kind}:{s}" for s in SLICES[len(topology.dims)])}'
        ) from error
    return list(found.devices)


def place(topology: Topology, devices: Sequence[Any]) -> Slice:
    """Where the devices of a mesh lie, in the mesh's order."""
    if topology.kind == 'cpu':
        return Slice(topology, tuple((i,) for i in range(len(devices))))
    dims = len(topology.dims)
    return Slice(
        topology, tuple(tuple(device.coords[:dims]) for device in devices), cores=max(1, len(devices) // topology.chips)
    )
