"""The mixture-of-experts feed-forward with the experts cut over the mesh axis 'model'.

Tokens are cut over both axes, experts over 'model' and repeated over 'data'. Two ways bring them together:

* `ring`: every device gathers the tokens along 'model' and runs its own experts; outputs are added on their way back.
* `all_to_all`: each choice travels to the owner of its expert, in buffers of fixed size, and back.

Under 'ragged' nothing is dropped: what does not fit the all-to-all's buffers travels in further rounds, which are
counted. Under 'capacity' experts have slots: the ring shares them among the tokens that it gathered, the all-to-all
gives each device its own.

T tokens, t of one device, K experts chosen a token, E experts, n devices along 'model', C slots, D width.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxrec.ops.experts.dispatch import Trip, bring_back, collect, combine, make_trip, send, sort_by_group
from jaxrec.ops.experts.grouped import Experts, grouped_ffn
from jaxrec.ops.experts.moe import MoeInfo, apply_experts, capacity, check_moe, dropped_share, expert_ffn, moe_ffn
from jaxrec.ops.experts.routing import Routing, route, router_losses
from jaxrec.ops.sorting import vary_like

DISPATCHES = ('ring', 'all_to_all')
AXIS = 'model'
Kernel = str | None  # as `moe_ffn` takes it


def sharded_moe_ffn(
    x: jax.Array,
    router: jax.Array,
    experts: Experts,
    *,
    mesh: Mesh | None,
    top_k: int,
    dispatch: str = 'ring',
    impl: str = 'ragged',
    capacity_factor: float = 1.25,
    activation: str = 'swiglu',
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
    renormalise: bool = False,
    kernel: str | None = None,
) -> tuple[jax.Array, MoeInfo]:
    """`moe_ffn` on a mesh: the same outputs, losses over the whole batch, and gradients.

    Args:
      x: float [..., D], cut over both axes along its first axis.
      router: float [D, E], repeated on all devices.
      experts: up [E, D, H] and down [E, F, D], cut over 'model' along E.
      mesh: of axes 'data' and 'model'; None or one device: `moe_ffn`.
      top_k: K.
      dispatch: 'ring' or 'all_to_all'.
      impl: 'ragged' or 'capacity'.
      capacity_factor: room above an even spread, of slots and of an all-to-all's buffers.
      activation, renormalise, kernel: see `moe_ffn`.
      mask: bool or float [...], cut as x is.
      bias: float [E].

    Returns:
      [..., D], cut as x is, and the info of the whole batch.

    Raises:
      ValueError: as `moe_ffn`; an unknown dispatch, or experts that the axis 'model' does not divide.
    """
    _check(dispatch, router.shape[1], mesh)
    options: dict[str, Any] = {'impl': impl, 'activation': activation, 'kernel': kernel}
    options['capacity_factor'] = capacity_factor
    choosing: dict[str, Any] = {'top_k': top_k, 'renormalise': renormalise}
    if mesh is None or mesh.size == 1:
        return moe_ffn(x, router, experts, mask=mask, bias=bias, **options, **choosing)
    check_moe(x, router, experts, impl, capacity_factor, activation)
    axes = tuple(mesh.axis_names)
    tokens, mask = _divisible(x.reshape(-1, x.shape[-1]), None if mask is None else mask.reshape(-1), mesh.size)
    run: Any = functools.partial(_ring if dispatch == 'ring' else _all_to_all, **options)

    def body(x, mask, router, bias, experts):
        routing = route(x, router, mask=mask, bias=bias, **choosing)
        y, kept, rounds = run(x, routing, Experts(*(vary_like(w, x) for w in experts)))
        sums = jax.lax.psum(routing.sums, axes)
        dropped = dropped_share(jax.lax.psum(kept, axes), sums.load)
        return y, MoeInfo(dropped, sums.load, *router_losses(sums), jax.lax.pmax(rounds, axes))

    cut, whole = jax.P(axes), jax.P()
    y, info = jax.shard_map(body, mesh=mesh, in_specs=(cut, cut, whole, whole, jax.P(AXIS)), out_specs=(cut, whole))(
        tokens, mask, router, bias, experts
    )
    number = math.prod(x.shape[:-1])
    return (y if len(y) == number else y[:number]).reshape(x.shape), info


def _check(dispatch: str, experts: int, mesh: Mesh | None) -> None:
    if dispatch not in DISPATCHES:
        raise ValueError(f'dispatch {dispatch!r} does not exist; choose one of {DISPATCHES}')
    if mesh is not None and experts % mesh.shape[AXIS]:
        raise ValueError(
            f'{experts} experts over {mesh.shape[AXIS]} devices along {AXIS!r}: make the experts a multiple '
            'of the devices'
        )


def _divisible(x: jax.Array, mask: jax.Array | None, devices: int) -> tuple[jax.Array, jax.Array | None]:
    """Pads tokens to a multiple of the devices, and masks what was added."""
    extra = -x.shape[0] % devices
    if not extra:
        return x, mask
    mask = jnp.ones(x.shape[0], bool) if mask is None else mask
    return jnp.pad(x, ((0, extra), (0, 0))), jnp.pad(mask, (0, extra))


def _ring(
    x: jax.Array,
    routing: Routing,
    experts: Experts,
    impl: str,
    capacity_factor: float,
    activation: str,
    kernel: str | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Outputs of this device's tokens [t, D], choices that its experts took, and rounds: one."""
    here, devices = experts.up.shape[0], jax.lax.axis_size(AXIS)
    gather = functools.partial(jax.lax.all_gather, axis_name=AXIS, tiled=True)
    with jax.named_scope('moe_gather'):
        tokens, expert, gate = gather(x), gather(routing.expert), gather(routing.gate)
    mine = expert - jax.lax.axis_index(AXIS) * here
    mine = jnp.where((mine >= 0) & (mine < here), mine, here)
    number, top_k = expert.shape
    slots = capacity(number, top_k, here * devices, capacity_factor)
    with jax.named_scope('moe_experts'):
        typical = -(-number * top_k // (here * devices))
        y, kept = apply_experts(
            tokens, mine, gate, experts, impl=impl, slots=slots, activation=activation, kernel=kernel, typical=typical
        )
    with jax.named_scope('moe_scatter'):
        y = jax.lax.psum_scatter(y, AXIS, scatter_dimension=0, tiled=True)
    return y, kept, vary_like(jnp.int32(1), kept)


def _all_to_all(
    x: jax.Array,
    routing: Routing,
    experts: Experts,
    impl: str,
    capacity_factor: float,
    activation: str,
    kernel: str | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Outputs of this device's tokens [t, D], its choices that found a slot, and rounds."""
    here, devices = experts.up.shape[0], jax.lax.axis_size(AXIS)
    tokens, top_k = routing.expert.shape
    choice = routing.expert.T.reshape(-1)  # [K * t], first choices first
    if impl == 'capacity':
        groups = sort_by_group(choice, here * devices)
        slots = capacity(tokens, top_k, here * devices, capacity_factor)
        trip = make_trip(groups, slots)
        rows = _swap(send(x, trip), devices).reshape(devices, here, slots, -1)
        of_expert = rows.swapaxes(0, 1).reshape(here, devices * slots, -1)
        out = expert_ffn(of_expert, experts, activation).reshape(here, devices, slots, -1)
        back = _swap(out.swapaxes(0, 1).reshape(-1, x.shape[1]), devices)
        kept = jnp.minimum(groups.size, slots).sum()
        return collect(back, trip, routing.gate), kept, vary_like(jnp.int32(1), kept)
    groups = sort_by_group(jnp.where(choice < here * devices, choice // here, devices), devices)
    most = min(top_k, here) * tokens  # that one owner can be sent
    slots = max(1, min(most, math.ceil(capacity_factor * top_k * tokens / devices)))
    rounds = jax.lax.pmax(jnp.max(-(-groups.size // slots)), AXIS)

    def one_round(turn: int | jax.Array) -> jax.Array:
        trip = make_trip(groups, slots, turn)
        wanted = choice.at[trip.choice].get(mode='fill', fill_value=here * devices)
        wanted = jnp.where(wanted < here * devices, wanted % here, here)
        rows = _run_sorted(_swap(send(x, trip), devices), _swap(wanted, devices), experts, activation, kernel)
        return bring_back(_swap(rows, devices), trip)  # [K * t, D]

    out = _with_further_rounds(one_round, rounds, -(-most // slots))
    return combine(out, routing.gate), groups.size.sum(), vary_like(rounds, x)


def _run_sorted(rows: jax.Array, expert: jax.Array, experts: Experts, activation: str, kernel: str | None) -> jax.Array:
    """Each row of [R, D] through the expert of this device that it came for; zeros where there is none."""
    groups = sort_by_group(expert, experts.up.shape[0])
    trip = Trip(groups.place, groups.order)
    out = grouped_ffn(send(rows, trip, everything=True), experts, groups.size, activation=activation, kernel=kernel)
    return bring_back(out, trip, everything=True)


def _with_further_rounds(one_round: Callable[[int | jax.Array], jax.Array], rounds: jax.Array, most: int) -> jax.Array:
    """The sum of all rounds. The first is straight; the others are skipped unless buffers overflowed.

    A loop of unknown length has no gradient: this one is as long as it can get, and rounds are recomputed for
    gradients.
    """
    first = one_round(0)
    if most == 1:
        return first

    def step(total: jax.Array, turn: jax.Array) -> tuple[jax.Array, None]:
        nothing = lambda turn: vary_like(jnp.zeros_like(total), total)
        return total + jax.lax.cond(turn < rounds, jax.checkpoint(one_round), nothing, turn), None

    def further(total: jax.Array) -> jax.Array:
        return jax.lax.scan(step, total, jnp.arange(1, most, dtype=jnp.int32))[0]

    return jax.lax.cond(rounds > 1, further, lambda total: total, first)


def _swap(x: jax.Array, devices: int) -> jax.Array:
    """Sends the d-th of n parts of [n * C, ...] to device d, and lays what arrives end to end."""
    parts = x.reshape(devices, -1, *x.shape[1:])
    return jax.lax.all_to_all(parts, AXIS, 0, 0).reshape(x.shape)
