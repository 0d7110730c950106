"""All-to-all between the devices that ask for rows and the devices that own them, exact at any skew.

Runs inside `jax.shard_map`. Ids are made unique on each device and padding ids dropped; what is left is sent
to its owner in a buffer of fixed capacity [n, C]. When some device asks one owner for more than C rows, the
exchange takes several rounds: round r of R carries the rows with (row mod R) = r, so that all requests for a
row meet in one round and the owner always sees complete sums. R is the least power of two that fits; 1 unless
ids are badly skewed, and it is reported.

n devices, m ids of one device, U = m unique slots, C capacity, S rows of one shard, D width.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.ops.sorting import argsort, vary_like

Axes = tuple[str, ...]


class Requests(NamedTuple):
    """The rows one device asks for, each once.

    Attributes:
      rows: int32 [U], ascending global row ids, then `n * S` (nobody's).
      slot: int32 [m], where each id of the device stands in `rows`.
      order: int32 [m], the ids' ascending order (`slot[order]` is sorted).
      rounds: int32 [], R, the same on all devices.
    """

    rows: jax.Array
    slot: jax.Array
    order: jax.Array
    rounds: jax.Array


def capacity(ids: int, devices: int, factor: float = 1.25) -> int:
    """Slots of the send buffer for each owner.

    Args:
      ids: m, ids of one device.
      devices: n.
      factor: room above a perfectly even spread; seeded hash order of ids keeps the spread even.

    Returns:
      C, at least 8 and at most m.
    """
    return max(1, min(ids, max(8, math.ceil(factor * ids / devices))))


def owned_ids(ids: jax.Array, rows: int, nobody: int) -> jax.Array:
    """Maps padding and out-of-range ids to one id that no shard owns; they never travel.

    Args:
      ids: int32 [m].
      rows: V.
      nobody: n * S, the first id past all shards.

    Returns:
      int32 [m].
    """
    return jnp.where((ids > 0) & (ids < rows), ids, nobody)


def make_requests(ids: jax.Array, shard_rows: int, devices: int, cap: int, axes: Axes) -> Requests:
    """Makes the ids of this device unique and finds how many rounds the exchange needs.

    Args:
      ids: int32 [m], global row ids; `n * S` where there is nothing to ask.
      shard_rows: S.
      devices: n.
      cap: C.
      axes: the mesh axes that the rows are cut over.

    Returns:
      The requests.
    """
    order = argsort(ids)
    ascending = ids[order]
    first = jnp.concatenate([jnp.ones_like(ids[:1], bool), ascending[1:] != ascending[:-1]])
    run = jnp.cumsum(first, dtype=jnp.int32) - 1
    rows = jnp.full_like(ids, shard_rows * devices).at[run].set(ascending)  # [U]
    slot = jnp.zeros_like(run).at[order].set(run)
    fits = lambda rounds: jax.lax.pmax(_fullest(rows, rounds, shard_rows, devices), axes) <= cap
    rounds = jax.lax.while_loop(lambda r: ~fits(r), lambda r: r * 2, jnp.int32(1))
    return Requests(rows, slot, order, rounds)


def _fullest(rows: jax.Array, rounds: jax.Array, shard_rows: int, devices: int) -> jax.Array:
    """The largest number of rows that one (owner, round) would carry."""
    owner = rows // shard_rows  # n for nobody's rows
    # Bucket numbers exceed int32 on huge tables; sorting (owner, round) as two keys needs no product.
    owner, which = jax.lax.sort((owner, rows % rounds), num_keys=2)
    new = jnp.concatenate(
        [
            jnp.ones_like(owner[:1], bool),
            (owner[1:] != owner[:-1]) | (which[1:] != which[:-1]),
        ]
    )
    position = vary_like(jnp.arange(rows.shape[0], dtype=jnp.int32), rows)
    start = jax.lax.cummax(jnp.where(new, position, 0))
    return jnp.max(jnp.where(owner < devices, position - start + 1, 0))


def buffer_slots(requests: Requests, turn: jax.Array, shard_rows: int, devices: int, cap: int) -> jax.Array:
    """Where each requested row travels in one round.

    Args:
      requests: the device's requests.
      turn: int32 [], the round.
      shard_rows: S.
      devices: n.
      cap: C.

    Returns:
      int32 [U]: the flat slot owner * C + position, or n * C for rows that do not travel in this round.
    """
    owner = requests.rows // shard_rows
    travels = (requests.rows % requests.rounds == turn) & (owner < devices)
    before = jnp.cumsum(travels, dtype=jnp.int32) - travels  # [U], travellers ahead of this slot
    # `rows` ascends, so the rows of one owner are neighbours: its first traveller has the smallest count.
    first = jnp.full_like(before, before.shape[0], shape=(devices,)).at[owner].min(before, mode='drop')
    position = before - first.at[owner].get(mode='fill', fill_value=0)
    return jnp.where(travels, owner * cap + position, devices * cap)


def send(values: jax.Array, slots: jax.Array, devices: int, cap: int, axes: Axes, fill: int = 0) -> jax.Array:
    """Carries one value a requested row to the row's owner.

    Args:
      values: [U] or [U, D].
      slots: int32 [U], from `buffer_slots`.
      devices: n.
      cap: C.
      axes: the mesh axes that the rows are cut over.
      fill: what empty buffer slots hold.

    Returns:
      [n * C] or [n * C, D]: what the n devices sent here.
    """
    shape = (devices * cap, *values.shape[1:])
    buffer = jnp.full_like(values, fill, shape=shape).at[slots].set(values, mode='drop')
    return _swap(buffer, devices, axes)


def send_back(values: jax.Array, slots: jax.Array, devices: int, axes: Axes) -> jax.Array:
    """Carries the owners' answers back to the requests.

    Args:
      values: [n * C, D], answers in the order in which the requests arrived.
      slots: int32 [U], from `buffer_slots`.
      devices: n.
      axes: the mesh axes that the rows are cut over.

    Returns:
      [U, D], zeros where a row did not travel in this round.
    """
    return _swap(values, devices, axes).at[slots].get(mode='fill', fill_value=0)


def _swap(buffer: jax.Array, devices: int, axes: Axes) -> jax.Array:
    blocks = buffer.reshape(devices, -1, *buffer.shape[1:])
    return jax.lax.all_to_all(blocks, axes, 0, 0).reshape(buffer.shape)
