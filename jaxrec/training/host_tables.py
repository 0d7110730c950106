"""Steps whose tables stay in the memory of the host, since the devices could not hold them.

Tables, their optimizer state and work space are JAX arrays on the host's CPU, with the same lookup and update as
elsewhere. The rows of a batch travel to the devices and their gradients back; all else is on the devices' mesh.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxrec import embeddings as emb
from jaxrec.embeddings.update import UpdateInfo
from jaxrec.parallel.mesh import BATCH
from jaxrec.training.state import Setup, TrainState, pick
from jaxrec.training.task import Batch, Metrics

# Steps that may wait behind the one under way. Each holds its batch and its rows, on the host and on the
# devices; two keep the devices busy while the host looks rows up.
AHEAD = 2

Read = Callable[[dict[str, jax.Array], Batch], tuple[Any, Any]]


def make_train_step(setup: Setup) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Builds the step of a setup with `tables_on` 'host': rows to the devices, gradients, two updates.

    Unlike that of `training.step` it is a plain function of four jitted ones; the old state is donated.
    """
    read, differentiate = _reader(setup), _differentiate(setup)
    write, apply = _writer(setup), _apply(setup)
    home = jax.NamedSharding(setup.table_mesh, jax.P())
    everywhere = jax.NamedSharding(setup.mesh, jax.P())
    queued: collections.deque[jax.Array] = collections.deque()  # what each step computes last

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        if len(queued) > AHEAD:
            jax.block_until_ready(queued.popleft())
        ids, rows = read(state.tables, batch)
        grads, row_grads, new_model_state, metrics, norm = differentiate(
            state.params, state.model_state, rows, batch, state.rng, state.step
        )
        count = state.step + 1
        at_home = jax.device_put((row_grads, count, norm, metrics['loss']), home)
        tables, slots, scratch, info = write(state.tables, state.row_opt_state, state.scratch, ids, *at_home)
        scale, total, moves = jax.device_put((info.scale, info.norm, info.moves), everywhere)
        old = state.params, state.model_state, state.opt_state
        (params, model_state, opt_state), skipped = apply(*old, new_model_state, grads, scale, moves)
        queued.append(skipped)
        metrics = {**metrics, 'grad_norm': total}
        if setup.skip_not_finite:
            metrics['skipped'] = skipped
        as_long: dict[str, Any] = {'tables': tables, 'row_opt_state': slots, 'scratch': scratch}
        new = dataclasses.replace(
            state, step=count, params=params, model_state=model_state, opt_state=opt_state, **as_long
        )
        return new, metrics

    return step


def make_predict_step(setup: Setup) -> Callable[[TrainState, Batch], dict[str, jax.Array]]:
    """Builds the prediction of a setup with `tables_on` 'host', as `training.step.make_predict_step`."""
    read, task = _reader(setup), setup.placed_task
    score = jax.jit(task.predict)

    def predict(state: TrainState, batch: Batch) -> dict[str, jax.Array]:
        _, rows = read(state.tables, batch)
        return score(state.params, state.model_state, rows, batch)

    return predict


def _reader(setup: Setup) -> Read:
    """(tables, batch on the devices) -> ids at home, and the rows of the batch on the devices."""
    task = setup.task
    name = jax.jit(task.ids)
    look_up = jax.jit(lambda tables, ids: emb.lookup(task.tables, tables, ids))
    home = jax.NamedSharding(setup.table_mesh, jax.P())
    cut = jax.NamedSharding(setup.mesh, BATCH)

    def read(tables: dict[str, jax.Array], batch: Batch) -> tuple[Any, Any]:
        ids = jax.device_put(name(batch), home)
        return ids, jax.device_put(look_up(tables, ids), cut)

    return read


def _differentiate(setup: Setup) -> Callable[..., tuple[Any, Any, Any, Metrics, jax.Array]]:
    """Gradients of a batch: of params and rows, with the new model state, metrics and the params' norm."""
    value_and_grad = jax.value_and_grad(setup.placed_task.loss, argnums=(0, 2), has_aux=True)

    @jax.jit
    def differentiate(
        params: Any, model_state: Any, rows: Any, batch: Batch, rng: jax.Array, count: jax.Array
    ) -> tuple[Any, Any, Any, Metrics, jax.Array]:
        (value, (metrics, model_state)), (grads, row_grads) = value_and_grad(
            params, model_state, rows, batch, jax.random.fold_in(rng, count)
        )
        return grads, row_grads, model_state, {**metrics, 'loss': value}, optax.tree.norm(grads)

    return differentiate


def _writer(setup: Setup) -> Callable[..., tuple[Any, Any, Any, UpdateInfo]]:
    """The update of the tables, at home and in place."""

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def write(
        tables: Any, slots: Any, scratch: Any, ids: Any, grads: Any, count: jax.Array, norm: jax.Array, loss: jax.Array
    ) -> tuple[Any, Any, Any, UpdateInfo]:
        return emb.update(
            setup.task.tables,
            setup.row_optimizer,
            tables,
            slots,
            scratch,
            ids,
            grads,
            count,
            strategies=setup.duplicate_strategies(ids),
            dense_norm=norm,
            clip_norm=setup.clip_norm,
            if_finite=loss if setup.skip_not_finite else None,
        )

    return write


def _apply(setup: Setup) -> Callable[..., tuple[tuple[Any, Any, Any], jax.Array]]:
    """The update of what is dense, whose gradients share the rows' clipping; and 1 where it is skipped."""

    @functools.partial(jax.jit, donate_argnums=(0, 2))
    def apply(
        params: Any, model_state: Any, opt_state: Any, new: Any, grads: Any, scale: jax.Array, moves: jax.Array
    ) -> tuple[tuple[Any, Any, Any], jax.Array]:
        if setup.clip_norm is not None:
            grads = jax.tree.map(lambda grad: grad * scale.astype(jnp.result_type(grad)), grads)
        updates, new_opt_state = setup.optimizer.update(grads, opt_state, params)
        moved = optax.apply_updates(params, updates), new, new_opt_state
        if setup.skip_not_finite:
            moved = pick(moves, moved, (params, model_state, opt_state))
        return moved, 1 - moves.astype(jnp.float32)

    return apply
