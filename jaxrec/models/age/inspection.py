"""Measures how AGE moves the scores of requests: for figures and tables, not for serving.

B requests, C candidates, S steps.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxrec import embeddings as emb
from jaxrec.evaluation.replay import visible
from jaxrec.models.age.explore import Explored, move
from jaxrec.models.age.model import AgeTask
from jaxrec.models.age.pairs import Pairs
from jaxrec.models.age.policies import Policy
from jaxrec.models.age.policies.events import as_batch
from jaxrec.models.age.policies.neural import NeuralPolicy
from jaxrec.models.age.policies.stochastic import unwrapped
from jaxrec.ops.exploration import scale_pairs
from jaxrec.training.state import TrainState
from jaxrec.training.task import Batch, Rows


class Inspection(NamedTuple):
    """How the candidates of requests are explored."""

    pool: NDArray  # bool [B, C], the candidates; the other slots of all arrays are padding
    probability: NDArray  # float32 [B, C], the prediction without exploring
    score: NDArray  # float32 [B, C], what AGE ranks by
    delta: NDArray  # float32 [B, C], the uncertainty of eq. 12 or 13
    gate: NDArray  # float32 [B, C], 0 to 1, where exploration is allowed
    average: NDArray  # float32 [B, C], click rate of each item as the gate estimates it; NaN without a gating unit


def inspect_requests(policy: Policy, state: TrainState, requests: Mapping[str, Any], rng: jax.Array) -> Inspection:
    """Explores requests {key: [B, ...]}, such as a batch of a `PoolSource`, once, without serving or learning.

    `policy` is AGE, as `jaxrec.models.age.policies.make_policy` builds it, its state has a lambda, `rng` is a key.

    Raises:
      ValueError: a policy that is not AGE, or a state without a lambda.
    """
    neural, task = _age_of(policy)
    neural.task.explorer.ready(state.model_state['memory'])
    size = state.model_state['memory']['explore_lambda']
    batch, rows = _read(task, state, requests)

    @jax.jit
    def explored(params: Any, model_state: Any, rows: Rows, batch: Batch) -> tuple[Explored, jax.Array | None]:
        return task.explore(params, model_state, rows, batch, rng, size), task.average(params, rows, batch)

    found, average = jax.device_get(explored(state.params, state.model_state['base'], rows, batch))
    average = np.full_like(found.score, np.nan) if average is None else average
    return Inspection(batch['valid'] > 0, found.probability, found.score, found.delta, found.gate, average)


def scores_along(
    policy: Policy, state: TrainState, requests: Mapping[str, Any], direction: str, steps: ArrayLike, rng: jax.Array
) -> NDArray:
    """Scores each candidate of requests after steps of several sizes along one unit direction, f(h + s g).

    Args:
      policy, state, requests: as for `inspect_requests`.
      direction: 'fgm', 'pgd' or 'random'; PGD's gradient steps are those of the largest s.
      steps: float [S], sizes s, not all of them 0.
      rng: a typed key, which only a random direction reads.

    Returns:
      float32 [S, B, C], probabilities.

    Raises:
      ValueError: a policy that is not AGE, an unknown direction, or steps that are all 0.
    """
    _, task = _age_of(policy)
    options = dataclasses.replace(task.exploration, direction=direction)
    sizes = np.asarray(steps, np.float32)
    if not sizes.any():
        raise ValueError(f'steps = {sizes.tolist()}: give at least one that is not 0')
    largest = np.abs(sizes).max()
    batch, rows = _read(task, state, requests)

    @jax.jit
    def scored(params: Any, model_state: Any, rows: Rows, batch: Batch) -> jax.Array:
        pairs = Pairs(task.base, params, model_state, rows, batch, options.perturb)
        whole = jnp.ones_like(batch['valid'])
        delta = move(pairs, largest * whole, rng, options)
        after = lambda size: pairs.scores(scale_pairs(delta, size / largest * whole))['probability']
        return jax.lax.map(after, jnp.asarray(sizes))

    return np.asarray(scored(state.params['base'], state.model_state['base'], rows, batch))


def _age_of(policy: Policy) -> tuple[NeuralPolicy, AgeTask]:
    """The policy beneath chance, and its task; a ValueError if it is not AGE."""
    inner = unwrapped(policy)
    task = inner.task.base if isinstance(inner, NeuralPolicy) else None
    if not isinstance(inner, NeuralPolicy) or not isinstance(task, AgeTask):
        raise ValueError(f'{type(task or inner).__name__} is not AGE: give a policy such as that of the preset AGE-TS')
    return inner, task


def _read(task: AgeTask, state: TrainState, requests: Mapping[str, Any]) -> tuple[dict[str, NDArray], Rows]:
    """The batch of requests, and its rows."""
    batch = as_batch(visible(requests))
    return batch, emb.lookup(task.tables, state.tables, task.ids(batch))
