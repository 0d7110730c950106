"""Measures what each behaviour of a history adds to the logit of a candidate.

N examples, B batch, C candidates, L history.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec import embeddings as emb
from jaxrec.models.ctr.task import CtrTask
from jaxrec.parallel import put_batch
from jaxrec.parallel.mesh import take_local
from jaxrec.runs.build import batches
from jaxrec.runs.restore import restore_model
from jaxrec.runs.run import Run
from jaxrec.training.state import Setup, TrainState
from jaxrec.training.task import Batch


class BehaviourEffects(NamedTuple):
    """Effects float32 [N, C, L] of behaviours, in logits; ids int32 [N, L], 0 for none, and of candidates [N, C]."""

    history: np.ndarray
    candidate: np.ndarray
    effect: np.ndarray


def behaviour_effects(
    run: Run, tables: Sequence[str], column: str = 'item', part: str = 'test', most: int | None = None
) -> BehaviourEffects:
    """Measures the effects of all behaviours with the best checkpoint of a run.

    Args:
      run: of a click model.
      tables: whose rows of a behaviour are set to zero, such as ('item', 'item_feed').
      column: of the history and the candidate.
      part: 'train', 'validation' or 'test'.
      most: batches that are read, the first of the part; None for all.

    Raises:
      ValueError: as `make_behaviour_effects`.
    """
    experiment = run.experiment
    measure, source = make_behaviour_effects(experiment.setup, tables, column), experiment.source(part)
    state, _ = restore_model(experiment, run.workdir, None, source)
    found: list[list[np.ndarray]] = []
    for batch in batches(source, most):
        real = batch['valid'].any(1)
        effect = take_local(measure(state, put_batch(batch, experiment.setup.mesh)))[: real.size]
        found.append([x[real] for x in (batch[f'history/{column}'], batch[f'candidate/{column}'], effect)])
    return BehaviourEffects(*map(np.concatenate, zip(*found, strict=True)))


def make_behaviour_effects(
    setup: Setup, tables: Sequence[str], column: str = 'item'
) -> Callable[[TrainState, Batch], jax.Array]:
    """Builds the jitted effects: the logits, less those with the rows of one behaviour set to zero.

    Args:
      setup: of a `CtrTask`.
      tables, column: whose rows of a behaviour are set to zero, and of which history column.

    Returns:
      (state, batch) -> float32 [B, C, L], 0 where there is no behaviour. Of the state `params`, `model_state` and
      `tables` are read.

    Raises:
      ValueError: the task predicts no clicks, a table is not read by this column, or tables are on the host.
    """
    task, key = setup.task, f'history/{column}'
    if not isinstance(task, CtrTask):
        raise ValueError(f'{type(task).__name__} predicts no clicks: give a run of a click model, such as DNN')
    setup.require_tables_on_device('inspection')

    @jax.jit
    def measure(params: Any, model_state: Any, held: Any, batch: Batch) -> jax.Array:
        rows = emb.lookup(task.tables, held, task.ids(batch), mesh=setup.mesh, exchange=setup.exchange)
        readers = [name for name, features in rows.items() if key in features]
        if unknown := sorted(set(tables) - set(readers)):
            raise ValueError(f'{key} does not read the table {unknown[0]!r}: give tables of {", ".join(readers)}')
        real = batch[key].reshape(*batch[key].shape[:2], -1).any(-1)

        def logits(place: jax.Array) -> jax.Array:  # a place beyond the history changes nothing
            zeroed = {name: {**rows[name], key: rows[name][key].at[:, place].set(0, mode='drop')} for name in tables}
            return task.predict(params, model_state, {**rows, **zeroed}, batch)['logits']

        without = jax.lax.map(logits, jnp.arange(real.shape[1]))
        return jnp.where(real[:, None], logits(jnp.array(real.shape[1]))[..., None] - jnp.moveaxis(without, 0, 2), 0)

    return lambda state, batch: measure(state.params, state.model_state, state.tables, batch)
