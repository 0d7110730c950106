"""Writing rows: duplicates summed over all features, one global norm with the dense gradients, one row rule, in place.

Donate `tables`, `slots` and `scratch`, or every step copies them.

B batch, V rows, S rows of one shard, n devices, m ids, D width.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxrec.embeddings import exchange as ex
from jaxrec.embeddings.arrivals import Arrivals, apply_later, arrive, later_squares
from jaxrec.embeddings.duplicates import RowSums, choose_strategy, sum_dense, sum_duplicates
from jaxrec.embeddings.lookup import EXCHANGES, Features, choose_exchange, pad_batch
from jaxrec.embeddings.optimizers import RowOptimizer, Slots
from jaxrec.embeddings.table import Table, cut_rows, padded_rows, place_rows

Arrays = dict[str, jax.Array]


class UpdateInfo(NamedTuple):
    """What an update reports.

    Attributes:
      norm: float32 [], global norm over dense gradients and summed rows, before clipping.
      scale: float32 [], what all gradients were multiplied by; 1 without clipping.
      rounds: int32 [], all-to-all rounds of the fullest table; 1 means that every buffer fitted.
      moves: bool [], whether rows were moved; False only of an update that asked `if_finite`.
    """

    norm: jax.Array
    scale: jax.Array
    rounds: jax.Array
    moves: jax.Array


def init_slots(specs: Mapping[str, Table], default: RowOptimizer, mesh: Mesh | None = None) -> dict[str, Slots]:
    """Makes the optimizer state {table: {slot: [V padded] or [V padded, D]}} of all tables, sharded as they are.

    `default` is the optimizer of tables that name none.
    """
    devices, _ = cut_rows(mesh)
    make = lambda spec: (spec.optimizer or default).init(padded_rows(spec.rows, devices), spec.dim)
    make_all = lambda: {name: make(spec) for name, spec in specs.items()}
    places = jax.tree.map(lambda x: place_rows(mesh, x.shape), jax.eval_shape(make_all))
    return jax.jit(make_all, out_shardings=places)()


def choose_strategies(
    specs: Mapping[str, Table],
    ids: Mapping[str, Features],
    mesh: Mesh | None = None,
    exchange: str | None = None,
    capacity_factor: float = 1.25,
) -> dict[str, str]:
    """Picks how each table sums duplicates, from static sizes.

    Args:
      specs, ids: {table: Table} and {table: {feature: [B, ...]}}; shapes are enough.
      mesh, exchange, capacity_factor: as for `update`.

    Returns:
      {table: 'dense', 'scratch' or 'sort'}.
    """
    devices, _ = cut_rows(mesh)
    # Of the devices that are compiled for, which need not be those at hand.
    platform = None if mesh is None else mesh.devices.flat[0].platform
    strategies = {}
    for name, features in ids.items():
        arriving = sum(x.size for x in features.values())
        if devices > 1 and (exchange or choose_exchange(devices)) == 'all_to_all':
            arriving = devices * ex.capacity(-(-arriving // devices), devices, capacity_factor)
        held = padded_rows(specs[name].rows, devices) // devices
        strategies[name] = choose_strategy(held, arriving, platform)
    return strategies


def init_scratch(specs: Mapping[str, Table], strategies: Mapping[str, str], mesh: Mesh | None = None) -> Arrays:
    """Makes the work arrays int32 [V padded] of the tables of strategy `scratch`; their content never matters."""
    devices, sharding = cut_rows(mesh)
    return {
        name: jnp.zeros(padded_rows(specs[name].rows, devices), jnp.int32, device=sharding)
        for name, strategy in strategies.items()
        if strategy == 'scratch'
    }


def update(
    specs: Mapping[str, Table],
    default: RowOptimizer,
    tables: Arrays,
    slots: dict[str, Slots],
    scratch: Arrays,
    ids: Mapping[str, Features],
    grads: Mapping[str, Features],
    step: jax.Array,
    *,
    strategies: Mapping[str, str],
    dense_norm: jax.Array | float = 0.0,
    clip_norm: float | None = None,
    mesh: Mesh | None = None,
    exchange: str | None = None,
    capacity_factor: float = 1.25,
    if_finite: jax.Array | None = None,
) -> tuple[Arrays, dict[str, Slots], Arrays, UpdateInfo]:
    """Applies the gradients of looked-up rows to their tables.

    Args:
      specs, default: {table: Table}, and the optimizer of tables that name none.
      tables, slots, scratch: of `init_tables`, `init_slots` and `init_scratch`; donate all three.
      ids: {table: {feature: int32 [B, ...]}}, as for `lookup`. Ids 0 and ids outside [0, V) move nothing.
      grads: {table: {feature: float32 [B, ..., D]}}.
      step: int32 [], counted from 1.
      strategies: {table: strategy}, from `choose_strategies`.
      dense_norm, clip_norm: the norm of the dense gradients, which shares the clipping; and the largest global norm,
        None does not clip.
      mesh, exchange, capacity_factor: as for `lookup`.
      if_finite: float [], such as the loss: rows and slots keep every bit unless it and the norm are finite. None skips
        the check.

    Returns:
      New tables, slots and scratch, and what happened.

    Raises:
      ValueError: an unknown exchange or strategy.
    """
    devices = 1 if mesh is None else mesh.size
    exchange = exchange or choose_exchange(devices)
    if exchange not in EXCHANGES:
        raise ValueError(f'exchange {exchange!r} does not exist; choose one of {EXCHANGES}')
    axes = () if mesh is None or devices == 1 else tuple(mesh.axis_names)

    asks = if_finite is not None
    context = _Context(specs, default, strategies, clip_norm, exchange, capacity_factor, axes, asks)
    step, dense_norm = jnp.asarray(step, jnp.int32), jnp.asarray(dense_norm, jnp.float32)
    asked = dense_norm if if_finite is None else if_finite
    if not axes:
        return _update_shard(context, tables, slots, scratch, ids, grads, step, dense_norm, asked)
    cut, whole = jax.P(axes), jax.P()
    ids, grads = ({k: pad_batch(v, devices) for k, v in tree.items()} for tree in (ids, grads))
    return jax.shard_map(
        functools.partial(_update_shard, context),
        mesh=mesh,
        in_specs=(cut, cut, cut, cut, cut, whole, whole, whole),
        out_specs=(cut, cut, cut, whole),
    )(tables, slots, scratch, ids, grads, step, dense_norm, asked)


class _Context(NamedTuple):
    """What is static in an update."""

    specs: Mapping[str, Table]
    default: RowOptimizer
    strategies: Mapping[str, str]
    clip_norm: float | None
    exchange: str
    capacity_factor: float
    axes: ex.Axes
    asks: bool


def _update_shard(
    context: _Context,
    tables: Arrays,
    slots: dict[str, Slots],
    scratch: Arrays,
    ids: Mapping[str, Features],
    grads: Mapping[str, Features],
    step: jax.Array,
    dense_norm: jax.Array,
    asked: jax.Array,
) -> tuple[Arrays, dict[str, Slots], Arrays, UpdateInfo]:
    """The update of one device's shards; collectives where `context.axes` names mesh axes."""
    specs, axes = context.specs, context.axes
    tables, slots, scratch = dict(tables), dict(slots), dict(scratch)
    arrivals, sums, used = _sum(context, tables, ids, grads, scratch)
    scratch |= used
    squares = jnp.float32(0)
    for summed in sums.values():
        squares += jnp.sum(summed.sums**2)
    squares += later_squares(arrivals, {name: tables[name].shape[0] for name in ids})
    norm = jnp.sqrt((jax.lax.psum(squares, axes) if axes else squares) + dense_norm**2)
    clip = context.clip_norm
    scale = jnp.ones_like(norm) if clip is None else jnp.minimum(1.0, clip / jnp.maximum(norm, 1e-16))
    moves = jnp.isfinite(norm) & jnp.isfinite(asked) if context.asks else jnp.bool_(True)

    def apply(name: str, table: jax.Array, slots: Slots, sums: RowSums, dense: bool = False) -> tuple[jax.Array, Slots]:
        rule = (specs[name].optimizer or context.default).update
        move = moves if context.asks else None
        return apply_rows(rule, table, slots, sums, scale=scale, step=step, dense=dense, moves=move)

    for name in ids:
        dense = context.strategies[name] == 'dense'
        tables[name], slots[name] = apply(name, tables[name], slots[name], sums[name], dense)
    tables, slots = apply_later(arrivals, apply, tables, slots)
    return tables, slots, scratch, UpdateInfo(norm, scale, arrivals.rounds, moves)


