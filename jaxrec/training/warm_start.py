"""Starts from the checkpoint of another run, on a log whose vocabularies have grown since.

Dense parameters, their optimizer, the step count, the key, and old rows with their optimizer state are kept.
"""

import dataclasses

from jaxrec import embeddings as emb
from jaxrec.training.checkpoints import Checkpoints
from jaxrec.training.state import Setup, TrainState, abstract_state, new_scratch, table_key
from jaxrec.training.task import Batch


def warm_state(setup: Setup, checkpoints: Checkpoints, batch: Batch, seed: int, step: int | None = None) -> TrainState:
    """Restores a checkpoint (None: the best, or latest) into a state, at its step, whose tables may have more rows.

    New rows are those that a fresh state of this seed would have.

    Raises:
      ValueError: there is no such checkpoint, it is of another model, or a table has lost rows.
    """
    step = checkpoints.best if step is None else step
    tables = setup.task.tables
    saved = checkpoints.table_rows(step)
    old = {name: saved.get(name, spec.rows) for name, spec in tables.items()}
    # Orbax reads tables into the new padded shapes; what lies past the old rows is filled below.
    state = checkpoints.restore(abstract_state(setup, batch), step, table_rows=old).state
    grown, slots = emb.grow(
        tables, old, state.tables, state.row_opt_state, table_key(seed), setup.row_optimizer, setup.table_mesh
    )
    return dataclasses.replace(state, tables=grown, row_opt_state=slots, scratch=new_scratch(setup, batch))


def grown_rows(setup: Setup, checkpoints: Checkpoints, step: int | None = None) -> dict[str, int]:
    """{table: rows that a warm start from this checkpoint adds}."""
    saved = checkpoints.table_rows(checkpoints.best if step is None else step)
    return {name: spec.rows - saved.get(name, spec.rows) for name, spec in setup.task.tables.items()}
