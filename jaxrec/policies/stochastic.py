"""Chance on top of a policy, with known propensities, so that its log can be used by other estimators.

p = (1 - epsilon) * softmax(score / temperature) + epsilon / pool, over the pool; temperature 0 is the winner.
Epsilon-greedy is this wrapper around the greedy policy at temperature 0.

B requests, C candidates.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.ops.exploration import winners
from jaxrec.policies.events import Arrays
from jaxrec.policies.policy import Policy, Ranked
from jaxrec.training.state import TrainState


class Shown(NamedTuple):
    """What was drawn for a batch of requests.

    Attributes:
      shown: int32 [B], positions in the pool.
      propensity: float32 [B], the probability with which each was drawn, given the policy's scores.
    """

    shown: jax.Array
    propensity: jax.Array


@dataclasses.dataclass(frozen=True)
class Stochastic:
    """Draws from a policy's scores; implements `Policy`.

    A base that draws by itself, such as Thompson sampling, is conditioned on its own draw: the propensities
    are those of the chance on top, so give the estimators them and the scores of the same key.

    Attributes:
      base: the policy.
      temperature: of the softmax; 0 takes the winner.
      epsilon: share of requests whose pool is drawn from uniformly.
    """

    base: Policy
    temperature: float = 0.0
    epsilon: float = 0.1

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
        fresh = getattr(self.base, 'with_scratch', lambda state, requests: state)
        return fresh(state, requests)

    def learn(self, state: TrainState, events: Arrays) -> TrainState:
        """The base's learning."""
        return self.base.learn(state, events)

    def score(self, state: TrainState, requests: Arrays, rng: jax.Array) -> jax.Array:
        """Scores whose winner is a draw; arguments and result are those of `Policy.score`."""
        return self.rank(state, requests, rng).score

    def rank(self, state: TrainState, requests: Arrays, rng: jax.Array) -> Ranked:
        """The same scores and the base's predictions; arguments are those of `Policy.rank`."""
        ranked, pool, own = *self._ranked(state, requests, rng), jax.random.fold_in(rng, 1)
        return Ranked(self._perturb(ranked.score, pool, own), ranked.probability)

    def propensities(self, state: TrainState, requests: Arrays, rng: jax.Array) -> jax.Array:
        """The probability of every candidate.

        Args:
          state: the base's.
          requests: {key: [B, ...]}.
          rng: a typed key; `rank` with the same key draws from these.

        Returns:
          float32 [B, C], zeros outside the pool, which sum to 1 where there is a pool.
        """
        ranked, pool = self._ranked(state, requests, rng)
        return self._probabilities(ranked.score, pool)

    def act(self, state: TrainState, requests: Arrays, rng: jax.Array) -> Shown:
        """Draws what to show, to be logged with its propensity.

        Args:
          state: the base's.
          requests: {key: [B, ...]}.
          rng: a typed key.

        Returns:
          Positions and propensities.
        """
        (ranked, pool), own = self._ranked(state, requests, rng), jax.random.fold_in(rng, 1)
        shown = winners(self._perturb(ranked.score, pool, own), pool)
        chances = self._probabilities(ranked.score, pool)
        return Shown(shown, jnp.take_along_axis(chances, shown[:, None], 1)[:, 0])

    def _ranked(self, state: TrainState, requests: Arrays, rng: jax.Array) -> tuple[Ranked, np.ndarray]:
        pool = np.asarray(requests['pool']) > 0
        return self.base.rank(state, requests, jax.random.fold_in(rng, 0)), pool

    @functools.cached_property
    def _probabilities(self) -> Any:
        return jax.jit(lambda score, pool: chances(score, pool, self.temperature, self.epsilon))

    @functools.cached_property
    def _perturb(self) -> Any:
        def perturb(score: jax.Array, pool: jax.Array, rng: jax.Array) -> jax.Array:
            # The winner of log p plus Gumbel noise is a draw from p.
            log_p = jnp.log(chances(score, pool, self.temperature, self.epsilon))
            return jnp.where(pool, log_p + jax.random.gumbel(rng, log_p.shape), -jnp.inf)

        return jax.jit(perturb)


def chances(score: jax.Array, pool: jax.Array, temperature: float, epsilon: float) -> jax.Array:
    """Probabilities of the candidates.

    Args:
      score: float [B, C], -inf outside the pool.
      pool: bool [B, C].
      temperature: 0 or more.
      epsilon: in [0, 1].

    Returns:
      float32 [B, C]; zeros without a pool.
    """
    uniform = pool / jnp.maximum(pool.sum(-1, keepdims=True), 1)
    if temperature == 0:
        best = jax.nn.one_hot(winners(score, pool), score.shape[1]) * pool
    else:
        # A finite floor keeps requests without a pool from being NaN.
        best = jax.nn.softmax(jnp.where(pool, score, -1e30) / temperature, -1) * pool
    return (1 - epsilon) * best + epsilon * uniform
