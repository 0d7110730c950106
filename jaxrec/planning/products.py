"""FLOPs of matrix products, as XLA's optimized programs write them, and of a traced function before XLA has seen it.

Of the latter, matrix products alone count, those in `jax.shard_map` on all devices. A `while` of unknown length is
counted once, a choice by data as its cheapest branch.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

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


def traced_flops(jaxpr: Any, platform: str = 'cpu') -> tuple[float, list[str]]:
    """Counts the matrix products of a jaxpr on all its devices.

    Args:
      jaxpr: such as `jax.jit(f).trace(*args).jaxpr`.
      platform: that `jax.lax.platform_dependent` chooses for.

    Returns:
      FLOPs, and notes of what could not be counted as it will run.
    """
    counter = _Counter(platform)
    return counter.count(jaxpr), counter.notes


class _Counter:
    def __init__(self, platform: str):
        self.platform = platform
        self.notes: list[str] = []

    def count(self, jaxpr: Any) -> float:
        jaxpr = getattr(jaxpr, 'jaxpr', jaxpr)
        total = 0.0
        for equation in jaxpr.eqns:
            name = equation.primitive.name
            if name in PRODUCTS:
                total += PRODUCTS[name](equation)
            elif name == 'cond':
                total += self._cond(equation)
            else:
                total += self._times(equation) * sum(self.count(inner) for inner in _inner(equation))
        return total

    def _times(self, equation: Any) -> float:
        name, params = equation.primitive.name, equation.params
        if name == 'scan':
            return params['length']
        if name == 'shard_map':
            sizes = dict(params['mesh'].shape)
            return math.prod(sizes[axis] for axis in params.get('manual_axes', sizes))
        if name == 'while' and any(self.count(inner) for inner in _inner(equation)):
            self._note(f'a loop of a length that data decides, counted once: {_line(equation)}')
        return 1

    def _cond(self, equation: Any) -> float:
        branches = equation.params['branches']
        if platforms := equation.params.get('branches_platforms'):
            return self.count(branches[self._branch(platforms)])
        counts = [self.count(branch) for branch in branches]
        if max(counts) > min(counts):
            self._note(f'a choice that data makes, counted as its cheapest branch: {_line(equation)}')
        return min(counts)

    def _branch(self, platforms: Any) -> int:
        fallback = next((n for n, names in enumerate(platforms) if names is None), 0)
        return next((n for n, names in enumerate(platforms) if names and self.platform in names), fallback)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _inner(equation: Any) -> Iterator[Any]:
    """The jaxprs that an equation runs; of a `while` its body, and of a function with rules the function."""
    if equation.primitive.name == 'while':
        yield equation.params['body_jaxpr']
        return
    if equation.primitive.name in ('custom_jvp_call', 'custom_vjp_call'):
        yield equation.params['call_jaxpr']
        return
    for value in equation.params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if hasattr(one, 'eqns') or hasattr(getattr(one, 'jaxpr', None), 'eqns'):
                yield one


def _line(equation: Any) -> str:
    return str(equation.source_info.name_stack) or equation.primitive.name


def _dot(equation: Any) -> float:
    (contracted, _), _ = equation.params['dimension_numbers']
    left, out = equation.invars[0].aval, equation.outvars[0].aval
    return 2.0 * math.prod(out.shape) * math.prod(left.shape[n] for n in contracted)


def _convolution(equation: Any) -> float:
    """Places that hit padding or holes do not count, as in XLA's programs."""
    data, kernel, out = *(x.aval.shape for x in equation.invars[:2]), equation.outvars[0].aval.shape
    params = equation.params
    of_data, of_kernel, of_out = params['dimension_numbers']
    total = 2.0 * out[of_out[0]] * out[of_out[1]] * kernel[of_kernel[1]]
    for axis, (i, k, o) in enumerate(zip(of_data[2:], of_kernel[2:], of_out[2:], strict=True)):
        total *= hits(
            data[i],
            kernel[k],
            out[o],
            stride=params['window_strides'][axis],
            low=params['padding'][axis][0],
            lhs_dilation=params['lhs_dilation'][axis],
            rhs_dilation=params['rhs_dilation'][axis],
        )
    return total


def _ragged(equation: Any) -> float:
    """Every row of [m, k] by one of the [g, k, n], or summed into one of them."""
    left, out = equation.invars[0].aval, equation.outvars[0].aval
    return 2.0 * math.prod(left.shape) * out.shape[-1]


PRODUCTS: dict[str, Callable[[Any], float]] = {
    'dot_general': _dot,
    'conv_general_dilated': _convolution,
    'ragged_dot_general': _ragged,
    'ragged_dot': _ragged,
}
