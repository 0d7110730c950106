"""What a policy is; and policies without a network, whose state is a memory.

B requests, C candidates.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxrec.models.age.policies.events import Arrays, as_batch, parts, shown_pairs, unseen
from jaxrec.parallel import make_mesh
from jaxrec.training.checkpoints import Checkpoints
from jaxrec.training.state import TrainState
from jaxrec.training.task import Batch


class Ranked(NamedTuple):
    """A batch of requests, ranked."""

    score: jax.Array  # float32 [B, C], what to rank by; -inf outside the pool
    probability: jax.Array  # float32 [B, C], the CTR that is predicted without exploring; NaN where there is none


class Policy(Protocol):
    """Ranks pools of candidates, and learns from what came of it."""

    def init(self, rng: jax.Array, requests: Arrays) -> TrainState:
        """Draws a state from a typed key; of requests {key: [B, ...]} only shapes matter, and not B."""

    def abstract(self, requests: Arrays) -> TrainState:
        """Describes a state without making it, for restoring."""

    def score(self, state: TrainState, requests: Arrays, rng: jax.Array) -> jax.Array:
        """Returns scores float32 [B, C], -inf outside the pool; the highest is shown."""
        return self.rank(state, requests, rng).score

    def rank(self, state: TrainState, requests: Arrays, rng: jax.Array) -> Ranked:
        """Returns the same scores, and the CTR that is predicted without exploring."""

    def learn(self, state: TrainState, events: Arrays) -> TrainState:
        """Learns from matched events, however late and however many; gives the old state up."""

    def with_scratch(self, state: TrainState, requests: Arrays) -> TrainState:
        """Gives a restored state its work space; of `requests` only shapes matter."""
        return state

    @property
    def table_rows(self) -> Mapping[str, int]:
        """{table: V} of the state, for checkpoints."""
        return {}


class Memory(Protocol):
    """A bandit without a network."""

    def start(self) -> Any:
        """Returns the empty memory, a tree of arrays."""

    def rank(self, memory: Any, batch: Batch, rng: jax.Array) -> Ranked:
        """Ranks requests {key: [B, ...]}."""

    def observe(self, memory: Any, batch: Batch) -> Any:
        """Returns the memory after pairs {key: [n, ...]} with `label` and `valid` [n, 1]."""


@dataclasses.dataclass(frozen=True)
class MemoryPolicy(Policy):
    """A policy whose whole state is a memory."""

    bandit: Memory  # ranks and remembers
    batch_size: int = 256  # pairs of one jitted update; more are learnt in parts of it

    def init(self, rng: jax.Array, requests: Arrays) -> TrainState:
        """Starts with an empty memory; arguments are those of `Policy.init`."""
        del requests
        memory = jax.tree.map(jnp.array, self.bandit.start())
        return TrainState(jnp.int32(0), {}, memory, {}, {}, {}, rng, {})

    def abstract(self, requests: Arrays) -> TrainState:
        """Describes a state, for restoring; arguments are those of `Policy.abstract`."""
        place = jax.NamedSharding(make_mesh((1, 1)), jax.P())
        struct = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)
        return jax.tree.map(struct, jax.eval_shape(lambda rng: self.init(rng, requests), jax.random.key(0)))

    def rank(self, state: TrainState, requests: Arrays, rng: jax.Array) -> Ranked:
        """Ranks pools; arguments and result are those of `Policy.rank`."""
        return self._rank(state.model_state, as_batch(requests), rng)

    def learn(self, state: TrainState, events: Arrays) -> TrainState:
        """Remembers each unseen event once; arguments and result are those of `Policy.learn`."""
        memory, step = state.model_state, state.step
        for part in parts(shown_pairs(unseen(events)), self.batch_size):
            memory, step = self._observe(memory, part), step + 1
        return dataclasses.replace(state, model_state=memory, step=step)

    @functools.cached_property
    def _rank(self) -> Any:
        return jax.jit(lambda memory, batch, rng: in_pool(self.bandit.rank(memory, batch, rng), batch))

    @functools.cached_property
    def _observe(self) -> Any:
        return jax.jit(self.bandit.observe, donate_argnums=0)


def in_pool(ranked: Ranked, batch: Batch) -> Ranked:
    """Sets the scores of candidates that do not exist, where `valid` [B, C] is 0, to -inf."""
    return ranked._replace(score=jnp.where(batch['valid'] > 0, ranked.score, -jnp.inf))


def restore_policy(
    checkpoints: Checkpoints, policy: Policy, requests: Arrays, step: int | None = None
) -> tuple[TrainState, dict[str, Any]]:
    """Reads a policy's state back from a checkpoint; it continues as it would have without the break.

    `policy` is built from the config that it was saved with, of `requests` only shapes matter, and `step` None is the
    latest checkpoint.

    Returns:
      The state, and the progress of the stream.

    Raises:
      ValueError: there is no such checkpoint, it is damaged, or it is of another policy.
    """
    restored = checkpoints.restore(policy.abstract(requests), step, table_rows=policy.table_rows)
    return policy.with_scratch(restored.state, requests), restored.progress
