"""The mixture-of-experts feed-forward of OneRec (arXiv 2502.18965, eq.

2), on one device; sharded in `parallel.experts`.

* `ragged`: tokens are sorted by expert and nothing is dropped, however uneven the loads are.
* `capacity`: every expert has a fixed number of slots; choices without one are dropped, and counted. Slots go to first
  choices before second ones, and to earlier tokens before later ones.

T tokens, K experts chosen a token, N = K * T choices, E experts, C slots, D width, F hidden width.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.ops.experts.dispatch import Trip, collect, make_trip, send, sort_by_group
from jaxrec.ops.experts.grouped import ACTIVATIONS, Experts, check_experts, grouped_ffn
from jaxrec.ops.experts.routing import route, router_losses
from jaxrec.ops.sorting import vary_like

IMPLEMENTATIONS = ('capacity', 'ragged')


class MoeInfo(NamedTuple):
    """What a training loop reports.

    Attributes:
      dropped: float32 [], the share of real tokens' choices that found no slot.
      load: float32 [E], how often each expert was chosen, dropped or not.
      balance_loss: float32 [], of Switch, 1 at even loads; to be weighted and added by the caller.
      z_loss: float32 [], the mean square of log sum exp of the router's logits, likewise.
      rounds: int32 [], rounds that an exchange between devices took; 1 without one.
    """

    dropped: jax.Array
    load: jax.Array
    balance_loss: jax.Array
    z_loss: jax.Array
    rounds: jax.Array


def moe_ffn(
    x: jax.Array,
    router: jax.Array,
    experts: Experts,
    *,
    top_k: int,
    impl: str = 'ragged',
    capacity_factor: float = 1.25,
    activation: str = 'swiglu',
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
    renormalise: bool = False,
    kernel: str | None = None,
) -> tuple[jax.Array, MoeInfo]:
    """Sends every token through its top-k experts and adds their outputs, weighted by the gates (eq. 2).

    The residual is the caller's. On a mesh of several devices call `parallel.sharded_moe_ffn`.

    Args:
      x: float [..., D], tokens; products are made in its dtype, the router in float32.
      router: float [D, E].
      experts: up [E, D, H] and down [E, F, D].
      top_k: K.
      impl: 'ragged' or 'capacity'.
      capacity_factor: slots above an even spread, for 'capacity'; with E / K nothing is ever dropped.
      activation: 'swiglu', 'geglu' (H = 2 * F), 'gelu' or 'relu' (H = F).
      mask: bool or float [...], 1 for real tokens; padding takes no slot, counts in no load and gets zeros.
      bias: float [E], of the loss-free balancing; see `routing.update_bias`.
      renormalise: whether a token's gates are divided by their sum.
      kernel: of `grouped_ffn`, for 'ragged'.

    Returns:
      [..., D] of x's dtype, and the info.

    Raises:
      ValueError: an option that does not exist or is out of its range, or shapes that do not fit.
    """
    check_moe(x, router, experts, impl, capacity_factor, activation)
    flat = jnp.asarray(x).reshape(-1, x.shape[-1])
    mask = None if mask is None else mask.reshape(-1)
    routing = route(flat, router, top_k=top_k, mask=mask, bias=bias, renormalise=renormalise)
    slots = capacity(flat.shape[0], top_k, router.shape[1], capacity_factor)
    y, kept = apply_experts(
        flat, routing.expert, routing.gate, experts, impl=impl, slots=slots, activation=activation, kernel=kernel
    )
    dropped = dropped_share(kept, routing.sums.load)
    info = MoeInfo(dropped, routing.sums.load, *router_losses(routing.sums), jnp.int32(1))
    return y.reshape(x.shape), info


def check_moe(
    x: jax.Array, router: jax.Array, experts: Experts, impl: str, capacity_factor: float, activation: str
) -> None:
    """Refuses options and shapes that `moe_ffn`, whose arguments these are, cannot use, by a ValueError."""
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f'impl {impl!r} does not exist; choose one of {IMPLEMENTATIONS}')
    if not capacity_factor > 0:
        raise ValueError(f'capacity_factor={capacity_factor}: experts need slots; give it above 0, such as 1.25')
    check_experts(experts, activation)
    width = experts.up.shape[1]
    if x.shape[-1] != width or router.shape != (width, experts.up.shape[0]):
        raise ValueError(
            f'x {x.shape}, router {router.shape} and experts.up {experts.up.shape} do not fit: give '
            'x [..., D], router [D, E] and experts.up [E, D, H]'
        )


def capacity(tokens: int, top_k: int, experts: int, factor: float) -> int:
    """C, slots of every expert: at least 1 and at most T, since no token chooses an expert twice.

    Args:
      tokens, top_k, experts: T, K and E.
      factor: room above an even spread.
    """
    return max(1, min(tokens, math.ceil(factor * tokens * top_k / experts)))


def apply_experts(
    x: jax.Array,
    expert: jax.Array,
    gate: jax.Array,
    experts: Experts,
    *,
    impl: str,
    slots: int,
    activation: str,
    kernel: str | None = None,
    typical: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Runs tokens through the experts of this device, and adds the outputs by their gates.

    Args:
      x: float [T, D].
      expert: int32 [T, K]; E, the number of experts here, where a choice is nobody's or another device's.
      gate: float32 [T, K].
      experts, impl, activation, kernel: as for `moe_ffn`.
      slots: C, for 'capacity'.
      typical: choices that an expert usually has.

    Returns:
      [T, D] of x's dtype, and int32 [], the choices that found a slot.
    """
    groups = sort_by_group(expert.T.reshape(-1), experts.up.shape[0])
    if impl == 'ragged':
        trip = Trip(groups.place, groups.order)
        rows = send(x, trip, everything=True)
        out = grouped_ffn(rows, experts, groups.size, activation=activation, kernel=kernel, typical=typical)
        return collect(out, trip, gate, everything=True), groups.size.sum()
    trip = make_trip(groups, slots)
    rows = send(x, trip).reshape(-1, slots, x.shape[1])
    out = expert_ffn(rows, experts, activation).reshape(-1, x.shape[1])
    return collect(out, trip, gate), jnp.minimum(groups.size, slots).sum()


def expert_ffn(rows: jax.Array, experts: Experts, activation: str) -> jax.Array:
    """Runs every expert's network over its slots, float [E, C, D] to [E, C, D]."""
    up, down = (vary_like(w, rows).astype(rows.dtype) for w in experts)
    return ACTIVATIONS[activation](rows @ up) @ down


def dropped_share(kept: jax.Array, load: jax.Array) -> jax.Array:
    """The share of choices (`load` float32 [E]) that found no slot: exactly 0 when all were kept, or none exist."""
    total = load.sum()
    return (total - kept.astype(jnp.float32)) / jnp.maximum(total, 1)