def _sum(
    context: _Context, shards: Arrays, ids: Mapping[str, Features], grads: Mapping[str, Features], scratch: Arrays
) -> tuple[Arrivals, dict[str, RowSums], Arrays]:
    """Brings all gradients to their shards, and sums those of the first round; what scratch has become."""
    specs, sums, used = context.specs, {}, {}
    flat = {name: _by_feature(specs[name], ids[name], grads[name]) for name in ids}
    joined = {name: [jnp.concatenate(side) for side in sides] for name, sides in flat.items()}
    all_ids, all_grads = ({name: sides[i] for name, sides in joined.items()} for i in (0, 1))
    arrivals = arrive(specs, shards, all_ids, all_grads, context.exchange, context.capacity_factor, context.axes)
    for name, first in arrivals.first.items():
        strategy, count = context.strategies[name], shards[name].shape[0]
        if strategy == 'dense' and not context.axes:
            # Feature by feature: what was laid end to end would be a copy of every gradient, and goes unused.
            owned = [ex.owned_ids(x, specs[name].rows, count) for x in flat[name][0]]
            sums[name] = sum_dense(owned, flat[name][1], count)
            continue
        sums[name], left = sum_duplicates(*first, count, strategy, scratch.get(name))
        if left is not None:
            used[name] = left
    return arrivals, sums, used


