"""The co-action unit of CAN (arXiv 2011.05625, eq. 5-11): one id's private micro-MLP, another id its input.

The candidate's row holds the weights of a small network, the behaviour's row is its input, so a pair (candidate,
behaviour) that was never seen together is still scored by what each learned apart. Powers of the input (orders) are fed
through the same network or, with order independence (level 3 of section 4.4), each through a network of its own.

B batch, C candidates, L history, I = dims[0] input width, O orders, H = width of the kept layers, P numbers of a
micro-MLP.
"""

import functools
import itertools
import numbers
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

Layer = tuple[jax.Array, jax.Array | None]  # the matrices [B, C, d_i, d_{i+1}] and biases [B, C, d_{i+1}]
TERMS = 32  # the widest input whose products are written out term by term
CHUNK = 50  # the most behaviours whose terms are added up before the totals are read again
FOLDS = 5  # behaviours that one step of the loop adds up
CHOICES: dict[str, tuple] = {
    'use_bias': (False, True),
    'layer_output': ('concat', 'last'),
    'order_reduce': ('concat', 'sum'),
    'activation': ('none', 'tanh'),
    'last_activation': ('none', 'tanh'),
    'pooling': ('sum', 'mean'),
    'order_independence': (False, True),
}


def check_unit(where: str, *, dims: Sequence[int], orders: int, **chosen: Any) -> None:
    """Refuses options of the unit that do not exist.

    Args:
      where: what precedes an option's name in the message, such as 'model.'.
      dims, orders: as for `co_action`.
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
    """Numbers of one micro-MLP: P = sum_i (d_i * d_{i+1} + bias); 160 for (16, 8, 4) without bias, 172 with."""
    return sum(i * o + (o if use_bias else 0) for i, o in itertools.pairwise(dims))


def output_width(dims: Sequence[int], orders: int, layer_output: str, order_reduce: str) -> int:
    """Numbers that the unit returns for one candidate: H, times the orders where these are concatenated."""
    width = sum(dims[1:]) if layer_output == 'concat' else dims[-1]
    return width * (orders if order_reduce == 'concat' else 1)


def split_weights(weights: jax.Array, dims: Sequence[int], use_bias: bool = False) -> list[Layer]:
    """Splits weight rows [..., P] into the layers of the micro-MLPs; a row has the matrix row-major, then its bias.

    Returns for each layer the matrix [..., d_i, d_{i+1}] and the bias [..., d_{i+1}] or None.
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
    activation: str = 'tanh',
    last_activation: str = 'none',
    pooling: str = 'sum',
    order_independence: bool = False,
) -> jax.Array:
    """Runs every candidate's micro-MLP over the history and pools its layers' outputs (eq. 5-11), [B, C, output_width].

    The history is pooled after the unit, as the paper's text and code do; its eq. 10 prints the other order.

    Args:
      weights: float [B, C, P], the candidates' induction rows; [B, C, O * P] with order independence, the
        network of order 1 first.
      inputs: float [B, L, I], the behaviours' feed rows.
      mask: float or bool [B, L], 1 for real behaviours.
      dims: micro-MLP widths, dims[0] = I.
      orders: O, powers 1..O of the input go through the micro-MLP.
      use_bias: whether the rows hold biases.
      layer_output: 'concat' keeps all layers' outputs, 'last' the last one's (the paper's first version).
      order_reduce: 'concat' (the authors' code) or 'sum' (eq. 11) over the orders.
      activation: 'tanh', or 'none' (the ablation of table 5) after every layer but the last.
      last_activation: 'none' (code) or 'tanh' (paper) after the last layer.
      pooling: 'sum', or 'mean' over the real behaviours; an empty history gives zeros.
      order_independence: each order has a micro-MLP of its own (section 4.4) instead of all sharing one.

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
        activation=activation,
        last_activation=last_activation,
        pooling=pooling,
        order_independence=order_independence,
    )
    chex.assert_axis_dimension(inputs, -1, dims[0])
    networks = orders if order_independence else 1
    chex.assert_axis_dimension(weights, -1, networks * weight_width(dims, use_bias))
    by_network = [split_weights(part, dims, use_bias) for part in jnp.split(weights, networks, -1)]
    curved = [activation == 'tanh'] * (len(dims) - 2) + [last_activation == 'tanh']
    layers = [by_network[o % networks] for o in range(orders)]
    by_order = _by_order(inputs, layers, _pool_weights(mask, pooling), curved)
    by_order = [outputs if layer_output == 'concat' else outputs[-1:] for outputs in by_order]
    joined = [jnp.concatenate(outputs, -1) for outputs in by_order]  # O of [B, C, H]
    return functools.reduce(jnp.add, joined) if order_reduce == 'sum' else jnp.concatenate(joined, -1)


def co_action_single(weights: jax.Array, inputs: jax.Array, present: jax.Array, **options: Any) -> jax.Array:
    """Runs every candidate's micro-MLP over one id of its own, [B, C, output_width].

    The id may be another column of the candidate. Nothing is pooled; an absent id gives zeros, whatever the biases.

    Args:
      weights, inputs: float [B, C, P] as for `co_action`, and [B, C, I], the feed row of each candidate.
      present: float or bool [B, C], 1 where there is an id.
      **options: those of `co_action`.
    """
    chex.assert_rank([weights, inputs, present], [3, 3, 2])
    unit = lambda weights, inputs, present: co_action(weights[:, None], inputs[:, None], present[:, None], **options)
    return jax.vmap(unit, in_axes=1, out_axes=1)(weights, inputs, present)[:, :, 0]


def _by_order(
    inputs: jax.Array, layers: list[list[Layer]], pool: jax.Array, curved: Sequence[bool]
) -> list[list[jax.Array]]:
    """The pooled outputs of all layers for the powers 1..O of the inputs, O times M of [B, C, d]."""
    if curved[0] and not any(curved[1:]) and inputs.shape[-1] <= TERMS and inputs.shape[1] > CHUNK:
        by_order = [[first] for first in _first_pooled(inputs, [of_order[0] for of_order in layers], pool)]
    else:
        # One pass an order: powers joined along the history would be copied, and their gradients too.
        by_order = [_by_products(inputs ** (o + 1), layers[o], pool, curved) for o in range(len(layers))]
    for o, pooled in enumerate(by_order):
        for matrix, bias in layers[o][len(pooled) :]:
            # Linear layers commute with pooling: one small product a candidate instead of one a behaviour.
            below = pooled[-1] if pooled else pool[:, None] @ inputs ** (o + 1)  # [B, C or 1, d]
            out = (below[:, :, None] @ matrix)[:, :, 0]
            pooled.append(out if bias is None else out + bias * pool.sum(-1)[:, None, None])
    return by_order


def _by_products(hidden: jax.Array, layers: list[Layer], pool: jax.Array, curved: Sequence[bool]) -> list[jax.Array]:
    """The pooled outputs of the layers up to the last curved one, each layer a batched product."""
    pooled: list[jax.Array] = []
    for depth, (matrix, bias) in enumerate(layers):  # hidden is [B, L, I], then [B, C, L, d]
        if not any(curved[depth:]):
            break
        hidden = _layer(hidden, matrix, bias, first=depth == 0)
        hidden = jnp.tanh(hidden) if curved[depth] else hidden
        pooled.append(_pool(hidden, pool))
    return pooled


@jax.custom_jvp
def _first_pooled(inputs: jax.Array, layers: list[Layer], pool: jax.Array) -> list[jax.Array]:
    """The pooled tanh of every order's first layer, O of [B, C, d].

    On CPUs term by term, unless a gradient is asked for: that sums over the history, which products do well.
    """
    return jax.lax.platform_dependent(inputs, layers, pool, cpu=_first_by_terms, default=_first_by_products)


@_first_pooled.defjvp
def _first_pooled_jvp(primals: tuple, tangents: tuple) -> tuple[list[jax.Array], list[jax.Array]]:
    return jax.jvp(_first_by_products, primals, tangents)


def _first_by_products(inputs: jax.Array, layers: list[Layer], pool: jax.Array) -> list[jax.Array]:
    return [_by_products(inputs ** (o + 1), [layer], pool, [True])[0] for o, layer in enumerate(layers)]


def _first_by_terms(inputs: jax.Array, layers: list[Layer], pool: jax.Array) -> list[jax.Array]:
    """Powers, products, tanh and most of the pooling in one loop over [B, C, S / FOLDS, d] for each chunk.

    XLA makes a batch of small products one at a time, and writes the powers before and the outputs after. As
    a sum of I terms they are one vectorised loop, which adds FOLDS behaviours before it writes anything.
    """
    length = inputs.shape[1]
    chunks = -(-length // CHUNK)
    fold = -(-length // (chunks * FOLDS))
    size = fold * FOLDS

    def add_chunk(totals: list[jax.Array], begin: jax.Array) -> tuple[list[jax.Array], None]:
        start = jnp.minimum(begin, length - size)  # the last chunk ends where the history does
        part = jax.lax.dynamic_slice_in_dim(inputs, start, size, 1)
        weights = jax.lax.dynamic_slice_in_dim(pool, start, size, 1)
        weights = jnp.where(start + jnp.arange(size) >= begin, weights, 0)  # what an earlier chunk had
        for at in range(0, size, fold):
            x, weight = part[:, at : at + fold], weights[:, None, at : at + fold, None]
            hidden = [jnp.tanh(_terms(x, layer, o + 1)) for o, layer in enumerate(layers)]
            totals = [total + weight * x for total, x in zip(totals, hidden, strict=True)]
        return totals, None

    # In a loop XLA cannot fuse the table's gather with the terms, each of which would look every row up.
    none = [jnp.zeros_like(matrix[:, :, :1]) for matrix, _ in layers]
    none = [jnp.broadcast_to(x, (*x.shape[:2], fold, x.shape[3])) for x in none]
    totals = jax.lax.scan(add_chunk, none, jnp.arange(chunks) * size)[0]
    # As a product with ones: a sum would pull the loop into itself, where it is no longer vectorised.
    return [_pool(total, jnp.ones_like(pool[:, :fold])) for total in totals]


def _terms(inputs: jax.Array, layer: Layer, power: int) -> jax.Array:
    """One layer on a power of the inputs, as a sum of I terms, [B, C, L, d]."""
    matrix, bias = layer
    terms = [] if bias is None else [bias[:, :, None]]
    for i in range(inputs.shape[-1]):
        raised = functools.reduce(jnp.multiply, [inputs[:, None, :, i : i + 1]] * power)
        terms.append(raised * matrix[:, :, i, None])
    return functools.reduce(jnp.add, terms)


def _pool(hidden: jax.Array, weights: jax.Array) -> jax.Array:
    """Sums [B, C, L, d] over the history with the weights [B, L]; as a product it reads hidden as it lies."""
    shape = (*hidden.shape[:2], 1, weights.shape[1])
    return (jnp.broadcast_to(weights[:, None, None], shape) @ hidden)[:, :, 0]


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
