"""One training step and one prediction step: pure functions of a state and a batch.

B batch, C candidates, D width.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxrec import embeddings as emb
from jaxrec.training.state import TrainState
from jaxrec.training.task import Batch, Metrics, Task

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    row_optimizer: emb.RowOptimizer,
    *,
    mesh: Mesh | None = None,
    clip_norm: float | None = None,
    exchange: str | None = None,
    strategies: dict[str, str] | None = None,
) -> TrainStep:
    """Builds the jitted step: lookup, gradients with respect to params and rows, one norm, two updates.

    Args:
      task: the task.
      optimizer: of the dense parameters.
      row_optimizer: of the tables that name none.
      mesh: the mesh of state and batches; None for one device.
      clip_norm: the largest global norm over dense gradients and summed rows; None does not clip.
      exchange: how rows move between devices, as in `embeddings.lookup`.
      strategies: {table: strategy} to override the choice of how duplicates are summed.

    Returns:
      (state, batch) -> (state, metrics); the old state is donated. Metrics are float32 [] on the device: the task's, `loss`,
      `grad_norm` and, where rows cross devices by all-to-all, `exchange_rounds`.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        ids = task.ids(batch)
        rows = emb.lookup(task.tables, state.tables, ids, mesh=mesh, exchange=exchange)
        loss = jax.value_and_grad(task.loss, argnums=(0, 2), has_aux=True)
        (value, (metrics, model_state)), (grads, row_grads) = loss(
            state.params, state.model_state, rows, batch, jax.random.fold_in(state.rng, state.step)
        )
        count = state.step + 1
        tables, slots, scratch, info = emb.update(
            task.tables,
            row_optimizer,
            state.tables,
            state.row_opt_state,
            state.scratch,
            ids,
            row_grads,
            count,
            strategies=emb.choose_strategies(task.tables, ids, mesh, exchange) | (strategies or {}),
            dense_norm=optax.global_norm(grads),
            clip_norm=clip_norm,
            mesh=mesh,
            exchange=exchange,
        )
        grads = jax.tree.map(lambda g: g * info.scale, grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        metrics = {**metrics, 'loss': value, 'grad_norm': info.norm}
        if mesh is not None and (exchange or emb.choose_exchange(mesh.size)) == 'all_to_all':
            metrics['exchange_rounds'] = info.rounds.astype(jnp.float32)
        state = state.replace(
            step=count,
            params=optax.apply_updates(state.params, updates),
            model_state=model_state,
            tables=tables,
            opt_state=opt_state,
            row_opt_state=slots,
            scratch=scratch,
        )
        return state, metrics

    return jax.jit(step, donate_argnums=0)


def make_predict_step(
    task: Task, *, mesh: Mesh | None = None, exchange: str | None = None
) -> Callable[[Any, Batch], dict[str, jax.Array]]:
    """Builds the jitted prediction.

    Args:
      task: the task.
      mesh: the mesh of state and batches; None for one device.
      exchange: how rows move between devices.

    Returns:
      (state, batch) -> {name: [B, ...]}; reads `params`, `model_state` and `tables` of the state.
    """

    def predict(params: Any, model_state: Any, tables: Any, batch: Batch) -> dict[str, jax.Array]:
        rows = emb.lookup(task.tables, tables, task.ids(batch), mesh=mesh, exchange=exchange)
        return task.predict(params, model_state, rows, batch)

    jitted = jax.jit(predict)
    return lambda state, batch: jitted(state.params, state.model_state, state.tables, batch)
