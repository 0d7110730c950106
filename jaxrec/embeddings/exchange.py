"""All-to-all between the devices that ask for rows and the devices that own them, exact at any skew.

Runs inside `jax.shard_map`. Ids are made unique on each device and sent to their owners, without padding, in a buffer
of fixed capacity [n, C]. When some device asks one owner for more than C rows, the exchange takes several rounds: round
r of R carries the rows with (row mod R) = r, so that the owner always has complete sums. R is the least power of two
that fits; it is reported. Tables travel together; one that needs fewer rounds sends empty buffers in the last ones.

n devices, m ids of one device, U = m unique slots, C capacity, S rows of one shard, D width.
"""

import functools
import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.ops.sorting import argsort, vary_like

Axes = tuple[str, ...]
Arrays = Mapping[str, jax.Array]  # {table: array}


class Requests(NamedTuple):
    """The rows one device asks for, each once.

    Attributes:
      rows: int32 [U], ascending global row ids, then `n * S` (nobody's).
      slot, order: int32 [m], the index in `rows` of each id, and the ids' ascending order (`slot[order]` is sorted).
      rounds: int32 [], R, the same on all devices.
    """

    rows: jax.Array
    slot: jax.Array
    order: jax.Array
    rounds: jax.Array


def capacity(ids: int, devices: int, factor: float = 1.25) -> int:
    """C, slots of the send buffer for each owner of m ids: at least 8 and at most m, `factor` above an even spread."""
    return max(1, min(ids, max(8, math.ceil(factor * ids / devices))))


def owned_ids(ids: jax.Array, rows: int, nobody: int) -> jax.Array:
    """Maps padding and ids outside [0, rows) to `nobody`, n * S, which no shard owns; they never travel. int32 [m]."""
    return jnp.where((ids > 0) & (ids < rows), ids, nobody)


def make_requests(ids: jax.Array, nobody: int) -> Requests:
    """Makes the ids int32 [m] of one table on this device unique, `nobody` for nothing; the requests, in one round."""
    order = argsort(ids)
    ascending = ids[order]
    first = jnp.concatenate([jnp.ones_like(ids[:1], bool), ascending[1:] != ascending[:-1]])
    run = jnp.cumsum(first, dtype=jnp.int32) - 1
    rows = jnp.full_like(ids, nobody).at[run].set(ascending)  # [U]
    slot = jnp.zeros_like(run).at[order].set(run)
    return Requests(rows, slot, order, jnp.int32(1))


