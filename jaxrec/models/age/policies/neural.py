"""Policies on a CTR model: one task that trains, and an explorer that ranks by it and may remember.

What an explorer remembers, such as a diagonal of NeuralUCB, is in the task's `model_state`, what it remembers of single
rows in tables beside the model's, read by the same lookup. The explorer remembers each event once, however many epochs
train on it.

B requests, C candidates, V rows, D width.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec import embeddings as emb
from jaxrec.embeddings import Table
from jaxrec.models.age.model import TaskWrapper
from jaxrec.models.age.pairs import Model
from jaxrec.models.age.policies.events import Arrays, as_batch, fresh_pairs, parts, shown_pairs, unseen
from jaxrec.models.age.policies.policy import Policy, Ranked, in_pool
from jaxrec.parallel import put_batch
from jaxrec.training.state import Setup, TrainState, abstract_state, init_state, new_scratch
from jaxrec.training.step import make_train_step
from jaxrec.training.task import Batch, Metrics, Rows, Task


class Explorer(Protocol):
    """Ranks by a model."""

    def start(self, tables: Mapping[str, Table], params: Any) -> dict[str, Any]:
        """Returns what it remembers at first; under 'rows' {table: [V, D]}, read like the model's tables."""

    def rank(self, model: Model, memory: dict[str, Any], rng: jax.Array) -> Ranked:
        """Ranks requests; memory['rows'] is looked up already, {table: {feature: [B, ..., D]}}."""

    def observe(self, model: Model, memory: dict[str, Any]) -> dict[str, Any]:
        """Returns what it remembers after a batch of pairs; here memory['rows'] are whole tables."""

    @property
    def observes_first(self) -> bool:
        """Whether it observes a batch by the model that has not been trained on it yet."""

    def ready(self, memory: dict[str, Any]) -> None:
        """Raises ValueError if it can't rank yet."""


class Greedy:
    """Ranks by the predicted CTR, and remembers nothing; what other explorers inherit."""

    observes_first = False

    def start(self, tables: Mapping[str, Table], params: Any) -> dict[str, Any]:
        """As `Explorer.start`."""
        return {}

    def rank(self, model: Model, memory: dict[str, Any], rng: jax.Array) -> Ranked:
        """As `Explorer.rank`."""
        probability = model.predict()['probability']
        return Ranked(probability, probability)

    def observe(self, model: Model, memory: dict[str, Any]) -> dict[str, Any]:
        """As `Explorer.observe`."""
        return memory

    def ready(self, memory: dict[str, Any]) -> None:
        """As `Explorer.ready`."""


