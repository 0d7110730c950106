"""The auxiliary loss of DIEN (arXiv 1809.03672, section 4.2): each state must tell what came next.

B batch, L history, D width of a behaviour, H width of a state, W width of a layer.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

# Steps of the histories scored at once: all of them would fill memory with layers that are W wide.
STEPS = 4

Layer = tuple[jax.Array, jax.Array]


def pair_loss(clicked: jax.Array, other: jax.Array) -> jax.Array:
    """Cross-entropy -log sigmoid(clicked) - log(1 - sigmoid(other)) of logits [...] of behaviours and negatives."""
    return jax.nn.softplus(-clicked) + jax.nn.softplus(other)


def next_behaviour_loss(
    states: jax.Array, history: jax.Array, negative: jax.Array, mask: jax.Array, layers: Sequence[Layer]
) -> jax.Array:
    """Scores what followed each state, and its negative, by a small net, and averages the pairs' losses.

    The paper sums over each history and divides by the number of histories; the authors' code averages, over padding
    too. The mean over real pairs depends neither on the length of histories nor on padding.

    Args:
      states, history, negative: float [B, L, H], [B, L, D] and [B, L, D], the state after each behaviour, the
        behaviours, and for each one that did not happen.
      mask: float [B, L], 1 for behaviours that count as next ones.
      layers: (kernel, bias) of the net on [state, behaviour], [H + D, W] and [W] to [W, 1] and [1]; sigmoid between
        them.

    Returns:
      float [], the mean of `pair_loss` over the pairs that count; 0 where none does.
    """
    chex.assert_rank([states, mask], [3, 2])
    chex.assert_equal_shape([history, negative])
    chex.assert_equal_shape_prefix([states, history, mask], 2)
    pairs = states[:, :-1], history[:, 1:], negative[:, 1:], mask[:, 1:]

    @jax.checkpoint
    def add(total: jax.Array, chunk: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        state, behaviour, other, weight = (x.reshape(-1, *x.shape[2:]) for x in chunk)
        losses = pair_loss(*_scores(state, (behaviour, other), layers))
        return total + jnp.sum(losses * weight), None

    total, _ = jax.lax.scan(add, jnp.float32(0), tuple(map(_in_chunks, pairs)))
    return total / jnp.maximum(mask[:, 1:].sum(), 1)


def _scores(state: jax.Array, behaviours: Sequence[jax.Array], layers: Sequence[Layer]) -> list[jax.Array]:
    """Logits [N] of each of the behaviours [N, D] after the states [N, H]."""
    (kernel, bias), *rest = layers
    # The first layer on [state, behaviour] term by term: all behaviours share the state's.
    of_state = state @ kernel[: state.shape[-1]] + bias
    scores = []
    for behaviour in behaviours:
        x = of_state + behaviour @ kernel[state.shape[-1] :]
        for next_kernel, next_bias in rest:
            x = jax.nn.sigmoid(x) @ next_kernel + next_bias
        scores.append(x[:, 0])
    return scores


def _in_chunks(x: jax.Array) -> jax.Array:
    """[B, T, ...] to [K, B, STEPS, ...], the last chunk filled with zeros."""
    chunks = -(-x.shape[1] // STEPS)
    x = jnp.pad(x, ((0, 0), (0, chunks * STEPS - x.shape[1])) + ((0, 0),) * (x.ndim - 2))
    return jnp.moveaxis(x.reshape(x.shape[0], chunks, STEPS, *x.shape[2:]), 1, 0)
