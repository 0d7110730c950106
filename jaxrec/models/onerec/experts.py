"""The feed-forward of OneRec's decoder: one net, or a mixture of experts (arXiv 2502.18965, eq. 2).

B batch, T tokens, X width, N layers, E experts.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxrec.models.onerec.options import Network
from jaxrec.models.transformer.layers import feed_dense
from jaxrec.ops.experts.grouped import Experts
from jaxrec.ops.experts.moe import MoeInfo
from jaxrec.ops.experts.routing import update_bias
from jaxrec.ops.transformer import Drop
from jaxrec.parallel.experts import AXIS, sharded_moe_ffn

Tree = Mapping[str, Any]
# Experts lie stacked over layers, [N, E, ...].
RULES = ((r'decoder/feed/(up|down)$', jax.P(None, AXIS)),)
FeedOf = Callable[[Tree, jax.Array, jax.Array | None, Drop | None], tuple[jax.Array, Any]]


def require_even(experts: int, mesh: Mesh) -> None:
    """Refuses experts that the axis 'model' of a mesh cannot share evenly, naming the key and what would do."""
    devices, size = mesh.shape[AXIS], mesh.size
    if experts % devices == 0:
        return
    most = max(n for n in range(1, devices) if experts % n == 0 and size % n == 0)
    raise ValueError(
        f"model.experts = {experts} cannot be shared out evenly over the {devices} devices along 'model' of the mesh "
        f'{size // devices} x {devices}: give a multiple of {devices}, such as {-(-experts // devices) * devices}, or '
        f"a mesh whose 'model' divides {experts}, such as --mesh={size // most},{most}"
    )


def feed_of(network: Network, real: jax.Array, mesh: Mesh | None = None) -> FeedOf:
    """Returns the feed-forward of every decoder layer; `real` [B, T] is 0 for tokens that are padding.

    It is (weights of a layer, float [B, T, X], router bias float [E] or None, dropout in training or None to score) ->
    (float [B, T, X], `MoeInfo` or None of a dense net). Scoring passes through all chosen experts whatever
    `expert_impl` is: a token's scores must not depend on the others of its batch.
    """

    def dense(weights: Tree, x: jax.Array, bias: jax.Array | None, drop: Drop | None) -> tuple[jax.Array, Any]:
        del bias
        return feed_dense(weights, x, network.activation, drop), None

    def mix(weights: Tree, x: jax.Array, bias: jax.Array | None, drop: Drop | None) -> tuple[jax.Array, Any]:
        return sharded_moe_ffn(
            x, weights['router'], Experts(weights['feed']['up'], weights['feed']['down']), mesh=mesh,
            top_k=network.active, dispatch=network.dispatch, impl='ragged' if drop is None else network.expert_impl,
            capacity_factor=network.capacity_factor, activation=network.activation, mask=real, bias=bias,
            renormalise=network.renormalise,
        )  # fmt: skip

    return mix if network.experts else dense


def expert_losses(network: Network, told: MoeInfo) -> tuple[jax.Array, dict[str, jax.Array]]:
    """What experts add to the loss, float32 [], and metrics of them.

    'dropped' is the share of choices that found no expert, 'load_max' the load of the busiest expert of any layer in
    units of an even one, 'balance' and 'router_z' the layers' mean losses. `told` has arrays with a leading axis N.
    """
    even = jnp.maximum(told.load.mean(-1, keepdims=True), 1e-9)
    metrics = {'dropped': told.dropped.mean(), 'load_max': (told.load / even).max()}
    metrics |= {'balance': told.balance_loss.mean(), 'router_z': told.z_loss.mean()}
    extra = network.balance * told.balance_loss.sum() + network.z_loss * told.z_loss.sum()
    return extra, metrics


def new_biases(network: Network, biases: jax.Array, told: MoeInfo) -> jax.Array:
    """Moves the routers' biases towards even loads: float32 [N, E]."""
    return jax.vmap(lambda bias, load: update_bias(bias, load, network.bias_rate))(biases, told.load)
