"""Feed-forward networks of many experts over rows sorted by expert, without padding or dropping.

On accelerators the products are `jax.lax.ragged_dot`. XLA's CPU backend computes that densely, every row by every
expert, so there rows are split into blocks of one expert each. Sliced from a stack of weights, an expert is a copy, so
the outer loop is over experts and the inner one over blocks, as many as its load needs.

N rows, E experts, D width, F hidden width, H width of the first product: 2 * F if gated, else F.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxrec.ops.sorting import vary_like

# Rows of a block: a product of few rows spends its time on laying out the weights.
FEWEST, MOST = 8, 1024
KERNELS = ('blocks', 'ragged_dot')
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    'relu': jax.nn.relu,
    'gelu': jax.nn.gelu,
    'swiglu': lambda pre: _gated(jax.nn.silu, pre),
    'geglu': lambda pre: _gated(jax.nn.gelu, pre),
}
GATED = ('swiglu', 'geglu')


class Experts(NamedTuple):
    """Weights of the experts' networks, which have no biases.

    Attributes:
      up: float [E, D, H]; if gated, the first F columns are curved and multiply the rest.
      down: float [E, F, D].
    """

    up: jax.Array
    down: jax.Array


def check_experts(experts: Experts, activation: str) -> None:
    """Refuses weights that do not belong together.

    Raises:
      ValueError: no such activation, or shapes that do not fit it or one another.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f'activation {activation!r} does not exist; choose one of {list(ACTIVATIONS)}')
    up, down = experts.up.shape, experts.down.shape
    factor = 2 if activation in GATED else 1
    if len(up) != 3 or len(down) != 3 or up != (down[0], down[2], factor * down[1]):
        raise ValueError(
            f'experts.up {up} and experts.down {down}: {activation} needs [E, D, {factor} * F] and [E, F, D]'
        )


