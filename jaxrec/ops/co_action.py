"""The co-action unit of CAN (arXiv 2011.05625, eq. 5-11): one id's private micro-MLP, another id its input.

The candidate's row holds the weights of a small network, the behaviour's row is its input, so a pair
(candidate, behaviour) that was never seen together is still scored by what each learned apart. Powers of the
input (orders) are fed through the same network.

B batch, C candidates, L history, I = dims[0] input width, O orders, H = width of the kept layers, P numbers
in a weight row.
"""

import itertools
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

LAYER_OUTPUTS = ('concat', 'last')
ORDER_REDUCES = ('concat', 'sum')
LAST_ACTIVATIONS = ('none', 'tanh')
POOLINGS = ('sum', 'mean')


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
    chex.assert_axis_dimension(inputs, -1, dims[0])
    for value, allowed in (
        (layer_output, LAYER_OUTPUTS),
        (order_reduce, ORDER_REDUCES),
        (last_activation, LAST_ACTIVATIONS),
        (pooling, POOLINGS),
    ):
        if value not in allowed:
            raise ValueError(f'co_action: {value!r} is not an option; choose one of {allowed}')
    layers = split_weights(weights, dims, use_bias)
    pool = _pool_weights(mask, pooling)  # [B, L]
    # The orders share weights, so they ride along the history axis through one batched product.
    hidden = jnp.concatenate([inputs**order for order in range(1, orders + 1)], 1)  # [B, O*L, I]
    kept = []
    for depth, (matrix, bias) in enumerate(layers):
        last = depth == len(layers) - 1
        if last and last_activation == 'none' and depth > 0:
            # A linear layer commutes with pooling: one small product a candidate instead of one a behaviour.
            kept.append(_linear(_pool(hidden, pool, orders), matrix, bias, pool.sum(-1)))
            break
        hidden = _layer(hidden, matrix, bias)  # [B, O*L, C, d]
        hidden = hidden if last and last_activation == 'none' else jnp.tanh(hidden)
        if last or layer_output == 'concat':
            kept.append(_pool(hidden, pool, orders))  # [B, C, O, d]
    pooled = jnp.concatenate(kept, -1)  # [B, C, O, H]
    return pooled.sum(2) if order_reduce == 'sum' else pooled.reshape(*pooled.shape[:2], -1)


def _layer(hidden: jax.Array, matrix: jax.Array, bias: jax.Array | None) -> jax.Array:
    """One layer: [B, N, I] (shared by the candidates, never tiled) or [B, N, C, I] to [B, N, C, d]."""
    into = 'bni,bcid->bncd' if hidden.ndim == 3 else 'bnci,bcid->bncd'
    out = jnp.einsum(into, hidden, matrix)
    return out if bias is None else out + bias[:, None]


def _linear(pooled: jax.Array, matrix: jax.Array, bias: jax.Array | None, total: jax.Array) -> jax.Array:
    """A linear layer after pooling, [B, C, O, I] to [B, C, O, d]; its bias counts once a pooled slot."""
    out = jnp.einsum('bcoi,bcid->bcod', pooled, matrix)
    return out if bias is None else out + bias[:, :, None] * total[:, None, None, None]


def _pool(hidden: jax.Array, pool: jax.Array, orders: int) -> jax.Array:
    """Weighs and sums the history of each order, [B, O*L, C, d] to [B, C, O, d]."""
    batch, length = pool.shape
    by_order = hidden.reshape(batch, orders, length, *hidden.shape[2:])
    # As product and sum, not as a matrix product: the gradient is then one fused broadcast.
    return jnp.moveaxis((by_order * pool[:, None, :, None, None]).sum(2), 1, 2)


def _pool_weights(mask: jax.Array, pooling: str) -> jax.Array:
    mask = mask.astype(jnp.float32)
    return mask if pooling == 'sum' else mask / jnp.maximum(mask.sum(-1, keepdims=True), 1)