@dataclasses.dataclass(frozen=True)
class ExploringTask(TaskWrapper):
    """A CTR task beside which an explorer remembers; implements `training.task.Task`."""

    base: Task  # the task, whose loss, predictions and parameters these are
    explorer: Explorer  # its memory is `model_state['memory']`, the task's own state `model_state['base']`

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """The base's parameters, and a memory beside its state; arguments are those of `Task.init`."""
        params, base = self.base.init(rng, batch)
        return params, {'base': base, 'memory': self.explorer.start(self.tables, params)}

    def loss(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        """The base's loss; the memory stays as it is. Arguments and result are those of `Task.loss`."""
        loss, (metrics, base) = self.base.loss(params, model_state['base'], rows, batch, rng)
        return loss, (metrics, {**model_state, 'base': base})

    def predict(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """The base's predictions; arguments and result are those of `Task.predict`."""
        return self.base.predict(params, model_state['base'], rows, batch, rng)


@dataclasses.dataclass(frozen=True)
class NeuralPolicy(Policy):
    """Ranks by a CTR model and an explorer."""

    setup: Setup  # an `ExploringTask`, its optimizers, and a mesh of one device
    batch_size: int = 256  # pairs of a step; more are learnt in steps of it, fewer are padded
    epochs: int = 1  # how often each call of `learn` goes over its events

    @property
    def task(self) -> ExploringTask:
        """The task that trains."""
        task = self.setup.task
        assert isinstance(task, ExploringTask)
        return task

    @property
    def table_rows(self) -> dict[str, int]:
        """{table: V}."""
        return {name: spec.rows for name, spec in self.task.tables.items()}

    def init(self, rng: jax.Array, requests: Arrays) -> TrainState:
        """Draws a state as a training run of that seed would; arguments are those of `Policy.init`."""
        seed = int(jax.random.key_data(rng).reshape(-1)[-1])
        return init_state(self.setup, self._pairs_like(requests), seed)

    def abstract(self, requests: Arrays) -> TrainState:
        """Describes a state, for restoring; arguments are those of `Policy.abstract`."""
        return abstract_state(self.setup, self._pairs_like(requests))

    def with_scratch(self, state: TrainState, requests: Arrays) -> TrainState:
        """Gives a restored state its work space; see `Policy.with_scratch`."""
        return dataclasses.replace(state, scratch=new_scratch(self.setup, self._pairs_like(requests)))

    def rank(self, state: TrainState, requests: Arrays, rng: jax.Array) -> Ranked:
        """Ranks pools; arguments and result are those of `Policy.rank`."""
        batch = as_batch(requests)
        emb.check_ids(self.task.tables, self.task.given_ids(batch))
        self.task.explorer.ready(state.model_state['memory'])
        return self._rank(state.params, state.model_state, state.tables, batch, rng)

    def learn(self, state: TrainState, events: Arrays) -> TrainState:
        """Trains on the events, and remembers the unseen ones; arguments are those of `Policy.learn`.

        An explorer remembers by the model as the events leave it, or where it `observes_first` each batch by the model
        as it was before that batch.

        Raises:
          ValueError: what `shown_pairs` refuses, ids out of range, or a loss that is not finite.
        """
        pairs, fresh, losses = shown_pairs(events), fresh_pairs(events), []
        emb.check_ids(self.task.tables, self.task.given_ids(pairs))
        remembers = bool(jax.tree.leaves(state.model_state['memory']))
        first = remembers and self.task.explorer.observes_first
        for epoch in range(self.epochs):
            for number, part in enumerate(parts(pairs, self.batch_size)):
                new = fresh[number * self.batch_size :][: self.batch_size]
                if first and not epoch and new.any():
                    padded = np.pad(new, (0, self.batch_size - len(new)))[:, None]
                    state = self._remember(state, {**part, 'valid': part['valid'] * padded})
                state, metrics = self._step(state, put_batch(part, self.setup.mesh))
                losses.append(metrics['loss'])
        _check_losses(jax.device_get(losses), int(state.step))
        if remembers and not first:
            for part in parts(shown_pairs(unseen(events)), self.batch_size):
                state = self._remember(state, part)
        return state

    def _remember(self, state: TrainState, part: Arrays) -> TrainState:
        """The state after its explorer has observed a batch of pairs."""
        base, memory = state.model_state['base'], state.model_state['memory']
        memory = self._observe(state.params, base, state.tables, memory, part)
        return dataclasses.replace(state, model_state={**state.model_state, 'memory': memory})

    def _pairs_like(self, requests: Arrays) -> dict[str, jax.Array]:
        """A batch of `learn`'s shapes."""
        size = len(np.asarray(requests['pool']))
        zeros = {'shown': np.zeros(size, np.int32), 'click': np.zeros(size), 'pool': np.ones((size, 1))}
        pairs = next(parts(shown_pairs({**requests, **zeros, 'valid': np.ones(size)}), self.batch_size))
        return put_batch(pairs, self.setup.mesh)

    @functools.cached_property
    def _step(self) -> Any:
        return make_train_step(self.setup)

    def _model(self, params: Any, base: Any, tables: Any, batch: Batch) -> Model:
        task = self.task.base
        return Model(task, params, base, emb.lookup(task.tables, tables, task.ids(batch)), batch)

    @functools.cached_property
    def _rank(self) -> Any:
        def rank(params: Any, model_state: Any, tables: Any, batch: Batch, rng: jax.Array) -> Ranked:
            model, memory = self._model(params, model_state['base'], tables, batch), model_state['memory']
            if 'rows' in memory:
                memory = {**memory, 'rows': emb.lookup(self.task.tables, memory['rows'], model.ids)}
            return in_pool(where_explorable(self.task.explorer.rank(model, memory, rng), batch), batch)

        return jax.jit(rank)

    @functools.cached_property
    def _observe(self) -> Any:
        def observe(params: Any, base: Any, tables: Any, memory: Any, batch: Batch) -> Any:
            return self.task.explorer.observe(self._model(params, base, tables, batch), memory)

        return jax.jit(observe, donate_argnums=3)


def _check_losses(losses: Sequence[Any], step: int) -> None:
    """Refuses a loss that is not finite, whatever followed it; `step` is that of the last one."""
    wrong = np.flatnonzero(~np.isfinite(np.asarray(losses, np.float64)))
    if len(wrong):
        raise ValueError(
            f'the loss is not finite at update {step - len(losses) + int(wrong[0]) + 1}: lower '
            'train.learning_rate or train.row_learning_rate, or set train.clip_norm'
        )


def where_explorable(ranked: Ranked, batch: Batch) -> Ranked:
    """Puts the prediction in the place of scores where the batch's `explorable` [B, C], if it has one, is 0."""
    if 'explorable' not in batch:
        return ranked
    return ranked._replace(score=jnp.where(batch['explorable'] > 0, ranked.score, ranked.probability))


def bonus(form: str, scale: float, mean: jax.Array, sigma: jax.Array, rng: jax.Array) -> jax.Array:
    """Scores float32 [B, C]: `mean` plus `scale` deviations `sigma`, all for 'ucb', a Gaussian draw for 'ts'."""
    if form == 'ucb':
        return mean + scale * sigma
    return mean + scale * sigma * jax.random.normal(rng, mean.shape)


def check_form(form: str, scale: float) -> None:
    """Refuses a form other than 'ts' and 'ucb', and a negative scale."""
    if form not in ('ts', 'ucb'):
        raise ValueError(f"options.form = {form!r} does not exist; choose one of ('ts', 'ucb')")
    if scale < 0:
        raise ValueError(f'options.scale = {scale}: give a number, 0 or more')
