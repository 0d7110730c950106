"""A memory written behaviour by behaviour and read by candidates (MIMN, arXiv 1905.09248, section 4).

A controller, a GRU, addresses slots by content, reads them, and erases and adds (a neural Turing machine, equations 1
to 4); its write weights are balanced by how much each slot has been used (5 to 8), and the slots it reads most drive
channels, one GRU a slot with shared weights (9).

B batch, C candidates, L history, D width of a behaviour, H of the controller, M slots, Q queries, K channels that a
behaviour moves; gates are (reset, update, candidate state).
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxrec.ops.histories.recurrent import gru_step


class Gates(NamedTuple):
    """A GRU on [behaviour, second vector]: kernel float [3, 2 * D, H], recurrent [3, H, H] and bias [3, H]."""

    kernel: jax.Array
    recurrent: jax.Array
    bias: jax.Array


class Weights(NamedTuple):
    """The parameters of a memory.

    Attributes:
      controller: its second vector is the last reading.
      heads, heads_bias: float [H, 4 * D + 2] and [4 * D + 2], from the controller to (read key, write key, erase, add,
        two strengths).
      keys, initial: float [M, D], keys of the slots apart from their content, and the slots before the first behaviour.
      balance: float [M, M], W_g of equation 5; None leaves the write weights as they are.
      channel: of width D, its second vector is the slot; None keeps no channels.
    """

    controller: Gates
    heads: jax.Array
    heads_bias: jax.Array
    keys: jax.Array
    initial: jax.Array
    balance: jax.Array | None = None
    channel: Gates | None = None


class Memory(NamedTuple):
    """The memory of a request.

    Attributes:
      state, reading: float [B, H] and [B, D], of the controller, and what the last behaviour read.
      slots, channels: float [B, M, D]; channels are zeros where there are none.
      usage: float [B, M], the sum of the write weights; its gradient is that of `balance` alone.
      count: float [B], behaviours written.
    """

    state: jax.Array
    reading: jax.Array
    slots: jax.Array
    channels: jax.Array
    usage: jax.Array
    count: jax.Array  # type: ignore[assignment]  # a tuple's method of that name is not missed


def memorise(
    inputs: jax.Array, mask: jax.Array, weights: Weights, moved: int = 1, start: Memory | None = None
) -> Memory:
    """Writes histories into memories, oldest behaviour first (sections 4.2 to 4.4).

    Args:
      inputs: float [B, L, D].
      mask: float [B, L], 1 for real behaviours, at any positions; the others change nothing.
      weights: the memory's.
      moved: K, channels that a behaviour moves.
      start: the memory to resume from; None begins one.

    Returns:
      The memory after the last real behaviour; for an empty history, that at the start.
    """
    chex.assert_rank(inputs, 3)
    chex.assert_shape(mask, inputs.shape[:2])
    _check(weights, inputs.shape[-1])
    if start is None:
        start = _empty(inputs, mask, weights)

    # As in a GRU, what a step makes is made again for the gradient: only the memories themselves are kept.
    @jax.checkpoint
    def step(memory: Memory, now: tuple[jax.Array, jax.Array]) -> tuple[Memory, None]:
        return _write(memory, *now, weights, moved), None

    last, _ = jax.lax.scan(step, start, (jnp.moveaxis(inputs, 1, 0), jnp.moveaxis(mask, 1, 0)))
    return last


def recall(memory: Memory, candidate: jax.Array, weights: Weights) -> jax.Array:
    """Reads each memory for its candidates: what the controller would read if a candidate came next.

    Args:
      memory: of the requests; shared by the candidates, never tiled.
      candidate: float [B, C, D].
      weights: those that it was written with.

    Returns:
      float [B, C, H + D], [the controller's state, the reading].
    """
    size = candidate.shape[-1]
    chex.assert_shape(candidate, (memory.slots.shape[0], None, size))
    _check(weights, size)
    once = jnp.ones((1, 1), candidate.dtype)
    state = _move(memory.state[:, None], candidate, memory.reading[:, None], once, weights.controller)
    heads = _times(state, weights.heads) + weights.heads_bias
    found = address(jnp.tanh(heads[..., :size]), heads[..., 4 * size], memory.slots, weights.keys)
    return jnp.concatenate([state, found @ memory.slots], -1)


def address(key: jax.Array, strength: jax.Array, slots: jax.Array, keys: jax.Array) -> jax.Array:
    """Finds slots by their content and by their own keys (equations 1 and 2).

    Args:
      key, strength: float [B, Q, D] and [B, Q], what is looked for, and how sharply, before 2 (1 + softplus).
      slots, keys: float [B, M, D] and [M, D].

    Returns:
      float [B, Q, M], softmax over the slots of strength times the mean of both cosines.
    """
    of_content = jnp.einsum('bqd,bmd->bqm', key, slots) / _norm(slots)[:, None]
    of_keys = key @ (keys / _norm(keys)[:, None]).T
    cosine = 0.5 * (of_content + of_keys) / _norm(key)[..., None]
    return jax.nn.softmax(2 * (1 + jax.nn.softplus(strength))[..., None] * cosine, -1)


def balance(usage: jax.Array, count: jax.Array, matrix: jax.Array) -> jax.Array:
    """Returns P_t [B, M], factors of write weights by which no slot is used up or left idle (equation 5).

    Equation 5 reads the sum of the weights so far, which saturates the softmax as the history grows; their mean does
    not. No gradient goes through the usage.

    Args:
      usage, count: float [B, M] and [B], the sum of the balanced weights so far, of how many behaviours.
      matrix: float [M, M], W_g.
    """
    return jax.nn.softmax(jax.lax.stop_gradient(_mean_usage(usage, count)) @ matrix.T, -1)


def utilisation_loss(usage: jax.Array, count: jax.Array, counts: jax.Array) -> jax.Array:
    """Measures how unevenly the slots are used: the squared deviations of equation 8, of the mean weights.

    Args:
      usage, count: float [B, M] and [B], as for `balance`.
      counts: float [B], 1 for examples that count; those without a behaviour do not.

    Returns:
      float [], the mean over the examples that count of the sum over the slots; 0 where none does.
    """
    chex.assert_equal_shape([count, counts])
    mean = _mean_usage(usage, count)
    uneven = jnp.sum((mean - mean.mean(-1, keepdims=True)) ** 2, -1)
    counts = counts * (count > 0)
    return jnp.sum(uneven * counts) / jnp.maximum(counts.sum(), 1)


def _write(memory: Memory, x: jax.Array, real: jax.Array, weights: Weights, moved: int) -> Memory:
    """One behaviour [B, D] where it is real: reads the memory as it stands, moves channels, then writes."""
    size, slots = x.shape[-1], memory.slots
    state = _move(memory.state, x, memory.reading, real, weights.controller)
    heads = state @ weights.heads + weights.heads_bias
    keys = jnp.tanh(heads[:, : 2 * size]).reshape(-1, 2, size)
    read, write = jnp.moveaxis(address(keys, heads[:, 4 * size :], slots, weights.keys), 1, 0)  # [B, M]
    reading = jnp.einsum('bm,bmd->bd', read, slots)

    held = jax.lax.stop_gradient(write)
    if weights.balance is not None:
        share = balance(memory.usage, memory.count, weights.balance)
        write, held = write * share, held * share
    write = (write * real[:, None])[..., None]
    erase, add = jnp.split(heads[:, None, 2 * size : 4 * size], 2, -1)
    channels = memory.channels
    if weights.channel is not None:
        channels = _induce(channels, x, slots, read, real, weights.channel, moved)
    return Memory(
        state,
        memory.reading + real[:, None] * (reading - memory.reading),
        slots * (1 - write * jax.nn.sigmoid(erase)) + write * jnp.tanh(add),
        channels,
        memory.usage + held * real[:, None],
        memory.count + real,
    )


def _induce(
    channels: jax.Array, x: jax.Array, slots: jax.Array, read: jax.Array, real: jax.Array, gates: Gates, moved: int
) -> jax.Array:
    """Moves the channels of the slots that are read most (equation 9); between equals the first."""
    # Slots are few: counting who stands before whom is cheaper than sorting, and stays cut over devices.
    order = jnp.arange(read.shape[-1])
    other, own = read[:, None], read[..., None]
    before = (other > own) | ((other == own) & (order < order[:, None]))  # [B, M, M]
    place = before.sum(-1)
    chosen = (place[:, None] == jnp.arange(moved)[:, None]).astype(x.dtype)  # [B, K, M]
    # The slots learn nothing here, as in the authors' code: they are written for the readings.
    slot, channel = jax.lax.stop_gradient(chosen @ slots), chosen @ channels  # [B, K, D]
    change = _move(channel, x[:, None], slot, real[:, None], gates) - channel
    return channels + chosen.swapaxes(1, 2) @ change


def _move(state: jax.Array, x: jax.Array, beside: jax.Array, scale: jax.Array, gates: Gates) -> jax.Array:
    """A GRU's next state [..., H] on [x, beside]; one of either meets several of the other, as in numpy."""
    of_x, of_beside = jnp.split(gates.kernel, 2, 1)
    of_input = [_times(x, of_x[gate]) + (_times(beside, of_beside[gate]) + gates.bias[gate]) for gate in range(3)]
    return gru_step(state, of_input, gates.recurrent, scale)


def _times(x: jax.Array, kernel: jax.Array) -> jax.Array:
    # Two axes: the gradient of a product with more is a product over several axes, far slower on CPUs.
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


def _empty(inputs: jax.Array, mask: jax.Array, weights: Weights) -> Memory:
    """The memories before the first behaviour."""
    # They must be cut over devices as the batch is; the sum lends its sharding and is never computed.
    like = mask.sum(-1)
    zeros = lambda *shape: jnp.zeros_like(
        jnp.broadcast_to(like.reshape(-1, *(1,) * len(shape)), (*like.shape, *shape)), inputs.dtype
    )
    (slots, size), hidden = weights.initial.shape, weights.controller.bias.shape[-1]
    empty = zeros(slots, size)
    return Memory(zeros(hidden), zeros(size), empty + weights.initial, empty, zeros(slots), zeros())


def _check(weights: Weights, size: int) -> None:
    """Refuses weights that do not fit behaviours of this size, or one another."""
    slots, hidden = weights.initial.shape[0], weights.controller.bias.shape[-1]
    for gates, width in ((weights.controller, hidden), (weights.channel, size)):
        if gates is not None:
            chex.assert_shape(gates, [(3, 2 * size, width), (3, width, width), (3, width)])
    chex.assert_shape([weights.heads, weights.heads_bias], [(hidden, 4 * size + 2), (4 * size + 2,)])
    chex.assert_shape([weights.keys, weights.initial], (slots, size))
    if weights.balance is not None:
        chex.assert_shape(weights.balance, (slots, slots))


def _mean_usage(usage: jax.Array, count: jax.Array) -> jax.Array:
    return usage / jnp.maximum(count, 1)[:, None]


def _norm(x: jax.Array) -> jax.Array:
    """Length of [..., D]; a little more, so that a vector of zeros has a gradient."""
    return jnp.sqrt(jnp.sum(x**2, -1) + 1e-8)
