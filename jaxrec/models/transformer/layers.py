"""Transformer layers as functions of their weights, of an encoder and of a decoder, for sequences or step by step.

Each adds what it computes from a normed copy: attention to itself, in the decoder attention to a memory, then a
feed-forward net, which the decoder may replace. Weights of a kind are stacked over the layers, to be scanned.

B batch, C sessions of a request, Q queries, S memory tokens, T own tokens, K beams, N layers, X width, H heads, D width
of a head, F hidden.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.ops.transformer import Drop, attend, attend_own, feed_forward, project, rms_norm

Tree = Mapping[str, Any]
# Places of a layer at which something is dropped; each layer has words of its own.
WEIGHTS, OUT, CROSS_WEIGHTS, CROSS_OUT, HIDDEN, FED = range(6)


class Memory(NamedTuple):
    """A history for the decoder: hidden float [B, S, X] and mask bool [B, S], False on padding."""

    hidden: jax.Array
    mask: jax.Array


class KeysValues(NamedTuple):
    """Keys and values of one layer: float [B, S, H, D] of the history, [B, K, T, H, D] of beams."""

    key: jax.Array
    value: jax.Array


# (weights of a layer, float [..., X]) -> the same shape, and whatever it tells of itself.
Feed = Callable[[Tree, jax.Array], tuple[jax.Array, Any]]


def keys_values(weights: Tree, x: jax.Array) -> KeysValues:
    """Projects what is attended to, float [..., X], by 'key' and 'value' [X, H, D] to keys and values [..., H, D]."""
    return KeysValues(_heads(weights['key'], x), _heads(weights['value'], x))


def _query(weights: Tree, x: jax.Array) -> jax.Array:
    return _heads(weights['query'], x)


def _heads(weights: jax.Array, x: jax.Array) -> jax.Array:
    """[..., H, D] of float [..., X] and weights [X, H, D]."""
    found = project(x, weights.reshape(weights.shape[0], -1))
    return found.reshape(*x.shape[:-1], *weights.shape[1:])


def _out(weights: Tree, x: jax.Array) -> jax.Array:
    out = weights['out']
    return project(x.reshape(*x.shape[:-2], -1), out.reshape(-1, out.shape[-1]))


def encoder_layer(weights: Tree, x: jax.Array, mask: jax.Array, activation: str, drop: Drop) -> jax.Array:
    """One layer over a sequence that attends to itself, float [B, S, X] to [B, S, X].

    Args:
      weights: 'self_norm', 'self', 'feed_norm', 'feed' of this layer.
      x: float [B, S, X].
      mask: bool, broadcasts to [B, H, S, S]; False is not attended to.
      activation, drop: of the feed-forward net, and the dropout of this layer.
    """
    with jax.named_scope('self'):
        x = x + _attend_all(weights, x, mask, drop)
    with jax.named_scope('feed'):
        fed = feed_dense(weights, rms_norm(x, weights['feed_norm']), activation, drop)
        return x + drop(fed, FED)


def feed_dense(weights: Tree, x: jax.Array, activation: str, drop: Drop | None) -> jax.Array:
    """One feed-forward net, of 'feed' with its 'up' and 'down', on float [..., X]; no dropout for None, to score."""
    thin = None if drop is None else lambda hidden: drop(hidden, HIDDEN)
    return feed_forward(x, weights['feed']['up'], weights['feed']['down'], activation, thin)


def _attend_all(weights: Tree, x: jax.Array, mask: jax.Array, drop: Drop) -> jax.Array:
    own = weights['self']
    normed = rms_norm(x, weights['self_norm'])
    seen = keys_values(own, normed)
    found = attend(_query(own, normed), *seen, mask, lambda found: drop(found, WEIGHTS))
    return drop(_out(own, found), OUT)


def _attend_history(weights: Tree, x: jax.Array, history: KeysValues, mask: jax.Array, drop: Drop | None) -> jax.Array:
    """Cross-attention of float [B C, Q, X], of which the first C read the first history, and so on."""
    rows = x.reshape(len(mask), -1, x.shape[-1])  # [B, C Q, X]
    query = _query(weights['cross'], rms_norm(rows, weights['cross_norm']))
    thin = None if drop is None else lambda found: drop(found, CROSS_WEIGHTS)
    found = _out(weights['cross'], attend(query, *history, mask[:, None, None], thin)).reshape(x.shape)
    return found if drop is None else drop(found, CROSS_OUT)


def decoder_layer(
    weights: Tree, x: jax.Array, memory: Memory, causal: jax.Array, feed: Feed, drop: Drop
) -> tuple[jax.Array, Any]:
    """One layer over a complete session, each position of which reads those before it.

    Args:
      weights: 'self_norm', 'self', 'cross_norm', 'cross', 'feed_norm' of this layer and what `feed` reads.
      x: float [B C, T, X], the C sessions of a request one after the other.
      memory: of the B histories, each projected once for its sessions.
      causal: bool [T, T].
      feed, drop: the feed-forward net, and the dropout of this layer.

    Returns:
      float [B C, T, X], and what `feed` reports.
    """
    with jax.named_scope('self'):
        x = x + _attend_all(weights, x, causal, drop)
    with jax.named_scope('cross'):
        x = x + _attend_history(weights, x, keys_values(weights['cross'], memory.hidden), memory.mask, drop)
    with jax.named_scope('feed'):
        fed, told = feed(weights, rms_norm(x, weights['feed_norm']))
        return x + drop(fed, FED), told


def decoder_step(
    weights: Tree,
    x: jax.Array,
    cache: KeysValues,
    position: int | jax.Array,
    history: KeysValues,
    mask: jax.Array,
    feed: Feed,
) -> tuple[jax.Array, KeysValues]:
    """The same layer at the newest positions of beams, whose earlier ones are in a cache.

    Args:
      weights: as in `decoder_layer`.
      x: float [B, K, Q, X].
      cache: [B, K, T, H, D]; positions from `position` on are not read before they are written.
      position: of the first of the Q.
      history: [B, S, H, D], from `keys_values` of 'cross'; all beams of a request read the same.
      mask: bool [B, S], False on padding.
      feed: the feed-forward net.

    Returns:
      float [B, K, Q, X], and the cache with the Q positions in it.
    """
    (batch, beams, new, width), size = x.shape, cache.key.shape[2]
    normed = rms_norm(x, weights['self_norm'])
    write = lambda old, now: jax.lax.dynamic_update_slice_in_dim(old, now.astype(old.dtype), position, 2)
    cache = KeysValues(*map(write, cache, keys_values(weights['self'], normed)))
    seen = jnp.arange(size) <= position + jnp.arange(new)[:, None]  # [Q, T]
    x = x + _out(weights['self'], attend_own(_query(weights['self'], normed), *cache, seen))
    flat = x.reshape(batch, beams * new, width)
    flat = flat + _attend_history(weights, flat, history, mask, None)
    fed, _ = feed(weights, rms_norm(flat, weights['feed_norm']))
    return (flat + fed).reshape(x.shape), cache


def run_layers(
    layer: Callable[[jax.Array, Any, jax.Array], tuple[jax.Array, Any]],
    x: jax.Array,
    stack: Any,
    *,
    scan: bool,
    remat: bool,
) -> tuple[jax.Array, Any]:
    """Applies a stack of layers one after the other.

    Args:
      layer: (x, weights of a layer, its number int []) -> (x, what it reports).
      x: the input of the first.
      stack: weights with a leading axis N.
      scan: compile one layer and loop over it, instead of all layers in a row.
      remat: compute a layer's insides again for its gradient instead of keeping them.

    Returns:
      The output of the last, and what all report, with a leading axis N.
    """
    layer = jax.checkpoint(layer) if remat else layer
    number = jax.tree.leaves(stack)[0].shape[0]
    if scan:
        return jax.lax.scan(lambda x, at: layer(x, *at), x, (stack, jnp.arange(number)))
    told = []
    for i in range(number):
        x, of_this = layer(x, layer_of(stack, i), jnp.int32(i))
        told.append(of_this)
    return x, jax.tree.map(lambda *parts: jnp.stack(parts), *told)


def layer_of(stack: Any, number: int) -> Any:
    """The weights of one layer of a stack."""
    return jax.tree.map(lambda leaf: leaf[number], stack)
