"""What a device executes in a step: products, traffic to its memory, collectives, with loops counted in full.

A loop whose length depends on data is counted once, a choice by data as its cheapest branch; both are noted. Only
matrix products count as FLOPs. Bytes are what instructions read from and write to main memory, padding included: a
fusion reads its operands and writes its result once, a gather reads the rows that it takes, an update in place what it
writes.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence

from jaxrec.planning.collectives import Collective, first_group, kind_of, payload
from jaxrec.planning.hlo import Instruction, Program, Shape, trip_count
from jaxrec.planning.products import convolution_flops, dot_flops, ragged_flops

# What moves nothing, or is counted where it began or where it is called.
FREE = {
    'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'after-all', 'partition-id',
    'replica-id', 'opt-barrier', 'while', 'conditional', 'call', 'async-start', 'async-update', 'async-done',
    'domain', 'add-dependency',
}  # fmt: skip
# What these do is told of the computations that they call.
CALLERS = ('while', 'conditional', 'call', 'async-start')
SLICES = ('dynamic-slice', 'gather', 'slice')
WRITES = {'dynamic-update-slice': 1, 'scatter': 2}  # which operand holds what is written
# What XLA writes where it knows no cycles; no instruction takes days.
NO_CYCLES = 1e15
PRODUCTS = {'dot': dot_flops, 'convolution': convolution_flops, 'custom-call': ragged_flops}
INPLACE_CALLS = ('AllocateBuffer', 'ConcatBitcast', 'Sharding', 'SliceToDynamic')


@dataclasses.dataclass
class Cost:
    """What a computation executes once.

    Attributes:
      flops: of matrix products.
      nbytes: to and from main memory.
      cycles: XLA's estimate of a TPU's cycles, where it gives one.
      collectives: those of its loops counted in full.
      notes: what could not be counted as it will run.
      places: {where in the code: its part of (flops, nbytes, cycles)}.
    """

    flops: float = 0.0
    nbytes: float = 0.0
    cycles: float = 0.0
    collectives: list[Collective] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    places: dict[str, tuple[float, float, float]] = dataclasses.field(default_factory=dict)

    @property
    def numbers(self) -> tuple[float, float, float]:
        """(flops, nbytes, cycles)."""
        return self.flops, self.nbytes, self.cycles

    def put(self, place: str, numbers: Sequence[float]) -> None:
        """Says of so much of the numbers where in the code it comes from."""
        flops, nbytes, cycles = self.places.get(place, (0.0, 0.0, 0.0))
        self.places[place] = flops + numbers[0], nbytes + numbers[1], cycles + numbers[2]

    def add(self, other: 'Cost', times: int = 1, *, traffic: bool = True) -> None:
        """Takes in another cost, several times."""
        self.flops += times * other.flops
        self.nbytes += times * other.nbytes * traffic
        self.cycles += times * other.cycles * traffic
        for place, numbers in other.places.items() if traffic else ():
            self.put(place, [times * number for number in numbers])
        self.collectives += [dataclasses.replace(c, count=c.count * times) for c in other.collectives]
        self.notes += [note for note in other.notes if note not in self.notes]


# (flops, bytes) -> seconds; what may run beside a collective is counted in them.
Seconds = Callable[[float, float], float]
Lasts = Callable[[Collective], float]


def program_cost(program: Program, devices: int, seconds: Seconds | None = None, lasts: Lasts | None = None) -> Cost:
    """Counts one step of one of so many devices.

    Args:
      program: of one device.
      devices: that run it.
      seconds, lasts: (FLOPs, bytes) -> seconds of work that hides collectives, and seconds of a collective; None:
        nothing is hidden, and each takes all the work that it finds.
    """
    return _Counter(program, devices, seconds, lasts).cost(program.entry)


class _Overlap:
    """The work of a computation, cut where collectives begin and end; each piece hides one of them."""

    def __init__(self, seconds: Seconds, lasts: Lasts | None):
        self.seconds, self.lasts = seconds, lasts
        self.pieces: list[tuple[float, float]] = []  # flops and bytes that hide nothing yet
        self.before = (0.0, 0.0)

    def cut(self, total: Cost) -> int:
        """Ends a piece; returns the number of the next."""
        self.pieces.append((total.flops - self.before[0], total.nbytes - self.before[1]))
        self.before = (total.flops, total.nbytes)
        return len(self.pieces)

    def hide(self, collective: Collective, begun: int) -> Collective:
        """Takes the oldest work since it has begun that hides no other."""
        needed = self.lasts(collective) if self.lasts else math.inf
        flops = nbytes = hidden = 0.0
        for place, (more_flops, more_bytes) in enumerate(self.pieces[begun:], begun):
            found = self.seconds(flops + more_flops, nbytes + more_bytes)
            share = min(1.0, (needed - hidden) / (found - hidden)) if found > hidden else 1.0
            self.pieces[place] = ((1 - share) * more_flops, (1 - share) * more_bytes)
            flops, nbytes, hidden = flops + more_flops, nbytes + more_bytes, min(found, needed)
            if hidden >= needed:
                break
        return dataclasses.replace(collective, hidden=hidden)


class _Counter:
    """Counts each computation once and remembers it."""

    def __init__(self, program: Program, devices: int, seconds: Seconds | None = None, lasts: Lasts | None = None):
        self.program, self.devices, self.seconds, self.lasts = program, devices, seconds, lasts
        self.known: dict[str, Cost] = {}

    def cost(self, name: str) -> Cost:
        if name not in self.known:
            self.known[name] = self._count(name)
        return self.known[name]

    def _count(self, name: str) -> Cost:
        total = Cost()
        own = {i.name: i for i in self.program.computations[name]}
        begun: dict[str, tuple[int, int]] = {}  # collective -> (its place, the first piece of work beside it)
        overlap = _Overlap(self.seconds, self.lasts) if self.seconds else None
        for instruction in own.values():
            before = total.numbers
            _add_cycles(total, instruction)
            self._add(total, instruction, own)
            more = [after - number for after, number in zip(total.numbers, before, strict=True)]
            if instruction.opcode not in CALLERS and any(more):
                total.put(self._source(instruction, own), more)
            if overlap is None:
                continue
            if instruction.opcode.endswith('-start') and kind_of(instruction.opcode):
                begun[instruction.name] = (len(total.collectives) - 1, overlap.cut(total))
            elif instruction.opcode.endswith('-done') and instruction.operands[0] in begun:
                overlap.cut(total)
                place, since = begun[instruction.operands[0]]
                total.collectives[place] = overlap.hide(total.collectives[place], since)
        return total

    def _add(self, total: Cost, i: Instruction, own: Mapping[str, Instruction]) -> None:
        if i.opcode == 'while':
            times = trip_count(self.program, i, own)
            if times is None:
                total.notes.append(f'a loop of a length that data decides, counted once: {self._source(i)}')
            total.add(self.cost(i.called('body')[0]), 1 if times is None else times)
        elif i.opcode == 'conditional':
            self._choose(total, i)
        elif i.opcode in ('call', 'async-start'):
            for name in i.called('to_apply', 'calls'):
                total.add(self.cost(name))
        elif i.opcode == 'fusion':
            total.add(self.cost(i.called('calls')[0]), traffic=False)
        elif kind_of(i.opcode):
            total.collectives.append(self._collective(i, own, total.notes))
        elif i.opcode in PRODUCTS:
            total.flops += PRODUCTS[i.opcode](i, own)
        total.nbytes += self._traffic(i, own)

    def _choose(self, total: Cost, i: Instruction) -> None:
        names = i.called('branch_computations', 'true_computation', 'false_computation')
        branches = sorted((self.cost(name) for name in names), key=_weight)
        total.add(branches[0])
        if _weight(branches[-1]) > 1.01 * _weight(branches[0]) + 2**20:
            total.notes.append(f'a choice that data makes, counted as its cheapest branch: {self._source(i)}')
        sure = {(c.kind, c.source) for c in branches[0].collectives}
        for branch in branches[1:]:
            total.collectives += [
                dataclasses.replace(c, optional=True) for c in branch.collectives if (c.kind, c.source) not in sure
            ]

    def _collective(self, i: Instruction, own: Mapping[str, Instruction], notes: list[str]) -> Collective:
        try:
            group = first_group(i.attributes, self.devices)
        except ValueError as error:  # a plan that took minutes to compile is not thrown away for it
            group = tuple(range(self.devices))
            notes.append(f'{error}; the collective counts as one of all devices')
        moved = sum(s.nbytes for name in i.operands if name in own for s in own[name].shapes)
        kind = kind_of(i.opcode) or i.opcode
        return Collective(kind, payload(i, moved, len(group)), group, 1, self._source(i, own))

    def _source(self, i: Instruction, own: Mapping[str, Instruction] | None = None) -> str:
        """Where an instruction comes from, or, of one that the partitioner made, what reads it."""
        source = self.program.source(i)
        name = i.name
        for _ in range(6):
            if source or own is None:
                break
            user = next((u for u in own.values() if name in u.operands), None)
            if user is None:
                break
            source, name = self.program.source(user), user.name
            source = source and f'for {source}'
        return source or i.name

    def _traffic(self, i: Instruction, own: Mapping[str, Instruction]) -> float:
        """Bytes of main memory that an instruction outside a fusion moves."""
        if i.opcode in FREE or i.opcode.endswith('-done'):
            return 0
        if i.opcode == 'custom-call' and any(target in i.attributes for target in INPLACE_CALLS):
            return 0
        shapes = [_held(own[name].shapes) if name in own else 0 for name in i.operands]
        if i.opcode in SLICES:
            at = own.get(i.operands[0])
            read = _held(i.shapes, at.shapes if at else ()) + sum(shapes[1:])
            return read + _held(i.shapes)
        if i.opcode in WRITES:
            return 2 * shapes[WRITES[i.opcode]] + sum(shapes[WRITES[i.opcode] + 1 :])
        if i.opcode.startswith(('copy-start', 'slice-start')):
            moved = i.shapes[1:2] if i.opcode.startswith('slice') else i.shapes[:1]  # where it goes
            source = own[i.operands[0]].shapes
            return _held(moved) + _held(moved, source)
        if i.opcode == 'fusion':
            inner = self.program.computations[i.called('calls')[0]]
            read = sum(self._read(inner, n, size) for n, size in enumerate(shapes))
            return read + self._written(inner, i)
        return sum(shapes) + _held(i.shapes if not i.opcode.endswith('-start') else ())

    def _read(self, inner: list[Instruction], number: int, whole: float) -> float:
        """Bytes that a fusion reads of an operand that lies in main memory."""
        if not whole:
            return 0
        parameter = next(i for i in inner if i.opcode == 'parameter' and i.operand_text.strip() == str(number))
        return min(whole, self._touched(inner, parameter, whole))

    def _touched(self, inner: list[Instruction], value: Instruction, whole: float) -> float:
        total = 0.0
        for user in inner:
            if value.name not in user.operands:
                continue
            first = user.operands[0] == value.name and value.name not in user.operands[1:]
            if first and user.opcode in SLICES:
                total += sum(s.held_bytes for s in user.shapes)
            elif first and user.opcode in WRITES:
                continue  # counted with what is written
            elif user.opcode == 'bitcast':
                total += self._touched(inner, user, whole)
            elif user.opcode == 'fusion':
                within = self.program.computations[user.called('calls')[0]]
                total += sum(self._read(within, n, whole) for n, o in enumerate(user.operands) if o == value.name)
            else:
                return whole
        return total

    def _written(self, inner: list[Instruction], fusion: Instruction) -> float:
        """Bytes that a fusion writes to main memory, and reads for an update in place."""
        own = {i.name: i for i in inner}
        root = next(i for i in inner if i.root)
        results = [own[name] for name in root.operands if name in own] if root.opcode == 'tuple' else [root]
        if len(results) != len(fusion.shapes):
            return _held(fusion.shapes)
        total = 0.0
        for result, shape in zip(results, fusion.shapes, strict=True):
            if shape.space:
                continue
            while result.opcode == 'bitcast':
                result = own[result.operands[0]]
            if result.opcode in WRITES:
                written = own.get(result.operands[WRITES[result.opcode]])
                total += 2 * sum(s.held_bytes for s in written.shapes) if written else shape.held_bytes
            else:
                total += shape.held_bytes
        return total


def _held(shapes: tuple[Shape, ...], of: tuple[Shape, ...] | None = None) -> float:
    """Bytes of those that lie in main memory; with `of`, if the array that they are part of lies there."""
    if of is not None:
        return sum(s.held_bytes for s in shapes) if any(not s.space for s in of) else 0
    return sum(s.held_bytes for s in shapes if not s.space)


def _weight(cost: Cost) -> float:
    """What branches are compared by: a product and a byte weigh as on a chip of 200 products a byte."""
    return cost.flops / 200 + cost.nbytes + math.fsum(c.total for c in cost.collectives)


def _add_cycles(total: Cost, i: Instruction) -> None:
    match = re.search(r'"estimated_cycles":"(\d+)"', i.attributes)
    cycles = float(match[1]) if match else 0.0
    if cycles < NO_CYCLES:
        total.cycles += cycles
    elif (note := 'of some instructions XLA estimates no cycles; they count as 0 of them') not in total.notes:
        total.notes.append(note)