def _count_rounds(
    rows: Arrays, shard_rows: Mapping[str, int], devices: int, caps: Mapping[str, int], axes: Axes
) -> dict[str, jax.Array]:
    """How many rounds each table needs, int32 []; all devices ask one another about all tables at once."""

    def fits(rounds: jax.Array) -> jax.Array:
        fullest = [
            _fullest(asked, number, shard_rows[name], devices)
            for (name, asked), number in zip(rows.items(), rounds, strict=True)
        ]
        return jax.lax.pmax(jnp.stack(fullest), axes) <= jnp.array([caps[name] for name in rows])

    def double(held: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        rounds = jnp.where(held[1], held[0], 2 * held[0])
        return rounds, fits(rounds)

    one = jnp.ones(len(rows), jnp.int32)
    rounds, _ = jax.lax.while_loop(lambda held: ~held[1].all(), double, (one, fits(one)))
    return dict(zip(rows, rounds, strict=True))


def _fullest(rows: jax.Array, rounds: jax.Array, shard_rows: int, devices: int) -> jax.Array:
    """The largest number of rows that one (owner, round) would carry."""
    owner = rows // shard_rows  # n for nobody's rows
    # Bucket numbers exceed int32 on huge tables; sorting (owner, round) as two keys needs no product.
    owner, which = jax.lax.sort((owner, rows % rounds), num_keys=2)
    new = jnp.concatenate([jnp.ones_like(owner[:1], bool), (owner[1:] != owner[:-1]) | (which[1:] != which[:-1])])
    position = vary_like(jnp.arange(rows.shape[0], dtype=jnp.int32), rows)
    start = jax.lax.cummax(jnp.where(new, position, 0))
    return jnp.max(jnp.where(owner < devices, position - start + 1, 0))


def buffer_slots(requests: Requests, turn: jax.Array, shard_rows: int, devices: int, cap: int) -> jax.Array:
    """Returns the slot in which each requested row travels in one round.

    Args:
      requests, turn: the device's requests, and the round int32 [].
      shard_rows, devices, cap: S, n and C.

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


class Exchange(NamedTuple):
    """What one device asks for of all tables, and how it travels.

    Attributes:
      requests, shard_rows, caps: {table: Requests}, {table: S} and {table: C}.
      devices, axes: n, and the mesh axes that the rows are sharded over.
    """

    requests: Mapping[str, Requests]
    shard_rows: Mapping[str, int]
    caps: Mapping[str, int]
    devices: int
    axes: Axes

    @property
    def rounds(self) -> jax.Array:
        """int32 [], those of the table that needs most."""
        return functools.reduce(jnp.maximum, (r.rounds for r in self.requests.values()))

    def ask(self, turn: jax.Array) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """Sends the rows of one round `turn` int32 [] to their owners.

        Returns:
          {table: int32 [n * C]}, rows of this shard that the n devices ask for, S where a slot is empty; and {table:
          int32 [U]}, the slots in which this device's requests travel.
        """
        slots, rows = {}, {}
        for name, requests in self.requests.items():
            held = self.shard_rows[name]
            slots[name] = buffer_slots(requests, turn, held, self.devices, self.caps[name])
            rows[name] = requests.rows % held
        return self.send(rows, slots, self.shard_rows), slots

    def send(self, values: Arrays, slots: Arrays, fill: Mapping[str, int] | None = None) -> dict[str, jax.Array]:
        """Carries one value a requested row to the row's owner.

        Args:
          values: {table: [U] or [U, D]}.
          slots: of `ask`.
          fill: {table: what empty buffer slots hold}; None for zeros.

        Returns:
          {table: [n * C] or [n * C, D]}: what the n devices sent here.
        """
        buffers = {}
        for name, x in values.items():
            shape = (self.devices * self.caps[name], *x.shape[1:])
            empty = jnp.full_like(x, fill[name] if fill else 0, shape=shape)
            buffers[name] = empty.at[slots[name]].set(x, mode='drop')
        return self._swap(buffers)

    def send_back(self, values: Arrays, slots: Arrays) -> dict[str, jax.Array]:
        """Carries the owners' answers {table: [n * C, D]}, in the order of the requests, back in the slots of `ask`.

        Returns {table: [U, D]}, zeros where a row did not travel in this round.
        """
        swapped = self._swap(values)
        return {name: x.at[slots[name]].get(mode='fill', fill_value=0) for name, x in swapped.items()}

    def _swap(self, buffers: Arrays) -> dict[str, jax.Array]:
        """One all-to-all for all buffers: each has a latency, and XLA takes long to route one."""
        blocks = [x.reshape(self.devices, -1) for x in buffers.values()]
        swapped = jax.lax.all_to_all(jnp.concatenate(blocks, 1), self.axes, 0, 0)
        ends = list(itertools.accumulate(x.shape[1] for x in blocks))
        cut = jnp.split(swapped, ends[:-1], 1)
        return {name: piece.reshape(x.shape) for (name, x), piece in zip(buffers.items(), cut, strict=True)}


def make_exchange(ids: Arrays, shard_rows: Mapping[str, int], devices: int, factor: float, axes: Axes) -> Exchange:
    """Makes the requests of all tables.

    Args:
      ids: {table: int32 [m]}, global row ids of this device; `n * S` where there is nothing to ask.
      shard_rows, devices: {table: S} and n.
      factor, axes: of `capacity`, and the mesh axes that the rows are sharded over.
    """
    caps = {name: capacity(x.shape[0], devices, factor) for name, x in ids.items()}
    requests = {name: make_requests(x, shard_rows[name] * devices) for name, x in ids.items()}
    asked = {name: one.rows for name, one in requests.items()}
    rounds = _count_rounds(asked, shard_rows, devices, caps, axes)
    requests = {name: one._replace(rounds=rounds[name]) for name, one in requests.items()}
    return Exchange(requests, {name: shard_rows[name] for name in ids}, caps, devices, axes)
