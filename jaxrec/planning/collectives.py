"""The collectives of a program, and how long a torus of links takes for them.

Of n devices and B bytes, on a ring of links of W bytes a second in one direction, an all-gather or reduce-scatter takes
B (n - 1) / n / 2W, an all-reduce twice that, an all-to-all B n / 8W; B is the array, or one device's share of an
all-to-all. A group that spans several dimensions uses the links of all of them, but the longest bounds an all-to-all. A
dimension without wrap-around has half the links. See jax-ml.github.io/scaling-book, part 3.
"""

import dataclasses
import math
import re
from collections.abc import Sequence

import numpy as np

from jaxrec.planning.chips import Slice
from jaxrec.planning.hlo import Instruction

KINDS = (
    'all-gather', 'all-reduce', 'reduce-scatter', 'all-to-all', 'ragged-all-to-all', 'collective-permute',
    'collective-broadcast',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Collective:
    """A collective of a program.

    Attributes:
      kind: one of `KINDS`.
      nbytes: of the array that is gathered or reduced, or of a device's share of an all-to-all, each time.
      group: the devices that take part, one group of several that do the same.
      count: how often a step runs it.
      source: 'file:line', or what else tells where it comes from.
      hidden: seconds of other work that it may run beside, each time; None until time is estimated.
      optional: whether a step may leave it out.
    """

    kind: str
    nbytes: int
    group: tuple[int, ...]
    count: int
    source: str
    hidden: float | None = None
    optional: bool = False

    @property
    def total(self) -> int:
        """Bytes a step."""
        return self.nbytes * self.count


def kind_of(opcode: str) -> str | None:
    """The kind of collective that an operation begins or is; None for others, and for ends."""
    base = opcode.removesuffix('-start')
    return base if base in KINDS else None


def payload(instruction: Instruction, operand_bytes: int, group: int) -> int:
    """Bytes of the whole array; see `Collective.nbytes`."""
    return operand_bytes * group if kind_of(instruction.opcode) == 'all-gather' else operand_bytes


def first_group(attributes: str, devices: int) -> tuple[int, ...]:
    """The first group of devices, in the program's order, that a collective of so many devices names.

    `replica_groups` is a list of lists, an iota `[4,2]<=[2,4]T(1,0)` or axes of a mesh; or there are
    `source_target_pairs`.

    Raises:
      ValueError: groups that are written otherwise.
    """
    if 'source_target_pairs=' in attributes:
        pairs = re.findall(r'\{(\d+),(\d+)\}', attributes.split('source_target_pairs=')[1])
        moved = [(int(a), int(b)) for a, b in pairs if a != b]
        return moved[0] if moved else (0,)
    if not (match := re.search(r'replica_groups=(.*)', attributes)):
        return tuple(range(devices))
    text = match[1]
    if text.startswith('{'):
        listed = re.match(r'\{\{([\d,]+)\}', text)
        return tuple(int(n) for n in listed[1].split(',')) if listed else tuple(range(devices))
    if iota := re.match(r'\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?', text):
        order = np.arange(math.prod(_numbers(iota[3]))).reshape(_numbers(iota[3]))
        order = order.transpose(_numbers(iota[4])) if iota[4] else order
        return tuple(order.reshape(int(iota[1]), int(iota[2]))[0].tolist())
    if mesh := re.match(r'mesh\[([^\]]*)\](?:, device_ids=\(([^{]*)\))? \{([^}]*)\}', text):
        return _mesh_group(mesh[1], mesh[3], mesh[2])
    raise ValueError(f'replica_groups={text[:120]} are written in a way that is not known')


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(','))


def _mesh_group(axes: str, named: str, ids: str | None) -> tuple[int, ...]:
    """The first group along some axes, or parts of axes, of a mesh.

    Axes are written "'a'=4,'b'=2", what is taken of them "'a','b'", or "'a':(2)2" for the part of size 2 that
    has 2 before it. Devices count up, or as in "[2,4]T(1,0)", or are listed.
    """
    shape: list[int] = []
    along: list[bool] = []
    wanted = re.findall(r"'([\w.]+)'(?::\((\d+)\)(\d+))?", named)
    for name, size in re.findall(r"'([\w.]+)'=(\d+)", axes):
        parts = sorted((int(b or 1), int(s or size)) for n, b, s in wanted if n == name)
        before = 1
        for begin, length in parts:
            shape += [begin // before, length]
            along += [False, True]
            before = begin * length
        shape.append(int(size) // before)
        along.append(False)
    order = np.arange(math.prod(shape))
    if ids and (iota := re.match(r'\[([\d,]+)\](?:T\(([\d,]+)\))?$', ids)):
        order = order.reshape(_numbers(iota[1]))
        order = order.transpose(_numbers(iota[2])) if iota[2] else order
    elif ids:
        order = np.array(_numbers(ids))
    devices = order.reshape(shape)
    return tuple(devices[tuple(slice(None) if taken else 0 for taken in along)].reshape(-1).tolist())


def seconds(collective: Collective, where: Slice) -> float:
    """How many seconds one run of a collective takes with nothing else on the links; latency is left out."""
    n = len(collective.group)
    if n < 2 or where.chip is None:
        return 0.0
    spans = where.spans(collective.group)
    if not spans:  # cores of one chip
        return 0.0
    links = [where.link_bytes * (2 if wraps else 1) for _, wraps in spans]  # both ways round, or one
    bytes_, kind = collective.nbytes, collective.kind
    if kind in ('all-to-all', 'ragged-all-to-all'):
        return max(bytes_ * size / (4 * link) for (size, _), link in zip(spans, links, strict=True))
    if kind == 'collective-permute':
        return bytes_ / where.link_bytes
    once = bytes_ * (n - 1) / n / sum(links)
    return 2 * once if kind == 'all-reduce' else once


def merged(found: Sequence[Collective]) -> list[Collective]:
    """Collectives that differ in nothing but their count, as one; the largest first."""
    counts: dict[Collective, int] = {}
    for one in found:
        key = dataclasses.replace(one, count=0)
        counts[key] = counts.get(key, 0) + one.count
    joined = [dataclasses.replace(one, count=count) for one, count in counts.items()]
    return sorted(joined, key=lambda one: (-one.total, one.kind, one.source))