def _by_feature(spec: Table, ids: Features, grads: Features) -> tuple[list[jax.Array], list[jax.Array]]:
    """Ids [m] and gradients [m, D] of each feature, in the order of their names."""
    names = sorted(ids)
    return [ids[key].reshape(-1) for key in names], [grads[key].reshape(-1, spec.dim) for key in names]


def apply_rows(
    rule: Callable,
    table: jax.Array,
    slots: Slots,
    sums: RowSums,
    *,
    scale: jax.Array,
    step: jax.Array,
    dense: bool = False,
    moves: jax.Array | None = None,
) -> tuple[jax.Array, Slots]:
    """Applies a row rule to the rows that `sums` names.

    Args:
      rule, table, slots: `RowOptimizer.update`, float32 [S, D], and {slot: [S] or [S, D]}.
      sums: rows [n] and sums [n, D].
      scale, step: float32 [], multiplies the gradients; and int32 [], counted from 1.
      dense: the sums are those of the `dense` strategy, entry v belongs to row v.
      moves: bool [], whether any row does; None for yes.

    Returns:
      The new table and slots; rows that are not named keep every bit.
    """
    grads = sums.sums * scale
    if moves is not None:  # to select among whole tables would read and write every row
        sums = sums._replace(rows=jnp.where(moves, sums.rows, table.shape[0]))
    if dense:
        touched = sums.rows < table.shape[0]
        delta, new = rule(grads, slots, step)
        keep = lambda a, b: jnp.where(touched.reshape(-1, *[1] * (b.ndim - 1)), a, b)
        return keep(table + delta, table), {k: keep(new[k], slots[k]) for k in slots}
    held = {k: v.at[sums.rows].get(mode='fill', fill_value=0) for k, v in slots.items()}
    delta, new = rule(grads, held, step)
    table = table.at[sums.rows].add(delta, mode='drop')
    return table, {k: slots[k].at[sums.rows].set(new[k], mode='drop') for k in slots}
