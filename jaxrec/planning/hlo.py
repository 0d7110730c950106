"""Reads the text of an optimized XLA program: computations in running order, instructions, shapes, loops, lines."""

import functools
import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

ITEM_BYTES = {
    'pred': 1, 's8': 1, 'u8': 1, 's16': 2, 'u16': 2, 'bf16': 2, 'f16': 2, 's32': 4, 'u32': 4, 'f32': 4,
    's64': 8, 'u64': 8, 'f64': 8, 'c64': 8, 'c128': 16, 'token': 0, 'opaque': 0, 's4': 0.5, 'u4': 0.5,
}  # fmt: skip
_SHAPE = re.compile(r'\b([a-z]+[0-9]*[a-z0-9]*)\[([0-9,]*)\](\{[^}]*\})?')
_HEADER = re.compile(r'^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$')
_INSTRUCTION = re.compile(r'^\s+(ROOT )?%?([\w.\-]+) = (.*)$')
_OPCODE = re.compile(r'\s*([\w\-]+)\(')
_NAME = re.compile(r'%([\w.\-]+)')
_TILE = re.compile(r'T\(([0-9,]+)\)')
_SPACE = re.compile(r'S\(([0-9]+)\)')


class Shape(NamedTuple):
    """An array's type.

    Attributes:
      dtype: as XLA writes it, such as 'bf16'.
      dims: sizes.
      order: dimensions from the fastest to the slowest; () where the text gives no layout.
      tile: what the fastest dimensions are padded to multiples of, slowest first; () for none.
      space: the memory: 0 is the main one (HBM), 1 the vector memory of a TPU.
    """

    dtype: str
    dims: tuple[int, ...]
    order: tuple[int, ...] = ()
    tile: tuple[int, ...] = ()
    space: int = 0

    @property
    def elements(self) -> int:
        """How many numbers."""
        return math.prod(self.dims)

    @property
    def nbytes(self) -> int:
        """Bytes without padding."""
        return math.ceil(self.elements * _item_bytes(self.dtype))

    @property
    def held_bytes(self) -> int:
        """Bytes with the padding of its tiles."""
        dims = list(self.dims)
        for place, size in zip(self.order, reversed(self.tile), strict=False):
            dims[place] = -(-dims[place] // size) * size
        return math.ceil(math.prod(dims) * _item_bytes(self.dtype))


class Instruction(NamedTuple):
    """A line of a computation.

    Attributes:
      name, opcode: unique in its program, and such as 'fusion'.
      shapes: of its result, those of a tuple laid flat.
      operands, operand_text: names, and all between the parentheses, a constant's value among it.
      attributes: the rest of the line.
      root: whether it is its computation's result.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    operand_text: str
    attributes: str
    root: bool

    def called(self, *keys: str) -> list[str]:
        """Names of the computations under these attributes, such as 'body'."""
        found = []
        for key in keys:
            if match := re.search(rf'\b{key}=(\{{[^}}]*\}}|%?[\w.\-]+)', self.attributes):
                found += re.findall(r'%?([\w.\-]+)', match[1])
        return found


class Program(NamedTuple):
    """An optimized module: {name: instructions in order}, the name that runs first, {stack frame: 'file:line'}."""

    computations: Mapping[str, list[Instruction]]
    entry: str
    lines: Mapping[int, str]

    def source(self, instruction: Instruction) -> str:
        """'file:line' that an instruction comes from, its operation's name without one, or ''."""
        text = instruction.attributes
        if match := re.search(r'stack_frame_id=(\d+)', text):
            if line := self.lines.get(int(match[1])):
                return line
        if match := re.search(r'source_file="([^"]+)" source_line=(\d+)', text):
            return f'{match[1]}:{match[2]}'
        match = re.search(r'op_name="([^"]+)"', text)
        return match[1] if match else ''


def parse_hlo(text: str) -> Program:
    """Reads what `compiled.as_text()` returns; ValueError for text without an entry computation."""
    computations: dict[str, list[Instruction]] = {}
    current: list[Instruction] | None = None
    entry = ''
    for line in text.splitlines():
        if current is None:
            if match := _HEADER.match(line):
                current = computations.setdefault(match[2], [])
                entry = match[2] if match[1] else entry
        elif line.startswith('}'):
            current = None
        elif match := _INSTRUCTION.match(line):
            current.append(_instruction(match))
    if not entry:
        raise ValueError('the text has no ENTRY computation: give what compiled.as_text() returns')
    return Program(computations, entry, dict(_source_lines(text)))


def parse_shapes(text: str) -> tuple[Shape, ...]:
    """All array types of a text, in order."""
    return tuple(_shape(*match) for match in _SHAPE.findall(text))


@functools.lru_cache(maxsize=10_000)
def _shape(dtype: str, dims: str, layout: str) -> Shape:
    order, _, extra = layout.strip('{}').partition(':')
    tile, space = _TILE.search(extra), _SPACE.search(extra)
    numbers = lambda listed: tuple(int(number) for number in listed.split(',') if number)
    return Shape(dtype, numbers(dims), numbers(order), numbers(tile[1]) if tile else (), int(space[1]) if space else 0)


def _item_bytes(dtype: str) -> float:
    return ITEM_BYTES[dtype] if dtype in ITEM_BYTES else 1  # f8e4m3fn and its like


def _instruction(match: re.Match) -> Instruction:
    root, name, rest = match[1], match[2], re.sub(r'/\*.*?\*/', '', match[3])
    kind, rest = _cut_balanced(rest) if rest.startswith('(') else rest.split(' ', 1)
    found = _OPCODE.match(rest)
    if found is None:
        raise ValueError(f'an instruction without an operation: {match[0][:200]!r}')
    operands, attributes = _cut_balanced(rest[found.end() - 1 :])
    named = tuple(_NAME.findall(operands))
    return Instruction(name, found[1], parse_shapes(kind), named, operands[1:-1], attributes, bool(root))


def _cut_balanced(text: str) -> tuple[str, str]:
    """What the parenthesis at the start of a text encloses, with it, and what follows."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == '(') - (letter == ')')
        if not depth:
            return text[: place + 1], text[place + 1 :]
    return text, ''


def _source_lines(text: str) -> Iterator[tuple[int, str]]:
    """(stack frame, 'file:line') from the tables at the head of a module."""
    section: dict[str, dict[int, str]] = {}
    into: dict[int, str] = {}
    for line in text.splitlines():
        if line in ('FileNames', 'FunctionNames', 'FileLocations', 'StackFrames'):
            into = section.setdefault(line, {})
        elif match := re.match(r'^(\d+) (.*)$', line):
            into[int(match[1])] = match[2]
        elif _HEADER.match(line):
            break
    number = lambda text, key: int(found[1]) if (found := re.search(rf'{key}=(\d+)', text)) else 0
    names, places, frames = (section.get(k, {}) for k in ('FileNames', 'FileLocations', 'StackFrames'))
    for frame in frames:
        at, innermost = frame, ''
        while at in frames:
            place = places.get(number(frames[at], 'file_location_id'), '')
            file = names.get(number(place, 'file_name_id'), '').strip('"')
            line = f'{file}:{number(place, "line")}'
            innermost = innermost or line
            if file and 'site-packages' not in file:
                innermost = line
                break
            at = number(frames[at], 'parent_frame_id') - 1  # XLA writes it one too high, 1 for none
        yield frame, innermost


def trip_count(program: Program, loop: Instruction, caller: Mapping[str, Instruction]) -> int | None:
    """How often a `while` in computation `caller` runs its body; None where it depends on data."""
    if match := re.search(r'known_trip_count"?:\{"?n"?:"?(\d+)', loop.attributes):
        return int(match[1])
    (condition,) = loop.called('condition')
    found = _bound(program, condition)
    if found is None:
        return None
    bound, index, inclusive = found
    start = _constant(caller, _element(caller, loop.operands[0], index))
    return None if start is None else max(0, bound - start + inclusive)


def _bound(program: Program, condition: str) -> tuple[int, int, int] | None:
    """(bound, which element of the loop's tuple counts, 1 for <=) of a condition `counter < constant`."""
    own = {i.name: i for i in program.computations[condition]}
    root = next(i for i in own.values() if i.root)
    operands = root.operands
    if root.opcode == 'fusion':  # a comparison that XLA's CPU backend wrapped
        inner = program.computations[root.called('calls')[0]]
        inner_root = next(i for i in inner if i.root)
        given = {i.name: int(i.operand_text) for i in inner if i.opcode == 'parameter'}
        if inner_root.opcode != 'compare' or any(name not in given for name in inner_root.operands):
            return None
        operands = tuple(root.operands[given[name]] for name in inner_root.operands)
        root = inner_root
    direction = re.search(r'direction=(\w+)', root.attributes)
    if root.opcode != 'compare' or direction is None or direction[1] not in ('LT', 'LE'):
        return None
    counter, bound = own.get(operands[0]), _constant(own, operands[1])
    if bound is None or counter is None or counter.opcode != 'get-tuple-element':
        return None
    index = re.search(r'index=(\d+)', counter.attributes)
    return (bound, int(index[1]), int(direction[1] == 'LE')) if index else None


def _element(own: Mapping[str, Instruction], name: str, index: int) -> str:
    """The name of an element of a tuple, '' where the tuple is not made here."""
    made = own.get(name)
    return made.operands[index] if made is not None and made.opcode == 'tuple' else ''


def _constant(own: Mapping[str, Instruction], name: str) -> int | None:
    """The value of an integer constant, through copies of it."""
    found = own.get(name)
    while found is not None and found.opcode in ('copy', 'bitcast', 'convert'):
        found = own.get(found.operands[0])
    if found is None or found.opcode != 'constant':
        return None
    match = re.match(r'^-?\d+$', found.operand_text.strip())
    return int(match[0]) if match else None
