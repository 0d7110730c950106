"""Gated recurrent units over padded histories (DIEN, arXiv 1809.03672, sections 4.2 and 4.3).

GRU, and AUGRU whose update gate a candidate's attention scales. Both are one recurrence: an update gate of zero leaves
the state as it is, so padding is attention of zero, and a GRU is an AUGRU that attends fully to every real behaviour.

B batch, C candidates, L history, D input width, H hidden width; gates are (reset, update, candidate state).
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp


def gru(inputs: jax.Array, mask: jax.Array, kernel: jax.Array, recurrent: jax.Array, bias: jax.Array) -> jax.Array:
    """Runs a GRU over histories, oldest behaviour first (section 4.2).

    Args:
      inputs: float [B, L, D], left-aligned.
      mask: float [B, L], 1 for real behaviours.
      kernel, bias: float [3, D, H] and [3, H], from the input to the gates.
      recurrent: float [3, H, H], from the state to the gates; reset scales the product, not the state.

    Returns:
      float [B, L, H], the state after each behaviour. It is constant on padding, so the last one is that of the last
      real behaviour, zeros for an empty history.
    """
    chex.assert_rank(inputs, 3)
    chex.assert_shape(mask, inputs.shape[:2])
    _, states = _run(inputs, mask[:, None], kernel, recurrent, bias)
    return jnp.moveaxis(states[:, :, 0], 0, 1)


def augru(
    inputs: jax.Array, attention: jax.Array, mask: jax.Array, kernel: jax.Array, recurrent: jax.Array, bias: jax.Array
) -> jax.Array:
    """Runs, for each candidate, a GRU whose update gate is scaled by the candidate's attention (section 4.3).

    Args:
      inputs: float [B, L, D], left-aligned; shared by the candidates, never tiled.
      attention: float [B, C, L], weight of behaviour l for candidate c.
      mask, kernel, recurrent, bias: as for `gru`.

    Returns:
      float [B, C, H], the state after the last real behaviour; zeros for an empty history.
    """
    chex.assert_rank(inputs, 3)
    chex.assert_shape(mask, inputs.shape[:2])
    chex.assert_shape(attention, (inputs.shape[0], None, inputs.shape[1]))
    last, _ = _run(inputs, attention * mask[:, None], kernel, recurrent, bias)
    return last


def gru_step(state: jax.Array, of_input: Sequence[jax.Array], recurrent: jax.Array, scale: jax.Array) -> jax.Array:
    """Computes one step of a GRU whose update gate is scaled (sections 4.2 and 4.3).

    Args:
      state: float [..., H].
      of_input: float [..., H] for each gate, input times kernel plus bias; it broadcasts against the state.
      recurrent: float [3, H, H], from the state to the gates.
      scale: float [...], of the update gate; 0 keeps the state as it is.

    Returns:
      float [..., H], the next state.
    """
    flat = state.reshape(-1, state.shape[-1])
    of_state = [(flat @ recurrent[gate]).reshape(state.shape) for gate in range(3)]
    reset = jax.nn.sigmoid(of_input[0] + of_state[0])
    update = jax.nn.sigmoid(of_input[1] + of_state[1]) * scale[..., None]
    candidate = jnp.tanh(of_input[2] + reset * of_state[2])
    return state + update * (candidate - state)


def _run(
    inputs: jax.Array, scale: jax.Array, kernel: jax.Array, recurrent: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The last state [B, C, H] and all of them [L, B, C, H], for a scale [B, C, L] of the update gate."""
    hidden = bias.shape[-1]
    chex.assert_shape(kernel, (3, inputs.shape[-1], hidden))
    chex.assert_shape([recurrent, bias], [(3, hidden, hidden), (3, hidden)])

    # Saving a step's gates for the gradient costs more memory traffic than making them again does work.
    @jax.checkpoint
    def step(state: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x, gate_scale = now  # [B, D], [B, C]
        # The input meets its kernel here and not before the scan: what it makes is three times as wide.
        of_input = [(x @ kernel[gate] + bias[gate])[:, None] for gate in range(3)]  # once a history
        state = gru_step(state, of_input, recurrent, gate_scale)
        return state, state

    # The carry must be cut over devices as the batch is; the sum lends its sharding and is never computed.
    like = jnp.broadcast_to(scale.sum(-1, keepdims=True), (*scale.shape[:2], hidden))
    start = jnp.zeros_like(like, inputs.dtype)
    return jax.lax.scan(step, start, (jnp.moveaxis(inputs, 1, 0), jnp.moveaxis(scale, 2, 0)))
