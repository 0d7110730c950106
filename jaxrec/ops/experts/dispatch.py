"""How rows travel to the groups that their tokens chose, and the results back.

Rows travel by pairs of index arrays that undo one another, so that values and gradients are both gathers: a scatter of
rows is slow on CPUs. Groups are experts, or devices that hold some.

T tokens, K groups chosen a token, N = K * T choices, G groups, C slots of each, P slots in all, D width.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.ops.sorting import argsort, vary_like


class Groups(NamedTuple):
    """Choices sorted by the group that they go to, stably.

    Attributes:
      order, place: int32 [N], the sorted choices, those of no group last; and the position of each choice in `order`.
      start, size: int32 [G], the first position of each group, and its choices.
    """

    order: jax.Array
    place: jax.Array
    start: jax.Array
    size: jax.Array


class Trip(NamedTuple):
    """How choices travel to slots and back: the slot of each choice, int32 [N], and the choice in each slot, int32 [P].

    An index past the end, P or N, is none.
    """

    slot: jax.Array
    choice: jax.Array


def sort_by_group(group: jax.Array, groups: int) -> Groups:
    """Sorts choices by the group they go to, int32 [N], which is the number of groups for those that go nowhere."""
    order = argsort(group)
    place = jnp.zeros_like(order).at[order].set(jnp.arange(order.shape[0], dtype=order.dtype))
    size = jnp.zeros_like(group, shape=(groups,)).at[group].add(1, mode='drop')
    return Groups(order, place, jnp.cumsum(size, dtype=size.dtype) - size, size)


def make_trip(groups: Groups, slots: int, turn: int | jax.Array = 0) -> Trip:
    """Gives the choices of each group its slots, in their order.

    Args:
      groups: G of them.
      slots: C of each group.
      turn: which C choices of each group travel: the first, the second, and so on.

    Returns:
      The trip to P = G * C slots.
    """
    number, count = groups.order.shape[0], groups.size.shape[0]
    rank = turn * slots + jnp.arange(slots, dtype=jnp.int32)  # [C]
    at = jnp.minimum(groups.start[:, None] + rank, number - 1)  # [G, C]
    choice = jnp.where(rank < groups.size[:, None], groups.order[at], number).reshape(-1)
    slot = jnp.full_like(groups.order, count * slots)
    slot = slot.at[choice].set(jnp.arange(count * slots, dtype=slot.dtype), mode='drop')
    return Trip(slot, choice)


def send(x: jax.Array, trip: Trip, everything: bool = False) -> jax.Array:
    """Brings tokens to the slots of their choices.

    Args:
      x: float [T, D]; T divides N, and choice c is of token c mod T.
      trip: from `make_trip`.
      everything: whether all choices travel and fill all slots.

    Returns:
      float [P, D], zeros where a slot is nobody's.
    """
    tokens, number = x.shape[0], trip.slot.shape[0]
    token = jnp.where(trip.choice < number, trip.choice % tokens, tokens)
    return _move(x, token, trip.slot.reshape(-1, tokens), everything)


def bring_back(rows: jax.Array, trip: Trip, everything: bool = False) -> jax.Array:
    """Brings the results [P, D] of slots back to the choices, float [N, D], zeros for those that did not travel."""
    return _move(rows, trip.slot, trip.choice[None], everything)


def collect(rows: jax.Array, trip: Trip, gate: jax.Array, everything: bool = False) -> jax.Array:
    """Brings the results of slots back to the tokens, as `combine` after `bring_back`.

    The rows of choices are never laid out, in the gradient neither: a fifth of the time.

    Args:
      rows: float [P, D].
      trip, everything: as for `send`.
      gate: float32 [T, K].

    Returns:
      [T, D] of the rows' dtype.
    """
    # Alike in their mesh axes before the gradient is written by hand: the sums over axes are JAX's then.
    rows, gate = vary_like(rows, gate), vary_like(gate, rows)
    return _collect(rows, gate, trip.slot.reshape(gate.T.shape), trip.choice, everything)


def combine(rows: jax.Array, gate: jax.Array) -> jax.Array:
    """Adds the outputs of a token's choices by their gates, in float32.

    Args:
      rows: float [K * T, D], the outputs of all first choices before those of all second ones.
      gate: float32 [T, K].

    Returns:
      [T, D] of the rows' dtype.
    """
    tokens, choices = gate.shape
    parts = rows.reshape(choices, tokens, -1).astype(jnp.float32) * gate.T[..., None]
    return parts.sum(0).astype(rows.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _move(x: jax.Array, index: jax.Array, back: jax.Array, everything: bool) -> jax.Array:
    """Gathers rows; `back` [K, R] says for each row of x which results it went to, for the gradient."""
    return _take(x, index, everything)


def _move_fwd(x, index, back, everything):
    return _take(x, index, everything), back


def _move_bwd(everything, back, of_out):
    return sum(_take(of_out, to, everything) for to in back), None, None


_move.defvjp(_move_fwd, _move_bwd)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _collect(rows: jax.Array, gate: jax.Array, slot: jax.Array, choice: jax.Array, everything: bool) -> jax.Array:
    parts = [_take(rows, at, everything) * gate[:, k, None] for k, at in enumerate(slot)]
    return sum(parts[1:], parts[0]).astype(rows.dtype)


def _collect_fwd(rows, gate, slot, choice, everything):
    return _collect(rows, gate, slot, choice, everything), (rows, gate, slot, choice)


def _collect_bwd(everything, kept, of_out):
    rows, gate, slot, choice = kept
    tokens, of_out = gate.shape[0], of_out.astype(jnp.float32)
    of_rows = _take(gate.T.reshape(-1), choice, everything)[:, None] * _take(of_out, choice % tokens, True)
    of_gate = [jnp.sum(_take(rows, at, everything) * of_out, -1) for at in slot]
    return of_rows.astype(rows.dtype), jnp.stack(of_gate, -1), None, None


_collect.defvjp(_collect_fwd, _collect_bwd)


def _take(x: jax.Array, index: jax.Array, everything: bool) -> jax.Array:
    if everything:  # no bounds to check
        return x.at[index].get(mode='promise_in_bounds', wrap_negative_indices=False)
    return x.at[index].get(mode='fill', fill_value=0, wrap_negative_indices=False)
