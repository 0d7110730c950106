"""Summing the gradients of equal ids, three exact ways.

A row rule must see the sum over all occurrences of a row: (g1 + g2)^2 is not g1^2 + g2^2. Which way is fastest depends
on static sizes and on the platform alone:

* `dense`: accumulate into a [V, D] buffer. Best when the table is not much larger than the number of ids.
* `scratch`: each id writes its position into a donated int32 per row and reads it back, so that all duplicates see one
  representative; gradients are summed onto it. No sort and nothing of size V is made. XLA's CPU backend scatters in
  order, so the winner is the last occurrence; where the order is undefined, use `sort`.
* `sort`: sort the ids and sum runs. For GPUs and TPUs.

V rows of this shard, n ids, D width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.ops.sorting import argsort, vary_like

STRATEGIES = ('dense', 'scratch', 'sort')
# A dense pass streams over the table; the others touch random rows. Measured: `python -m
# experiments.benchmark --name=tables_train_100k`, with `--strategy` to force one.
DENSE_ROWS_PER_ID = 4


class RowSums(NamedTuple):
    """Gradients summed by row.

    Attributes:
      rows: int32 [n], each touched row once, V elsewhere; [V] under `dense`, where entry v is v or, untouched, V.
      sums: float32 [n, D], the sum of the row's gradients; zeros where rows is V.
    """

    rows: jax.Array
    sums: jax.Array


def choose_strategy(rows: int, ids: int, platform: str | None = None) -> str:
    """Picks the way to sum duplicates of n ids a step in V rows of a shard; `platform` None asks JAX."""
    if rows <= DENSE_ROWS_PER_ID * ids:
        return 'dense'
    return 'scratch' if (platform or jax.default_backend()) == 'cpu' else 'sort'


def sum_duplicates(
    ids: jax.Array, grads: jax.Array, rows: int, strategy: str, scratch: jax.Array | None = None
) -> tuple[RowSums, jax.Array | None]:
    """Sums the gradients of equal ids.

    Args:
      ids, grads: int32 [n], V means "drop me"; and float32 [n, D].
      rows: V.
      strategy: one of `STRATEGIES`.
      scratch: int32 [V] of any content, only for 'scratch'; donate it.

    Returns:
      The sums, and the scratch to pass in next time (None for the other strategies).

    Raises:
      ValueError: an unknown strategy, or 'scratch' without a scratch array.
    """
    if strategy == 'dense':
        return sum_dense([ids], [grads], rows), None
    if strategy == 'sort':
        return _sort(ids, grads, rows), None
    if strategy != 'scratch':
        raise ValueError(f'duplicate strategy {strategy!r} does not exist; choose one of {STRATEGIES}')
    if scratch is None:
        raise ValueError("strategy 'scratch' needs an int32 [V] array; make it with `init_scratch`")
    return _scratch(ids, grads, rows, scratch)


def sum_dense(ids: Sequence[jax.Array], grads: Sequence[jax.Array], rows: int) -> RowSums:
    """The strategy `dense`, of ids [n] and gradients [n, D] in pieces, which need not be concatenated for it."""
    sums, touched = jnp.zeros((rows, grads[0].shape[1]), grads[0].dtype), jnp.zeros(rows, bool)
    for some, theirs in zip(ids, grads, strict=True):
        sums = _add_rows(sums, some, theirs)
        touched = touched.at[some].set(True, mode='drop')
    return RowSums(jnp.where(touched, jnp.arange(rows, dtype=jnp.int32), rows), sums)


def _add_rows(sums: jax.Array, ids: jax.Array, grads: jax.Array) -> jax.Array:
    """Adds [n, D] to the rows [V, D] of ids [n]; V drops."""
    plain = lambda sums, ids, grads: sums.at[ids].add(grads, mode='drop')
    return jax.lax.platform_dependent(sums, ids, grads, cpu=_add_windows, default=plain)


def _add_windows(sums: jax.Array, ids: jax.Array, grads: jax.Array) -> jax.Array:
    """`_add_rows` as windows [1, D]: XLA's CPU makes them of `.at[ids].add` too, but copies the gradients first."""
    windows = jax.lax.ScatterDimensionNumbers((1, 2), (), (0,))
    mode = jax.lax.GatherScatterMode.FILL_OR_DROP
    return jax.lax.scatter_add(sums, ids[:, None], grads[:, None], windows, mode=mode)


def _scratch(ids: jax.Array, grads: jax.Array, rows: int, scratch: jax.Array) -> tuple[RowSums, jax.Array]:
    position = vary_like(jnp.arange(ids.shape[0], dtype=jnp.int32), ids)
    scratch = scratch.at[ids].set(position, mode='drop')
    # Dropped ids read their own position, so that they never name a real representative.
    chosen = jnp.where(ids < rows, scratch.at[ids].get(mode='fill', fill_value=0), position)
    sums = jnp.zeros_like(grads).at[chosen].add(jnp.where((ids < rows)[:, None], grads, 0))
    return RowSums(jnp.where(chosen == position, ids, rows), sums), scratch


def _sort(ids: jax.Array, grads: jax.Array, rows: int) -> RowSums:
    order = argsort(ids)
    ids, grads = ids[order], grads[order]
    first = jnp.concatenate([jnp.ones_like(ids[:1], bool), ids[1:] != ids[:-1]])
    run = jnp.cumsum(first, dtype=jnp.int32) - 1  # [n], which run each id belongs to
    kept = jnp.where((ids < rows)[:, None], grads, 0)
    sums = jax.ops.segment_sum(kept, run, num_segments=ids.shape[0], indices_are_sorted=True)
    return RowSums(jnp.full_like(ids, rows).at[run].set(ids), sums)
