"""The co-action unit of CAN (arXiv 2011.05625, eq. 5-11): one id's private micro-MLP, another id its input.

The candidate's row holds the weights of a small network, the behaviour's row is its input, so a pair
(candidate, behaviour) that was never seen together is still scored by what each learned apart. Powers of the
input (orders) are fed through the same network.

B batch, C candidates, L history, I = dims[0] input width, O orders, H = width of the kept layers, P numbers
in a weight row.
"""

import functools
import itertools
import numbers
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

CHOICES: dict[str, tuple] = {
    'use_bias': (False, True),
    'layer_output': ('concat', 'last'),
    'order_reduce': ('concat', 'sum'),
    'last_activation': ('none', 'tanh'),
    'pooling': ('sum', 'mean'),
}


def check_unit(where: str, *, dims: Sequence[int], orders: int, **chosen: Any) -> None:
    """Refuses options of the unit that do not exist.

    Args:
      where: what stands before an option's name in the message, such as 'model.'.
      dims: as for `co_action`.
      orders: as for `co_action`.
      **chosen: any of the options in `CHOICES`.

    Raises:
      ValueError: a value that is not allowed.
    """
    if len(dims) < 2 or not all(isinstance(width, numbers.Integral) and width > 0 for width in dims):
        raise ValueError(
            f'{where}dims = {tuple(dims)}: give two or more whole numbers of at least 1, the widths from '
            'input to output, such as (16, 8, 4)'
        )
    if orders < 1:
        raise ValueError(f'{where}orders = {orders}: the first order is the input itself, give at least 1')
    for name, value in chosen.items():
        if value not in CHOICES[name]:
            raise ValueError(f'{where}{name} = {value!r} does not exist; choose one of {list(CHOICES[name])}')


def weight_width(dims: Sequence[int], use_bias: bool = False) -> int:
    """Numbers that one micro-MLP needs: P = sum_i (d_i * d_{i+1} + bias).

    Args:
      dims: layer widths from input to output, such as (16, 8, 4).
      use_bias: whether every layer has biases.

    Returns:
      P: 160 for (16, 8, 4) without bias, 172 with.
    """
    return sum(i * o + (o if use_bias else 0) for i, o in itertools.pairwise(dims))


def output_width(dims: Sequence[int], orders: int, layer_output: str, order_reduce: str) -> int:
    """Numbers that the unit returns for one candidate.

    Args:
      dims: layer widths.
      orders: O.
      layer_output: 'concat' or 'last'.
      order_reduce: 'concat' or 'sum'.

    Returns:
      H, times O when the orders are concatenated.
    """
    width = sum(dims[1:]) if layer_output == 'concat' else dims[-1]
    return width * (orders if order_reduce == 'concat' else 1)


def split_weights(
    weights: jax.Array, dims: Sequence[int], use_bias: bool = False
) -> list[tuple[jax.Array, jax.Array | None]]:
    """Cuts weight rows into the layers of the micro-MLPs.

    Args:
      weights: float [..., P], layer by layer: the matrix row-major, then its bias.
      dims: layer widths.
      use_bias: whether every layer has biases.

    Returns:
      For each layer the matrix [..., d_i, d_{i+1}] and the bias [..., d_{i+1}] or None.
    """
    chex.assert_axis_dimension(weights, -1, weight_width(dims, use_bias))
    layers, start = [], 0
    for i, o in itertools.pairwise(dims):
        matrix = weights[..., start : start + i * o].reshape(*weights.shape[:-1], i, o)
        start += i * o
        bias = weights[..., start : start + o] if use_bias else None
        start += o if use_bias else 0
        layers.append((matrix, bias))
    return layers


