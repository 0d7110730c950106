"""All that a training run carries from one step to the next.

V rows, D width.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxrec import embeddings as emb
from jaxrec.embeddings.optimizers import Slots
from jaxrec.parallel import shardings
from jaxrec.parallel.mesh import REPLICATED, Rules
from jaxrec.training.task import Batch, Task


@flax.struct.dataclass
class TrainState:
    """The state of a run.

    Attributes:
      step: int32 [], optimizer steps taken.
      params: the dense parameters.
      model_state: what is neither trained nor constant, such as batch statistics.
      tables: {table: float32 [V padded, D]}.
      opt_state: optax state of `params`.
      row_opt_state: {table: {slot: array}}.
      rng: typed key; step t uses `fold_in(rng, t)`.
      scratch: {table: int32 [V padded]}, work space whose content never matters; not saved.
    """

    step: jax.Array
    params: Any
    model_state: Any
    tables: dict[str, jax.Array]
    opt_state: Any
    row_opt_state: dict[str, Slots]
    rng: jax.Array
    scratch: dict[str, jax.Array]


def init_state(
    task: Task,
    optimizer: optax.GradientTransformation,
    row_optimizer: emb.RowOptimizer,
    batch: Batch,
    seed: int,
    mesh: Mesh | None = None,
    rules: Rules = REPLICATED,
    strategies: dict[str, str] | None = None,
    exchange: str | None = None,
) -> TrainState:
    """Draws a new state, every array born where it will live.

    Args:
      task: the task.
      optimizer: of the dense parameters.
      row_optimizer: of the tables that name none.
      batch: {key: [B, ...]}, only shapes matter.
      seed: the run's seed.
      mesh: where it lives; None for one device.
      rules: placement of everything but tables.
      strategies: {table: strategy} to override the choice of how duplicates are summed.
      exchange: how rows move between devices, as in `embeddings.lookup`.

    Returns:
      The state at step 0.
    """
    keys = jax.random.split(jax.random.key(seed), 3)

    def dense(keys: jax.Array, batch: Batch) -> dict[str, Any]:
        params, model_state = task.init(keys[0], batch)
        return {
            'step': jnp.int32(0),
            'params': params,
            'model_state': model_state,
            'opt_state': optimizer.init(params),
            'rng': keys[2],
        }

    place = None if mesh is None else shardings(jax.eval_shape(dense, keys, batch), mesh, rules)
    fields = jax.jit(dense, out_shardings=place)(keys, batch)
    chosen = emb.choose_strategies(task.tables, task.ids(batch), mesh, exchange) | (strategies or {})
    return TrainState(
        **fields,
        tables=emb.init_tables(task.tables, keys[1], mesh),
        row_opt_state=emb.init_slots(task.tables, row_optimizer, mesh),
        scratch=emb.init_scratch(task.tables, chosen, mesh),
    )
