"""Which weights a layer of OneRec has, and how they are drawn.

N layers, X width, H heads, D width of a head, F hidden, E experts.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.models.onerec.options import Network


class Weight(NamedTuple):
    """One array of a layer.

    Attributes:
      shape: without the axis of layers.
      fan_in: numbers that are summed by it; 0 for a scale, which starts at one.
    """

    shape: tuple[int, ...]
    fan_in: int


def attention_weights(network: Network) -> dict[str, Weight]:
    """Projections of a multi-head attention: 'query', 'key', 'value' [X, H, D] and 'out' [H, D, X]."""
    width, heads, head = network.width, network.heads, network.head_width
    inward = Weight((width, heads, head), width)
    return {
        'query': inward,
        'key': inward,
        'value': inward,
        'out': Weight((heads, head, width), heads * head),
    }


def feed_weights(network: Network, hidden: int, experts: int = 0) -> dict[str, Weight]:
    """A feed-forward net, or one of each expert: 'up' and, where gated, 'gate' [X, F], 'down' [F, X]."""
    lead = (experts,) if experts else ()
    up = Weight((*lead, network.width, hidden), network.width)
    gate = {'gate': up} if network.gated else {}
    return {'up': up, **gate, 'down': Weight((*lead, hidden, network.width), hidden)}


def encoder_weights(network: Network) -> dict[str, Any]:
    """What a layer of the encoder has."""
    norm = Weight((network.width,), 0)
    return {
        'self_norm': norm,
        'self': attention_weights(network),
        'feed_norm': norm,
        'feed': feed_weights(network, network.hidden),
    }


def decoder_weights(network: Network) -> dict[str, Any]:
    """What a layer of the decoder has: cross-attention too, and experts in place of the one net."""
    layer = encoder_weights(network)
    layer |= {'cross_norm': layer['self_norm'], 'cross': attention_weights(network)}
    if network.experts:
        layer['feed'] = feed_weights(network, network.expert_hidden, network.experts)
        layer['router'] = Weight((network.width, network.experts), network.width)
    return layer


def draw_stack(key: jax.Array, layer: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Draws the weights of a stack of layers.

    Args:
      key: a typed key.
      layer: a tree of `Weight`.
      layers: N.

    Returns:
      The tree, float32 [N, ...]: scales are ones, others normal with variance 1 / fan_in.
    """
    leaves, tree = jax.tree.flatten(layer, is_leaf=lambda node: isinstance(node, Weight))
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(tree, [_draw(k, w, layers) for k, w in zip(keys, leaves, strict=True)])


def _draw(key: jax.Array, weight: Weight, layers: int) -> jax.Array:
    shape = (layers, *weight.shape)
    if not weight.fan_in:
        return jnp.ones(shape)
    return jax.random.normal(key, shape) * weight.fan_in**-0.5
