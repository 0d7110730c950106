"""Routers of a mixture of experts: probabilities, the experts chosen, gates, and what keeps loads even; all float32.

OneRec (arXiv 2502.18965, eq. 2) gates by the softmax over experts inside the top k, and names no balancing. Here are
the auxiliary loss of Switch (arXiv 2101.03961, eq. 4), the router z-loss of ST-MoE (arXiv 2202.08906, eq. 5), and the
bias without a loss of DeepSeek (arXiv 2408.15664).

T tokens, D width, E experts, K experts chosen a token.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class RouterSums(NamedTuple):
    """Sums over real tokens, from which losses follow; those of several devices are added first.

    Attributes:
      load, probability: float32 [E], how often each expert was chosen, and summed probabilities.
      z, tokens: float32 [], summed squares of log sum exp of the logits, and real tokens.
    """

    load: jax.Array
    probability: jax.Array
    z: jax.Array
    tokens: jax.Array


class Routing(NamedTuple):
    """Where tokens go.

    Attributes:
      expert: int32 [T, K], the chosen experts, the best first; E for padding.
      gate: float32 [T, K], the weights of their outputs; 0 for padding.
      sums: what losses and loads are computed from.
    """

    expert: jax.Array
    gate: jax.Array
    sums: RouterSums


def route(
    x: jax.Array,
    router: jax.Array,
    *,
    top_k: int,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
    renormalise: bool = False,
) -> Routing:
    """Chooses each token's experts and their gates (OneRec, eq. 2); of equal scores the expert of the lower number.

    Args:
      x: float [T, D].
      router: float [D, E].
      top_k: K.
      mask: bool or float [T], 1 for real tokens; None when all are.
      bias: float [E], added to the probabilities where experts are chosen, and nowhere else; None for none.
      renormalise: whether a token's gates are divided by their sum; the paper leaves them as they are.

    Raises:
      ValueError: more experts are chosen than there are, or none.
    """
    chex.assert_rank([x, router], 2)
    experts = router.shape[1]
    if not 1 <= top_k <= experts:
        raise ValueError(f'top_k={top_k} of {experts} experts: choose from 1 to {experts}')
    logits = x.astype(jnp.float32) @ router.astype(jnp.float32)
    probability = jax.nn.softmax(logits)  # [T, E]
    score = probability if bias is None else probability + bias.astype(jnp.float32)
    expert = jax.lax.top_k(jax.lax.stop_gradient(score), top_k)[1]
    gate = jnp.take_along_axis(probability, expert, 1)  # [T, K]
    if renormalise:
        gate /= jnp.maximum(gate.sum(1, keepdims=True), jnp.finfo(jnp.float32).tiny)
    real = jnp.ones_like(gate[:, 0], bool) if mask is None else mask > 0
    expert = jnp.where(real[:, None], expert, experts)
    z = jax.nn.logsumexp(logits, 1) ** 2
    sums = RouterSums(
        jnp.zeros_like(probability[0]).at[expert].add(1.0, mode='drop'),
        jnp.where(real[:, None], probability, 0).sum(0),
        jnp.where(real, z, 0).sum(),
        real.sum(dtype=jnp.float32),
    )
    return Routing(expert, jnp.where(real[:, None], gate, 0), sums)


def router_losses(sums: RouterSums) -> tuple[jax.Array, jax.Array]:
    """The losses of a router from its sums over all tokens of a batch; both are 0 where there is no real token.

    Returns:
      Two float32 []: E * sum_e f_e * P_e, with f_e the share of all choices that fell on expert e and P_e its mean
      probability, which is 1 when both are even; and the mean square of log sum exp of the logits.
    """
    tokens = jnp.maximum(sums.tokens, 1)
    share = sums.load / jnp.maximum(sums.load.sum(), 1)
    balance = sums.load.shape[0] * jnp.sum(jax.lax.stop_gradient(share) * sums.probability / tokens)
    return balance, sums.z / tokens


def update_bias(bias: jax.Array, load: jax.Array, rate: float = 1e-3) -> jax.Array:
    """Moves the router's bias float32 [E] by a rate towards even loads (arXiv 2408.15664, algorithm 1).

    The load float [E] is that of the last batch. The bias rises for experts below the mean load and falls above it.
    """
    chex.assert_equal_shape([bias, load])
    load = load.astype(jnp.float32)
    return bias + rate * jnp.sign(load.mean() - load)
