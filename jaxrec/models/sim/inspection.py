"""What a search keeps and what its exact unit would have looked at: for tables and pictures, not for scoring.

B batch, C candidates, L long window, K kept, H heads.
"""

from collections.abc import Callable
from typing import Any

import jax

from jaxrec import embeddings as emb
from jaxrec.models.ctr.task import CtrTask
from jaxrec.models.sim.interest import Inspection
from jaxrec.models.sim.model import Sim
from jaxrec.ops.histories.pooling import length_mask
from jaxrec.ops.histories.search import Kept, top_search
from jaxrec.ops.histories.target_attention import log_attention
from jaxrec.training.state import Setup, TrainState
from jaxrec.training.task import Batch


def make_inspect_step(setup: Setup) -> Callable[[TrainState, Batch], Inspection]:
    """Builds the jitted inspection of a model's search.

    Args:
      setup: task and mesh.

    Returns:
      (state, batch) -> `Inspection`; batches hold the whole long window, and of the state `params`,
      `model_state` and `tables` are read.

    Raises:
      ValueError: the task is not one of this room, or its tables live on the host.
    """
    task = setup.task
    if not isinstance(task, CtrTask) or not isinstance(task.module, Sim):
        raise ValueError(
            f'{type(getattr(task, "module", task)).__name__} keeps nothing of a history: inspect a model of '
            'jaxrec.models.sim'
        )
    setup.require_tables_on_device('inspection')
    module = task.module

    @jax.jit
    def inspect(params: Any, model_state: Any, tables: Any, batch: Batch) -> Inspection:
        ids = task.given_ids(batch)
        rows = emb.lookup(task.tables, tables, ids, mesh=setup.mesh, exchange=setup.exchange)
        found: Any = module.apply({'params': params, **model_state}, rows, batch, method='inspect')
        return found

    return lambda state, batch: inspect(state.params, state.model_state, state.tables, batch)


def most_attended(logits: jax.Array, length: jax.Array, keep: int) -> Kept:
    """The behaviours that get the highest attention, summed over the heads.

    Args:
      logits: float [B, C, H, L], of an `Inspection`.
      length: int [B], real behaviours.
      keep: K.

    Returns:
      Their positions, oldest first.
    """
    mask = length_mask(length, logits.shape[-1])[:, None]
    return top_search(log_attention(logits, mask), length, keep)