def grouped_ffn(
    rows: jax.Array,
    experts: Experts,
    sizes: jax.Array,
    *,
    activation: str = 'swiglu',
    kernel: str | None = None,
    typical: int | None = None,
) -> jax.Array:
    """Runs each expert's network over its own rows.

    Args:
      rows: float [N, D], the rows of expert 0 first, then those of expert 1, and so on.
      experts: the weights.
      sizes: int32 [E], rows of each expert; their sum is at most N.
      activation: a key of `ACTIVATIONS`.
      kernel: one of `KERNELS`; None for blocks on CPUs and `ragged_dot` elsewhere.
      typical: rows that an expert usually has, which blocks are cut for; None for N / E.

    Returns:
      float [N, D], zeros behind the last expert's rows.

    Raises:
      ValueError: a kernel or an activation that does not exist, or weights that do not fit.
    """
    chex.assert_rank([rows, sizes], [2, 1])
    check_experts(experts, activation)
    if kernel is not None and kernel not in KERNELS:
        raise ValueError(f'kernel {kernel!r} does not exist; choose one of {KERNELS}, or None for the best')
    # Alike in their mesh axes before the gradient is written by hand: the sums over axes are JAX's then.
    up, down = (vary_like(vary_like(w, rows), sizes).astype(rows.dtype) for w in experts)
    rows, sizes = vary_like(rows, up), vary_like(sizes, up)
    typical = typical or -(-rows.shape[0] // up.shape[0])
    # The next power of two that leaves a quarter of room, so that an expert is one block as a rule.
    block = min(MOST, max(FEWEST, 1 << (typical * 5 // 4 - 1).bit_length()))
    # Blocks reach beyond the last expert's rows by less than one.
    room = 0 if kernel == 'ragged_dot' else block
    out = _grouped(jnp.pad(rows, ((0, room), (0, 0))), Experts(up, down), sizes, activation, kernel, block)
    return out[: rows.shape[0]]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _grouped(
    rows: jax.Array, experts: Experts, sizes: jax.Array, activation: str, kernel: str | None, block: int
) -> jax.Array:
    return _forward(rows, experts, sizes, activation, kernel, block)[0]


def _forward(
    rows: jax.Array, experts: Experts, sizes: jax.Array, activation: str, kernel: str | None, block: int
) -> tuple[jax.Array, jax.Array]:
    """The result [N, D], and the first products [N, H]."""
    blocks = functools.partial(_blocks_forward, activation=activation, block=block)
    return _run(kernel, blocks, functools.partial(_ragged_forward, activation=activation), rows, experts, sizes)


def _run(kernel: str | None, blocks: Callable, ragged: Callable, *arguments: Any) -> Any:
    if kernel is None:
        return jax.lax.platform_dependent(*arguments, cpu=blocks, default=ragged)
    return (blocks if kernel == 'blocks' else ragged)(*arguments)


def _grouped_fwd(rows, experts, sizes, activation, kernel, block):
    out, pre = _forward(rows, experts, sizes, activation, kernel, block)
    return out, (rows, experts, sizes, pre)


def _grouped_bwd(activation, kernel, block, kept, of_out):
    blocks = functools.partial(_blocks_backward, activation=activation, block=block)
    return *_run(kernel, blocks, functools.partial(_ragged_backward, activation=activation), *kept, of_out), None


_grouped.defvjp(_grouped_fwd, _grouped_bwd)


def _blocks_forward(
    rows: jax.Array, experts: Experts, sizes: jax.Array, *, activation: str, block: int
) -> tuple[jax.Array, jax.Array]:
    """Runs blocks of falling sizes; an expert's last block writes zeros past its rows, which the next one replaces."""
    starts = jnp.cumsum(sizes) - sizes
    steps = sorted({max(FEWEST, block >> shift) for shift in range(1, 5)}, reverse=True)

    def expert(e: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        up, down = (jax.lax.dynamic_index_in_dim(w, e, keepdims=False) for w in experts)
        at, end = starts[e], starts[e] + sizes[e]
        for step in steps:

            def one(i, carry, at=at, step=step):
                begin = at + i * step
                pre = _rows(rows, begin, step, end) @ up
                out = ACTIVATIONS[activation](pre) @ down
                return _put(carry[0], out, begin), _put(carry[1], pre, begin)

            turns = (end - at + (step - 1 if step == steps[-1] else 0)) // step
            carry = jax.lax.fori_loop(0, turns, one, carry)
            at = at + turns * step
        return carry

    empty = [vary_like(jnp.zeros((len(rows), w.shape[2]), rows.dtype), rows) for w in experts[::-1]]
    return jax.lax.fori_loop(0, len(sizes), expert, tuple(empty))


def _blocks_backward(
    rows: jax.Array,
    experts: Experts,
    sizes: jax.Array,
    pre: jax.Array,
    of_out: jax.Array,
    *,
    activation: str,
    block: int,
) -> tuple[jax.Array, Experts]:
    """Runs one block an expert as a rule, of eight sizes; each further one costs a pass over the weights."""
    starts = jnp.cumsum(sizes) - sizes
    quantum = max(FEWEST, block // 8)

    def expert(e: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        up, down = (jax.lax.dynamic_index_in_dim(w, e, keepdims=False) for w in experts)
        end = starts[e] + sizes[e]

        def part(begin: jax.Array, size: int) -> tuple[jax.Array, ...]:
            flowing = _rows(of_out, begin, size, end)
            hidden, pull = jax.vjp(ACTIVATIONS[activation], _cut(pre, begin, size))
            (of_pre,) = pull(flowing @ down.T)
            of_rows = jnp.pad(of_pre @ up.T, ((0, block - size), (0, 0)))
            return of_rows, _cut(rows, begin, size).T @ of_pre, hidden.T @ flowing

        def one(i: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            begin = starts[e] + i * block
            which = (jnp.minimum(end - begin, block) - 1) // quantum
            sized = [functools.partial(part, size=size) for size in range(quantum, block + 1, quantum)]
            of_rows, of_up, of_down = jax.lax.switch(which, sized, begin)
            return _put(carry[0], of_rows, begin), carry[1].at[e].add(of_up), carry[2].at[e].add(of_down)

        return jax.lax.fori_loop(0, (sizes[e] + block - 1) // block, one, carry)

    empty = tuple(vary_like(jnp.zeros_like(x), of_out) for x in (rows, *experts))
    of_rows, *of_experts = jax.lax.fori_loop(0, len(sizes), expert, empty)
    return of_rows, Experts(*of_experts)


def _ragged_forward(
    rows: jax.Array, experts: Experts, sizes: jax.Array, *, activation: str
) -> tuple[jax.Array, jax.Array]:
    pre = jax.lax.ragged_dot(rows, experts.up, sizes)
    out = jax.lax.ragged_dot(ACTIVATIONS[activation](pre), experts.down, sizes)
    return _owned(out, sizes), pre


def _ragged_backward(
    rows: jax.Array, experts: Experts, sizes: jax.Array, pre: jax.Array, of_out: jax.Array, *, activation: str
) -> tuple[jax.Array, Experts]:
    product = lambda x, w: jax.lax.ragged_dot(x, w, sizes)
    pre, rows = _owned(pre, sizes), _owned(rows, sizes)  # what lies behind the last expert's rows may be NaN
    hidden, curve = jax.vjp(ACTIVATIONS[activation], pre)
    of_hidden, of_down = jax.vjp(product, hidden, experts.down)[1](_owned(of_out, sizes))
    (of_pre,) = curve(_owned(of_hidden, sizes))
    of_rows, of_up = jax.vjp(product, rows, experts.up)[1](of_pre)
    return _owned(of_rows, sizes), Experts(of_up, of_down)


def _gated(curve: Callable[[jax.Array], jax.Array], pre: jax.Array) -> jax.Array:
    curved, passed = jnp.split(pre, 2, -1)
    return curve(curved) * passed


def _owned(x: jax.Array, sizes: jax.Array) -> jax.Array:
    return jnp.where((jnp.arange(x.shape[0]) < sizes.sum())[:, None], x, 0)


def _rows(x: jax.Array, begin: jax.Array, size: int, end: jax.Array) -> jax.Array:
    """`size` rows from `begin` on, zeros from `end` on."""
    return jnp.where((begin + jnp.arange(size) < end)[:, None], _cut(x, begin, size), 0)


def _cut(x: jax.Array, begin: jax.Array, size: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, begin, size)


def _put(x: jax.Array, part: jax.Array, begin: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(x, part, begin, 0)
