"""How the gradients of a batch reach the devices that own their rows.

Runs inside `jax.shard_map`, or plainly on one device. An arrival is what one shard must sum and apply: all of
it at once, or, when an all-to-all needs several rounds, one complete part of the rows a round (see
`exchange`).

n devices, m ids of one device, k arrived gradients, S rows of one shard, V rows, D width.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.embeddings import exchange as ex
from jaxrec.embeddings.duplicates import RowSums, sum_duplicates
from jaxrec.embeddings.optimizers import Slots
from jaxrec.embeddings.table import Table
from jaxrec.ops.sorting import vary_like

Apply = Callable[[jax.Array, Slots, RowSums], tuple[jax.Array, Slots]]


class Arrival(NamedTuple):
    """Gradients that reached one shard.

    Attributes:
      ids: int32 [k], rows of this shard in 0..S-1, S where there is nothing.
      grads: float32 [k, D].
      rounds: int32 [], all-to-all rounds, 1 where there is one part only.
      later: int32 [] -> (ids, grads) of rounds 1.. ; None where there is one part only.
    """

    ids: jax.Array
    grads: jax.Array
    rounds: jax.Array
    later: Callable[[jax.Array], tuple[jax.Array, jax.Array]] | None = None


def arrive(
    spec: Table,
    shard: jax.Array,
    ids: jax.Array,
    grads: jax.Array,
    exchange: str,
    factor: float,
    axes: ex.Axes,
) -> Arrival:
    """Moves gradients to the shards that own their rows.

    Args:
      spec: the table.
      shard: float32 [S, D], this device's rows.
      ids: int32 [m], global ids of this device.
      grads: float32 [m, D].
      exchange: 'gather_ids' or 'all_to_all'.
      factor: capacity factor of the all-to-all.
      axes: the mesh axes that rows are cut over; () on one device.

    Returns:
      The arrival at this shard.
    """
    count = shard.shape[0]
    if not axes:
        return Arrival(ex.owned_ids(ids, spec.rows, count), grads, jnp.int32(1))
    devices = jax.lax.axis_size(axes)
    ids = ex.owned_ids(ids, spec.rows, devices * count)
    if exchange == 'gather_ids':
        local = jax.lax.all_gather(ids, axes, tiled=True) - jax.lax.axis_index(axes) * count
        local = jnp.where((local >= 0) & (local < count), local, count)
        return Arrival(local, jax.lax.all_gather(grads, axes, tiled=True), jnp.int32(1))
    cap = ex.capacity(ids.shape[0], devices, factor)
    requests = ex.make_requests(ids, count, devices, cap, axes)
    in_order = requests.order
    sums = jax.ops.segment_sum(
        grads[in_order], requests.slot[in_order], num_segments=ids.shape[0], indices_are_sorted=True
    )

    def part(turn: jax.Array) -> tuple[jax.Array, jax.Array]:
        slots = ex.buffer_slots(requests, turn, count, devices, cap)
        arrived = ex.send(requests.rows % count, slots, devices, cap, axes, fill=count)
        return arrived, ex.send(sums, slots, devices, cap, axes)

    return Arrival(*part(jnp.int32(0)), requests.rounds, part)


def later_squares(arrival: Arrival, count: int) -> jax.Array:
    """Sums the squares of the row sums that arrive after the first round.

    Args:
      arrival: what reached this shard.
      count: S.

    Returns:
      float32 [], zero where there is one round.
    """
    if arrival.later is None:
        return jnp.float32(0)
    part = arrival.later
    square = lambda turn: jnp.sum(sum_duplicates(*part(turn), count, 'sort')[0].sums ** 2)
    start = vary_like(jnp.float32(0), arrival.grads)
    return jax.lax.fori_loop(1, arrival.rounds, lambda turn, total: total + square(turn), start)


def apply_later(arrival: Arrival, apply: Apply, table: jax.Array, slots: Slots) -> tuple[jax.Array, Slots]:
    """Applies the rounds after the first; each holds complete sums of rows that no other round touches.

    Args:
      arrival: what reached this shard.
      apply: (table, slots, sums) -> (table, slots).
      table: float32 [S, D].
      slots: {slot: [S] or [S, D]}.

    Returns:
      The new table and slots.
    """
    if arrival.later is None:
        return table, slots
    part = arrival.later

    def one_round(turn: jax.Array, held: tuple[jax.Array, Slots]) -> tuple[jax.Array, Slots]:
        sums, _ = sum_duplicates(*part(turn), table.shape[0], 'sort')
        return apply(*held, sums)

    return jax.lax.fori_loop(1, arrival.rounds, one_round, (table, slots))
