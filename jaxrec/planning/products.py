"""FLOPs of matrix products, as XLA's optimized programs write them."""

import math
import re
from collections.abc import Mapping

from jaxrec.planning.hlo import Instruction, Shape


def dot_flops(i: Instruction, own: Mapping[str, Instruction]) -> int:
    """Of a `dot`: two for each number of the result and each place summed over."""
    left = own[i.operands[0]].shapes[0]
    contracted = re.search(r'lhs_contracting_dims=\{([\d,]*)\}', i.attributes)
    places = [int(n) for n in contracted[1].split(',') if n] if contracted else []
    return 2 * i.shapes[0].elements * math.prod(left.dims[n] for n in places)


def convolution_flops(i: Instruction, own: Mapping[str, Instruction]) -> int:
    """Of a `convolution`, as which TPUs run products: places that hit padding or holes do not count."""
    labels = re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', i.attributes)
    if labels is None:
        return 0
    data, kernel = own[i.operands[0]].shapes[0], own[i.operands[1]].shapes[0]
    out = i.shapes[0]
    total = 2 * _size(out, labels[3], 'b') * _size(out, labels[3], 'f') * _size(kernel, labels[2], 'i')
    window = _window(i.attributes)
    for axis in sorted(set(labels[3]) & set('0123456789')):
        total *= hits(
            _size(data, labels[1], axis),
            _size(kernel, labels[2], axis),
            _size(out, labels[3], axis),
            stride=_at(window, 'stride', axis, 1),
            low=_at(window, 'pad', axis, 0),
            lhs_dilation=_at(window, 'lhs_dilate', axis, 1),
            rhs_dilation=_at(window, 'rhs_dilate', axis, 1),
        )
    return total


def _size(shape: Shape, labels: str, label: str) -> int:
    return shape.dims[labels.index(label)]


def _window(attributes: str) -> dict[str, dict[int, int]]:
    """{'stride': {axis: number}, ...}; of padding what lies before."""
    match = re.search(r'window=\{([^}]*)\}', attributes)
    found: dict[str, dict[int, int]] = {}
    for entry in match[1].split() if match else ():
        key, _, values = entry.partition('=')
        found[key] = {n: int(value.split('_')[0]) for n, value in enumerate(values.split('x'))}
    return found


def _at(window: Mapping[str, Mapping[int, int]], key: str, axis: str, fallback: int) -> int:
    return window.get(key, {}).get(int(axis), fallback)


def hits(data: int, kernel: int, out: int, *, stride: int, low: int, lhs_dilation: int, rhs_dilation: int) -> int:
    """Pairs of a place of the result and one of the kernel that meet a number of the data, along one axis.

    Args:
      stride: places that the kernel moves.
      low: padding before the data; negative cuts off.
      lhs_dilation: places from one number of the data to the next; all but those numbers are holes.
      rhs_dilation: places from one of the kernel to the next.
    """
    last = (data - 1) * lhs_dilation
    found = 0
    for k in range(kernel):
        at = k * rhs_dilation - low
        if stride % lhs_dilation == 0:  # the same remainder at every place of the result
            if at % lhs_dilation:
                continue
            first = max(0, -(at // stride) if at < 0 else 0)
            most = (last - at) // stride if last >= at else -1
            found += max(0, min(out - 1, most) - first + 1)
        else:
            places = range(at, at + out * stride, stride)
            found += sum(0 <= place <= last and not place % lhs_dilation for place in places)
    return found


def ragged_flops(i: Instruction, own: Mapping[str, Instruction]) -> int:
    """Of the kernels that a TPU has for `ragged_dot`: every row by one expert."""
    if not i.name.startswith('ragged-dot') or len(i.operands) < 2 or len(i.shapes) != 1:
        return 0
    rows, weights = (own[name].shapes[0] for name in i.operands[-2:])
    if len(rows.dims) != 2 or len(weights.dims) != 3:
        return 0
    return 2 * rows.dims[0] * weights.dims[1] * weights.dims[2]
