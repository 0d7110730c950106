"""Which weights a transformer layer has, and how they are drawn.

N layers, X width, H heads, D width of a head, F hidden, E experts.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Sizes(NamedTuple):
    """Of a layer: X, H, D, F of the feed-forward net, and whether that net has a gate."""

    width: int
    heads: int
    head_width: int
    hidden: int
    gated: bool


class Weight(NamedTuple):
    """One array of a layer.

    Attributes:
      shape: without the axis of layers.
      fan_in: numbers that are summed by it; 0 for a scale, which starts at one.
    """

    shape: tuple[int, ...]
    fan_in: int


def attention_weights(sizes: Sizes) -> dict[str, Weight]:
    """Projections of a multi-head attention: 'query', 'key', 'value' [X, H, D] and 'out' [H, D, X]."""
    inward = Weight((sizes.width, sizes.heads, sizes.head_width), sizes.width)
    out = Weight((sizes.heads, sizes.head_width, sizes.width), sizes.heads * sizes.head_width)
    return {'query': inward, 'key': inward, 'value': inward, 'out': out}


def feed_weights(sizes: Sizes, experts: int = 0) -> dict[str, Weight]:
    """A feed-forward net, or one an expert: 'up' [X, F], or [X, 2 F] with its gate, and 'down' [F, X]."""
    lead = (experts,) if experts else ()
    up = Weight((*lead, sizes.width, (1 + sizes.gated) * sizes.hidden), sizes.width)
    return {'up': up, 'down': Weight((*lead, sizes.hidden, sizes.width), sizes.hidden)}


def encoder_weights(sizes: Sizes) -> dict[str, Any]:
    """What a layer has that attends to its own sequence."""
    norm = Weight((sizes.width,), 0)
    return {'self_norm': norm, 'self': attention_weights(sizes), 'feed_norm': norm, 'feed': feed_weights(sizes)}


def decoder_weights(sizes: Sizes, experts: int = 0) -> dict[str, Any]:
    """What a layer has that attends to a memory too; with experts it has them in place of the one net."""
    layer = encoder_weights(sizes)
    layer |= {'cross_norm': layer['self_norm'], 'cross': attention_weights(sizes)}
    if experts:
        layer['feed'] = feed_weights(sizes, experts)
        layer['router'] = Weight((sizes.width, experts), sizes.width)
    return layer


def draw_stack(key: jax.Array, layer: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Draws the weights of N layers from a tree of `Weight`: float32 [N, ...], ones for scales, else normal.

    The variance is 1 / fan_in.
    """
    leaves, tree = jax.tree.flatten(layer, is_leaf=lambda node: isinstance(node, Weight))
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(tree, [_draw(k, w, layers) for k, w in zip(keys, leaves, strict=True)])


def _draw(key: jax.Array, weight: Weight, layers: int) -> jax.Array:
    shape = (layers, *weight.shape)
    if not weight.fan_in:
        return jnp.ones(shape)
    return jax.random.normal(key, shape) * weight.fan_in**-0.5
