"""One training step and one prediction step: pure functions of a state and a batch.

B batch, C candidates, D width.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrec import embeddings as emb
from jaxrec.ops.chunks import by_chunks
from jaxrec.parallel.mesh import BATCH, put_batch
from jaxrec.training import host_tables
from jaxrec.training.state import Setup, TrainState, abstract_rows, init_state, pick
from jaxrec.training.task import Batch, Metrics

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
DENSE = ('params', 'model_state', 'opt_state')  # fields of a state that a step makes anew
ROWS_AT_ONCE = 1 << 25  # bytes of rows that a prediction on the CPU looks up before it scores them


def make_train_step(setup: Setup) -> TrainStep:
    """Builds the step: `make_fused_step`, or that of `host_tables` where tables stay on the host."""
    if setup.tables_on == 'host':
        return host_tables.make_train_step(setup)
    return make_fused_step(setup)


def make_fused_step(setup: Setup) -> jax.stages.Wrapped:
    """Builds the jitted step: lookup, gradients with respect to params and rows, one norm, two updates.

    Returns:
      (state, batch) -> (state, metrics); the old state is donated. Metrics are float32 [] on the device: the task's,
      `loss`, `grad_norm`, `exchange_rounds` of an all-to-all of rows, and `skipped`, 1 for a step that changed only the
      count.
    """
    task, mesh = setup.placed_task, setup.mesh
    exchange = setup.exchange or emb.choose_exchange(mesh.size)
    value_and_grad = jax.value_and_grad(task.loss, argnums=(0, 2), has_aux=True)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        ids = task.ids(batch)
        rows = emb.lookup(task.tables, state.tables, ids, mesh=mesh, exchange=exchange)
        (value, (metrics, model_state)), (grads, row_grads) = value_and_grad(
            state.params, state.model_state, rows, batch, jax.random.fold_in(state.rng, state.step)
        )
        count = state.step + 1
        tables, slots, scratch, info = emb.update(
            task.tables,
            setup.row_optimizer,
            state.tables,
            state.row_opt_state,
            state.scratch,
            ids,
            row_grads,
            count,
            strategies=setup.duplicate_strategies(ids),
            dense_norm=optax.tree.norm(grads),
            clip_norm=setup.clip_norm,
            mesh=mesh,
            exchange=exchange,
            if_finite=value if setup.skip_not_finite else None,
        )
        if setup.clip_norm is not None:
            grads = jax.tree.map(lambda g: g * info.scale, grads)
        updates, opt_state = setup.optimizer.update(grads, state.opt_state, state.params)
        metrics = {**metrics, 'loss': value, 'grad_norm': info.norm}
        if mesh.size > 1 and exchange == 'all_to_all':
            metrics['exchange_rounds'] = info.rounds.astype(jnp.float32)
        params = optax.apply_updates(state.params, updates)
        as_long: dict[str, Any] = {'tables': tables, 'row_opt_state': slots, 'scratch': scratch}
        new = dataclasses.replace(
            state, step=count, params=params, model_state=model_state, opt_state=opt_state, **as_long
        )
        if setup.skip_not_finite:
            held = {name: pick(info.moves, getattr(new, name), getattr(state, name)) for name in DENSE}
            new, metrics['skipped'] = dataclasses.replace(new, **held), 1 - info.moves.astype(jnp.float32)
        return new, metrics

    return jax.jit(step, donate_argnums=0, out_shardings=(_places(setup), None))


def take_steps(
    setup: Setup, batches: Sequence[Mapping[str, np.ndarray]], seed: int = 0
) -> tuple[TrainState, list[Metrics]]:
    """Takes one step on each host batch, from a new state of this seed; returns the state and each step's metrics."""
    state = init_state(setup, put_batch(batches[0], setup.mesh), seed)
    step, found = make_train_step(setup), []
    for batch in batches:
        state, metrics = step(state, put_batch(batch, setup.mesh))
        found.append(metrics)
    return state, found


def _places(setup: Setup) -> TrainState | None:
    """Where a new state lies, where that is said: XLA would lay wide rows out otherwise than they came."""
    rows = abstract_rows(setup)
    if all(x.format.layout is None for x in jax.tree.leaves(rows)):
        return None
    tables, slots = jax.tree.map(lambda x: x.format if x.format.layout else x.sharding, rows)
    rest = {field.name: None for field in dataclasses.fields(TrainState)}
    return TrainState(**rest | {'tables': tables, 'row_opt_state': slots})


def make_predict_step(setup: Setup) -> Callable[[TrainState, Batch], dict[str, jax.Array]]:
    """Builds the jitted prediction (state, batch) -> {name: [B, ...]}, of params, model_state and tables alone."""
    if setup.tables_on == 'host':
        return host_tables.make_predict_step(setup)
    task, mesh = setup.placed_task, setup.mesh
    # Each process reads what it has sent; of one, all is there wherever XLA leaves it.
    place = jax.NamedSharding(mesh, BATCH) if jax.process_count() > 1 else None

    @functools.partial(jax.jit, out_shardings=place)
    def predict(params: Any, model_state: Any, tables: Any, batch: Batch) -> dict[str, jax.Array]:
        leaves, tree = jax.tree.flatten(batch)

        def score(*leaves: jax.Array) -> dict[str, jax.Array]:
            batch = jax.tree.unflatten(tree, leaves)
            rows = emb.lookup(task.tables, tables, task.ids(batch), mesh=mesh, exchange=setup.exchange)
            return task.predict(params, model_state, rows, batch)

        if mesh.size > 1:
            return score(*leaves)
        return by_chunks(score, *leaves, bytes_each=_row_bytes(setup, batch), limit=ROWS_AT_ONCE)

    return lambda state, batch: predict(state.params, state.model_state, state.tables, batch)


def _row_bytes(setup: Setup, batch: Batch) -> int:
    """What an example's rows take."""
    tables, ids = setup.task.tables, jax.eval_shape(setup.task.ids, batch)
    return sum(4 * tables[name].dim * math.prod(x.shape[1:]) for name in ids for x in ids[name].values())
