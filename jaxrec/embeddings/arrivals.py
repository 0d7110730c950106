"""How the gradients of a batch reach the devices that own their rows, inside `jax.shard_map` or on one device.

n devices, m ids of one device, k arrived gradients, S rows of one shard, V rows, D width.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.embeddings import exchange as ex
from jaxrec.embeddings.duplicates import RowSums, sum_duplicates
from jaxrec.embeddings.optimizers import Slots
from jaxrec.embeddings.table import Table
from jaxrec.ops.sorting import vary_like

Apply = Callable[[str, jax.Array, Slots, RowSums], tuple[jax.Array, Slots]]  # the first says which table
Part = dict[str, tuple[jax.Array, jax.Array]]


class Arrivals(NamedTuple):
    """Gradients of all tables that reached one shard.

    Attributes:
      first: {table: (int32 [k], rows of this shard in 0..S-1, S where there is nothing; float32 [k, D])}.
      rounds: int32 [], all-to-all rounds, 1 where there is one part only.
      later: int32 [] -> what is in round 1.. as `first`; None where there is one part only.
    """

    first: Part
    rounds: jax.Array
    later: Callable[[jax.Array], Part] | None = None


def arrive(
    specs: Mapping[str, Table],
    shards: ex.Arrays,
    ids: ex.Arrays,
    grads: ex.Arrays,
    exchange: str,
    factor: float,
    axes: ex.Axes,
) -> Arrivals:
    """Moves gradients to the shards that own their rows.

    Args:
      specs, shards: {table: Table}, and {table: float32 [S, D]}, this device's rows.
      ids, grads: {table: int32 [m]}, global ids of this device, and {table: float32 [m, D]}.
      exchange, factor: 'gather_ids' or 'all_to_all', and the capacity factor of the latter.
      axes: the mesh axes that rows are sharded over; () on one device.
    """
    counts = {name: shards[name].shape[0] for name in ids}
    devices = jax.lax.axis_size(axes) if axes else 1
    ids = {name: ex.owned_ids(x, specs[name].rows, devices * counts[name]) for name, x in ids.items()}
    if not axes or not ids:
        return Arrivals({name: (ids[name], grads[name]) for name in ids}, jnp.int32(1))
    if exchange == 'gather_ids':
        return Arrivals({name: _gather(ids[name], grads[name], counts[name], axes) for name in ids}, jnp.int32(1))
    travel = ex.make_exchange(ids, counts, devices, factor, axes)
    sums = {name: _sum_equal(requests, grads[name]) for name, requests in travel.requests.items()}

    def part(turn: jax.Array) -> Part:
        arrived, slots = travel.ask(turn)
        moved = travel.send(sums, slots)
        return {name: (arrived[name], moved[name]) for name in ids}

    return Arrivals(part(jnp.int32(0)), travel.rounds, part)


def _gather(ids: jax.Array, grads: jax.Array, count: int, axes: ex.Axes) -> tuple[jax.Array, jax.Array]:
    """Everybody's ids and gradients, those of other shards' rows as nothing."""
    local = jax.lax.all_gather(ids, axes, tiled=True) - jax.lax.axis_index(axes) * count
    local = jnp.where((local >= 0) & (local < count), local, count)
    return local, jax.lax.all_gather(grads, axes, tiled=True)


def _sum_equal(requests: ex.Requests, grads: jax.Array) -> jax.Array:
    """Sums the gradients of this device by requested row, [U, D]."""
    order = requests.order
    return jax.ops.segment_sum(grads[order], requests.slot[order], num_segments=order.shape[0], indices_are_sorted=True)


def later_squares(arrivals: Arrivals, counts: Mapping[str, int]) -> jax.Array:
    """Sums the squares, float32 [], of the row sums that arrive after the first round; `counts` is {table: S}."""
    if arrivals.later is None:
        return jnp.float32(0)
    part = arrivals.later

    def square(turn: jax.Array, total: jax.Array) -> jax.Array:
        for name, (ids, grads) in part(turn).items():
            total += jnp.sum(sum_duplicates(ids, grads, counts[name], 'sort')[0].sums ** 2)
        return total

    grads = next(iter(arrivals.first.values()))[1]
    return jax.lax.fori_loop(1, arrivals.rounds, square, vary_like(jnp.float32(0), grads))


def apply_later(
    arrivals: Arrivals, apply: Apply, tables: ex.Arrays, slots: Mapping[str, Slots]
) -> tuple[dict[str, jax.Array], dict[str, Slots]]:
    """Applies the rounds after the first; each holds complete sums of rows that no other round touches.

    Args:
      arrivals: what reached this shard.
      apply: (table's name, table, slots, sums) -> (table, slots).
      tables, slots: {table: float32 [S, D]} and {table: {slot: [S] or [S, D]}}.
    """
    held = dict(tables), dict(slots)
    if arrivals.later is None:
        return held
    part = arrivals.later

    def one_round(turn: jax.Array, held: tuple[dict, dict]) -> tuple[dict, dict]:
        tables, slots = dict(held[0]), dict(held[1])
        for name, (ids, grads) in part(turn).items():
            sums, _ = sum_duplicates(ids, grads, tables[name].shape[0], 'sort')
            tables[name], slots[name] = apply(name, tables[name], slots[name], sums)
        return tables, slots

    return jax.lax.fori_loop(1, arrivals.rounds, one_round, held)
