"""AGE as a policy: the explored score, with a lambda that is tuned on requests and kept in the state.

B requests, C candidates.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.embeddings import Table
from jaxrec.models.age.pairs import Model
from jaxrec.models.age.policies.events import Arrays
from jaxrec.models.age.policies.neural import Greedy, NeuralPolicy
from jaxrec.models.age.policies.policy import Policy, Ranked
from jaxrec.models.age.policies.stochastic import unwrapped
from jaxrec.models.age.tuning import tune_lambda
from jaxrec.ops.exploration import changed_share
from jaxrec.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Age(Greedy):
    """Ranks by `AgeTask.explore`."""

    explore_lambda: float | None = None  # the step's size per unit of uncertainty; None must be tuned before ranking

    def start(self, tables: Mapping[str, Table], params: Any) -> dict[str, Any]:
        """The lambda, NaN until there is one."""
        given = np.nan if self.explore_lambda is None else self.explore_lambda
        return {'explore_lambda': jnp.full((), given, jnp.float32)}

    def rank(self, model: Model, memory: dict[str, Any], rng: jax.Array) -> Ranked:
        """As `Explorer.rank`."""
        explored = model.task.explore(*model.arguments[1:], rng, memory['explore_lambda'])
        return Ranked(explored.score, explored.probability)

    def ready(self, memory: dict[str, Any]) -> None:
        """Refuses to rank without a lambda."""
        if np.isnan(float(memory['explore_lambda'])):
            raise ValueError(
                'explore_lambda is not set: give it in options, or tune the state on requests with policies.age.tune'
            )


def tune(
    policy: Policy, state: TrainState, requests: Arrays, rng: jax.Array, target: float = 0.05
) -> tuple[TrainState, float]:
    """Sets the lambda with which a share `target` of the requests {key: [B, ...]} has another winner.

    Args:
      policy: AGE's, or a `Stochastic` of it, whose chance is left out.
      state: trained, since an untrained network has no uncertainty to speak of.
      requests: enough to estimate the share.
      rng: a typed key, the same for every lambda that is tried.
      target: the share.

    Returns:
      The state with its lambda, and the share of winners that this lambda changes.

    Raises:
      ValueError: another policy, or a share that no lambda reaches.
    """
    inner = unwrapped(policy)
    if not isinstance(inner, NeuralPolicy) or not isinstance(inner.task.explorer, Age):
        raise ValueError('only AGE has a lambda: tune the state of a policy made with policy = "age"')

    def changed(explore_lambda: float) -> float:
        ranked = inner.rank(_with_lambda(state, explore_lambda), requests, rng)
        return float(changed_share(ranked.probability, ranked.score, np.asarray(requests['pool'])))

    tuned = tune_lambda(changed, target)
    return _with_lambda(state, tuned.explore_lambda), tuned.changed


def _with_lambda(state: TrainState, explore_lambda: float) -> TrainState:
    """The state of an AGE policy with another lambda."""
    memory = {**state.model_state['memory'], 'explore_lambda': jnp.float32(explore_lambda)}
    return dataclasses.replace(state, model_state={**state.model_state, 'memory': memory})