def co_action(
    weights: jax.Array,
    inputs: jax.Array,
    mask: jax.Array,
    *,
    dims: Sequence[int] = (16, 8, 4),
    orders: int = 3,
    use_bias: bool = False,
    layer_output: str = 'concat',
    order_reduce: str = 'concat',
    last_activation: str = 'none',
    pooling: str = 'sum',
) -> jax.Array:
    """Runs every candidate's micro-MLP over the history and pools its layers' outputs (eq. 5-11).

    The history is pooled after the unit, as the paper's text and code do; its eq. 10 prints the other order.

    Args:
      weights: float [B, C, P], the candidates' induction rows.
      inputs: float [B, L, I], the behaviours' feed rows.
      mask: float or bool [B, L], 1 for real behaviours.
      dims: micro-MLP widths, dims[0] = I.
      orders: O, powers 1..O of the input go through the same network.
      use_bias: whether the rows hold biases.
      layer_output: 'concat' keeps all layers' outputs, 'last' the last one's (the paper's first version).
      order_reduce: 'concat' (the authors' code) or 'sum' (eq. 11) over the orders.
      last_activation: 'none' (code) or 'tanh' (paper) after the last layer; the others always have tanh.
      pooling: 'sum', or 'mean' over the real behaviours; an empty history gives zeros.

    Returns:
      float [B, C, output_width].

    Raises:
      ValueError: an option that does not exist.
    """
    chex.assert_rank([weights, inputs, mask], [3, 3, 2])
    check_unit(
        'co_action: ',
        dims=dims,
        orders=orders,
        use_bias=use_bias,
        layer_output=layer_output,
        order_reduce=order_reduce,
        last_activation=last_activation,
        pooling=pooling,
    )
    chex.assert_axis_dimension(inputs, -1, dims[0])
    layers = split_weights(weights, dims, use_bias)
    pool = _pool_weights(mask, pooling)  # [B, L]
    unit = functools.partial(_one_order, layers=layers, pool=pool, linear_last=last_activation == 'none')
    # One pass an order: powers joined along the history would be copied, and their gradients too.
    by_order = [unit(inputs**order) for order in range(1, orders + 1)]  # O times M of [B, C, d]
    by_order = [outputs if layer_output == 'concat' else outputs[-1:] for outputs in by_order]
    joined = [jnp.concatenate(outputs, -1) for outputs in by_order]  # O of [B, C, H]
    return functools.reduce(jnp.add, joined) if order_reduce == 'sum' else jnp.concatenate(joined, -1)


def _one_order(
    inputs: jax.Array, *, layers: list[tuple[jax.Array, jax.Array | None]], pool: jax.Array, linear_last: bool
) -> list[jax.Array]:
    """The pooled outputs of all layers for one power of the inputs, M of [B, C, d]."""
    candidates = layers[0][0].shape[1]
    over_candidates = jnp.broadcast_to(pool[:, None, None], (pool.shape[0], candidates, 1, pool.shape[1]))
    pooled: list[jax.Array] = []
    hidden = inputs  # [B, L, I], then [B, C, L, d]
    for depth, (matrix, bias) in enumerate(layers):
        last = depth == len(layers) - 1
        if last and linear_last and depth > 0:
            # A linear layer commutes with pooling: one small product a candidate instead of one a behaviour.
            out = (pooled[-1][:, :, None] @ matrix)[:, :, 0]
            return [*pooled, out if bias is None else out + bias * pool.sum(-1)[:, None, None]]
        hidden = _layer(hidden, matrix, bias, first=depth == 0)
        hidden = hidden if last and linear_last else jnp.tanh(hidden)
        pooled.append((over_candidates @ hidden)[:, :, 0])
    return pooled


def _layer(hidden: jax.Array, matrix: jax.Array, bias: jax.Array | None, first: bool) -> jax.Array:
    """One layer of all micro-MLPs, [B, L, I] (the first) or [B, C, L, I] to [B, C, L, d]."""
    if first:
        # All candidates' matrices side by side: the history is read once and never tiled over them.
        batch, candidates, width, out_width = matrix.shape
        beside = jnp.moveaxis(matrix, 1, 2).reshape(batch, width, candidates * out_width)
        out = jnp.moveaxis((hidden @ beside).reshape(batch, -1, candidates, out_width), 2, 1)
    else:
        out = hidden @ matrix
    return out if bias is None else out + bias[:, :, None]


def _pool_weights(mask: jax.Array, pooling: str) -> jax.Array:
    mask = mask.astype(jnp.float32)
    return mask if pooling == 'sum' else mask / jnp.maximum(mask.sum(-1, keepdims=True), 1)
