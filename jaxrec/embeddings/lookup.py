"""Reading rows: one lookup a table over all its features, on one device or row-sharded, with the same call.

Two ways to fetch rows that other devices own:

* `gather_ids`: every device sees all ids, reads the rows it owns, and a reduce-scatter distributes them. One all-gather
  and one reduce-scatter, no capacity, bytes ~ B * D * n. The default up to 8 devices.
* `all_to_all`: ids are made unique and sent to their owners, rows come back. Bytes ~ B * D. The default beyond.

Ids outside [0, V) read zeros, as padding does; they never wrap or clamp. `check_ids` refuses them on the host.

B batch, V rows, S rows of one shard, n devices, D width.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxrec.embeddings import exchange as ex
from jaxrec.embeddings.table import Table
from jaxrec.ops.sorting import vary_like

Features = Mapping[str, jax.Array]  # {feature: [B, ...]}
EXCHANGES = ('gather_ids', 'all_to_all')
GATHER_IDS_UP_TO = 8


def choose_exchange(devices: int) -> str:
    """The default way to move rows between n devices: 'gather_ids' up to 8 of them, 'all_to_all' beyond."""
    return 'gather_ids' if devices <= GATHER_IDS_UP_TO else 'all_to_all'


def lookup(
    specs: Mapping[str, Table],
    tables: Mapping[str, jax.Array],
    ids: Mapping[str, Features],
    *,
    mesh: Mesh | None = None,
    exchange: str | None = None,
    capacity_factor: float = 1.25,
) -> dict[str, dict[str, jax.Array]]:
    """Reads the rows of every feature.

    Not to be differentiated: take gradients with respect to what it returns and pass them to `update`.

    Args:
      specs: {table: Table}.
      tables: {table: float32 [V padded, D]} as made by `init_tables` for the same mesh.
      ids: {table: {feature: int32 [B, ...]}}.
      mesh: the mesh that rows (and batches) are sharded over; None or one device: a plain gather.
      exchange: 'gather_ids' or 'all_to_all'; None takes `choose_exchange`.
      capacity_factor: room in all-to-all buffers above an even spread; too little costs rounds, never rows.

    Returns:
      {table: {feature: float32 [B, ..., D]}}, sharded over B as the ids are.

    Raises:
      ValueError: an unknown exchange.
    """
    devices = 1 if mesh is None else mesh.size
    if mesh is None or devices == 1 or not ids:
        # Feature by feature: cutting one gather of all ids into features would copy every row once more.
        found = {name: _each(tables[name], ids[name], specs[name].rows) for name in ids}
        # Without the barrier XLA fuses the gather into every use of the rows and reads the table for each.
        found = jax.lax.optimization_barrier(found)
        return {name: {key: found[name][key] for key in ids[name]} for name in ids}  # in the given order
    exchange = exchange or choose_exchange(devices)
    if exchange not in EXCHANGES:
        raise ValueError(f'exchange {exchange!r} does not exist; choose one of {EXCHANGES}')
    batch = {name: batch_size(features) for name, features in ids.items()}
    ids = {name: pad_batch(features, devices) for name, features in ids.items()}
    axes = tuple(mesh.axis_names)

    def body(tables: dict[str, jax.Array], ids: dict[str, Features]) -> dict[str, dict[str, jax.Array]]:
        flat = {
            name: ex.owned_ids(flatten(features), specs[name].rows, devices * tables[name].shape[0])
            for name, features in ids.items()
        }
        if exchange == 'gather_ids':
            found = {name: _gather_ids(name, tables[name], flat[name], axes) for name in ids}
        else:
            found = _all_to_all(tables, flat, devices, capacity_factor, axes)
        return {name: _split(found[name], features) for name, features in ids.items()}

    used = {name: tables[name] for name in ids}
    spec = jax.P(axes)
    rows = jax.shard_map(body, mesh=mesh, in_specs=(spec, spec), out_specs=spec)(used, ids)
    return {name: {k: v[: batch[name]] for k, v in features.items()} for name, features in rows.items()}


def pad_batch(features: Features, devices: int) -> dict[str, jax.Array]:
    """Pads {feature: [B, ...]} with zeros to a multiple of n devices; the arrays themselves when n divides B."""
    extra = -batch_size(features) % devices
    if not extra:
        return dict(features)
    return {k: jnp.pad(v, [(0, extra)] + [(0, 0)] * (v.ndim - 1)) for k, v in features.items()}


def batch_size(features: Features) -> int:
    """B, the leading size that all features share."""
    return next(iter(features.values())).shape[0]


def flatten(features: Features) -> jax.Array:
    """Concatenates all features' ids [B, ..., *] of a table, in the order of their names, to [m]."""
    return jnp.concatenate([ids.reshape(-1) for _, ids in sorted(features.items())])


def _split(rows: jax.Array, features: Features) -> dict[str, jax.Array]:
    """Cuts [m, D] back into {feature: [B, ..., D]}, in the order of `flatten`."""
    out, start = {}, 0
    for name, ids in sorted(features.items()):
        out[name] = rows[start : start + ids.size].reshape(*ids.shape, rows.shape[-1])
        start += ids.size
    return out


def _each(table: jax.Array, features: Features, rows: int) -> dict[str, jax.Array]:
    """Reads the rows of every feature of a table that one device holds, [B, ..., D]."""
    return {
        name: _local(table, ids.reshape(-1), rows).reshape(*ids.shape, table.shape[1]) for name, ids in features.items()
    }


def _local(shard: jax.Array, ids: jax.Array, rows: int) -> jax.Array:
    # Row 0 is zeros and never moves, so other ids read it: no bounds to check and nothing to fill in. XLA's
    # CPU backend finds each number's row anew, which takes longer than to read it: unsigned, negative ids
    # are above all rows, and one comparison does. With three it took 22 ms, not 4, for 1M rows of 16.
    ids = jnp.where(jnp.asarray(ids).astype(jnp.uint32) < rows, ids, 0)
    return shard.at[ids].get(mode='promise_in_bounds', wrap_negative_indices=False)


def _gather_ids(name: str, shard: jax.Array, ids: jax.Array, axes: ex.Axes) -> jax.Array:
    with jax.named_scope(f'lookup_{name}'):
        ids = jax.lax.all_gather(ids, axes, tiled=True) - jax.lax.axis_index(axes) * shard.shape[0]
        found = shard.at[ids].get(mode='fill', fill_value=0, wrap_negative_indices=False)
        return jax.lax.psum_scatter(found, axes, scatter_dimension=0, tiled=True)


def _all_to_all(shards: ex.Arrays, ids: ex.Arrays, devices: int, factor: float, axes: ex.Axes) -> dict[str, jax.Array]:
    """The rows [m, D] of the ids of each table."""
    exchange = ex.make_exchange(ids, {name: x.shape[0] for name, x in shards.items()}, devices, factor, axes)

    def one_round(turn: jax.Array, found: dict[str, jax.Array]) -> dict[str, jax.Array]:
        wanted, slots = exchange.ask(turn)
        answers = {name: shards[name].at[wanted[name]].get(mode='fill', fill_value=0) for name in ids}
        return jax.tree.map(jnp.add, found, exchange.send_back(answers, slots))

    start = {
        name: vary_like(jnp.zeros_like(shards[name], shape=(x.shape[0], shards[name].shape[1])), shards[name])
        for name, x in ids.items()
    }
    found = jax.lax.fori_loop(0, exchange.rounds, one_round, start)
    return {name: found[name][exchange.requests[name].slot] for name in ids}
