"""Chance on top of a policy, with known propensities, so that its log can be used by other estimators.

p = (1 - epsilon) * softmax(score / temperature) + epsilon / pool, over the pool; temperature 0 is the winner.
Epsilon-greedy is this wrapper around the greedy policy at temperature 0. Where requests have `explorable`, the share
epsilon is drawn from that part of the pool, and without any there is none.

B requests, C candidates.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.models.age.policies.events import Arrays
from jaxrec.models.age.policies.policy import Policy, Ranked
from jaxrec.ops.exploration import winners
from jaxrec.training.state import TrainState


class Shown(NamedTuple):
    """What was drawn for a batch of requests."""

    shown: jax.Array  # int32 [B], positions in the pool
    propensity: jax.Array  # float32 [B], the probability with which each was drawn, given the policy's scores


@dataclasses.dataclass(frozen=True)
class Stochastic(Policy):
    """Draws from a policy's scores.

    A base that draws by itself, such as Thompson sampling, is conditioned on its own draw: the propensities are those
    of the chance on top, so give the estimators them and the scores of the same key.
    """

    base: Policy  # the policy
    temperature: float = 0.0  # of the softmax; 0 takes the winner
    epsilon: float = 0.1  # share of requests whose pool is drawn from uniformly

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 <= self.epsilon <= 1:
            raise ValueError(
                f'options.temperature = {self.temperature} and options.epsilon = {self.epsilon}: give a '
                'temperature of 0 or more, and a share in [0, 1]'
            )

    @property
    def table_rows(self) -> Mapping[str, int]:
        """{table: V}."""
        return self.base.table_rows

    def init(self, rng: jax.Array, requests: Arrays) -> TrainState:
        """The base's state."""
        return self.base.init(rng, requests)

    def abstract(self, requests: Arrays) -> TrainState:
        """The base's state, described."""
        return self.base.abstract(requests)

    def with_scratch(self, state: TrainState, requests: Arrays) -> TrainState:
        """The base's restored state with its work space."""
        return self.base.with_scratch(state, requests)

    def learn(self, state: TrainState, events: Arrays) -> TrainState:
        """The base's learning."""
        return self.base.learn(state, events)

    def rank(self, state: TrainState, requests: Arrays, rng: jax.Array) -> Ranked:
        """Returns scores whose winner is a draw, and the base's predictions; arguments are those of `Policy.rank`."""
        ranked, own = self._ranked(state, requests, rng), jax.random.fold_in(rng, 1)
        return Ranked(self._perturb(ranked.score, *_pools(requests), own), ranked.probability)

    def propensities(self, state: TrainState, requests: Arrays, rng: jax.Array) -> jax.Array:
        """Returns the probability of every candidate, float32 [B, C], zeros outside the pool.

        Rows sum to 1 where there is a pool; `rank` with the same typed key `rng` draws from these.
        """
        return self._probabilities(self._ranked(state, requests, rng).score, *_pools(requests))

    def act(self, state: TrainState, requests: Arrays, rng: jax.Array) -> Shown:
        """Draws what to show with the typed key `rng`, to be logged with its propensity."""
        ranked, own = self._ranked(state, requests, rng), jax.random.fold_in(rng, 1)
        pool, explored = _pools(requests)
        shown = winners(self._perturb(ranked.score, pool, explored, own), pool)
        chances = self._probabilities(ranked.score, pool, explored)
        return Shown(shown, jnp.take_along_axis(chances, shown[:, None], 1)[:, 0])

    def _ranked(self, state: TrainState, requests: Arrays, rng: jax.Array) -> Ranked:
        return self.base.rank(state, requests, jax.random.fold_in(rng, 0))

    @functools.cached_property
    def _probabilities(self) -> Any:
        return jax.jit(lambda score, pool, explored: chances(score, pool, self.temperature, self.epsilon, explored))

    @functools.cached_property
    def _perturb(self) -> Any:
        def perturb(score: jax.Array, pool: jax.Array, explored: jax.Array, rng: jax.Array) -> jax.Array:
            # The winner of log p plus Gumbel noise is a draw from p.
            log_p = jnp.log(chances(score, pool, self.temperature, self.epsilon, explored))
            return jnp.where(pool, log_p + jax.random.gumbel(rng, log_p.shape), -jnp.inf)

        return jax.jit(perturb)


def unwrapped(policy: Policy) -> Policy:
    """The policy beneath the chance on top of it, whose state it is."""
    while isinstance(policy, Stochastic):
        policy = policy.base
    return policy


def _pools(requests: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """The pool, and what of it may be explored; bool [B, C] each."""
    pool = np.asarray(requests['pool']) > 0
    return pool, pool & (np.asarray(requests['explorable']) > 0) if 'explorable' in requests else pool


def chances(
    score: jax.Array, pool: jax.Array, temperature: float, epsilon: float, explored: jax.Array | None = None
) -> jax.Array:
    """Computes the probabilities of the candidates, float32 [B, C]; zeros without a pool.

    Args:
      score, pool: float [B, C], -inf outside the pool, and bool [B, C].
      temperature: 0 or more.
      epsilon: in [0, 1]; 0 for a request of which nothing may be explored.
      explored: bool [B, C], the part of the pool that epsilon is drawn from; None is all of it.
    """
    explored = pool if explored is None else explored
    count = explored.sum(-1, keepdims=True)
    uniform, share = explored / jnp.maximum(count, 1), jnp.where(count > 0, epsilon, 0.0)
    if temperature == 0:
        best = jax.nn.one_hot(winners(score, pool), score.shape[1]) * pool
    else:
        # A finite floor keeps requests without a pool from being NaN.
        best = jax.nn.softmax(jnp.where(pool, score, -1e30) / temperature, -1) * pool
    return (1 - share) * best + share * uniform
