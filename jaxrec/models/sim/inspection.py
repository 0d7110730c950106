"""Reports what a search keeps and what its exact unit attends to: for tables and figures, not for scoring.

B batch, C candidates, L long window, K kept, H heads.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxrec import embeddings as emb
from jaxrec.data.sources.batch_source import BatchSource
from jaxrec.evaluation.searches import kept_slots
from jaxrec.models.ctr.task import CtrTask
from jaxrec.models.sim.interest import Inspection
from jaxrec.models.sim.model import Sim
from jaxrec.ops.histories.pooling import length_mask, masked_softmax
from jaxrec.ops.histories.search import Kept, top_search
from jaxrec.ops.histories.target_attention import log_attention
from jaxrec.options import plain
from jaxrec.parallel import put_batch
from jaxrec.runs.build import Experiment
from jaxrec.runs.restore import restore_model
from jaxrec.runs.run import Run
from jaxrec.training.state import Setup, TrainState
from jaxrec.training.task import Batch


class Searched(NamedTuple):
    """What a trained search keeps of a batch.

    Attributes:
      kept: bool [B, C, L], the behaviours that are kept for each candidate.
      attention: float32 [B, C, L], the exact unit's weights of the kept behaviours, their softmax averaged over the
        heads; 0 for the others, None where the exact unit weighs nothing.
    """

    kept: NDArray
    attention: NDArray | None


def whole_windows(run: Experiment, part: str = 'test') -> BatchSource:
    """Opens a part in batches with the complete long window, in the order of the log, even if the loader searches.

    Raises:
      ValueError: the run reads no long window.
    """
    if run.data.get('lifelong') is None:
        raise ValueError(f'{run.config.task} reads no long window: give a run with data.lifelong')
    whole = plain(run.data['lifelong']) | {'search': None}
    return dataclasses.replace(run, data={**run.data, 'lifelong': whole}).source(part)


def inspect_run(run: Run, batch: Mapping[str, NDArray], step: int | None = None) -> Searched:
    """Searches the histories of a batch with a checkpoint of a run.

    Args:
      run: of a preset with a search, such as SIM-soft, ETA or TWIN.
      batch: of `whole_windows`.
      step: which checkpoint; None takes the best on validation.

    Raises:
      ValueError: the model has no search, or as `make_inspect_step`.
    """
    experiment = run.experiment
    inspect = make_inspect_step(experiment.setup)
    state, _ = restore_model(experiment, run.workdir, step)
    found = jax.device_get(inspect(state, put_batch(dict(batch), experiment.setup.mesh)))
    if found.kept is None:
        raise ValueError(f'{run.workdir} has model.search = {experiment.config.model.search!r}, which keeps nothing')
    rows = len(batch['valid'])  # the mesh may have filled the batch up
    kept = kept_slots(found.kept.index[:rows], found.kept.length[:rows], window_size(batch))
    if found.logits is None:
        return Searched(kept, None)
    weights = masked_softmax(found.logits[:rows], jnp.asarray(kept[:, :, None]))
    return Searched(kept, np.asarray(weights.mean(2)))


def window_size(batch: Mapping[str, NDArray]) -> int:
    """L, of a batch of `whole_windows`."""
    return next(x.shape[1] for key, x in batch.items() if key.startswith('long/') and x.ndim > 1)


def make_inspect_step(setup: Setup) -> Callable[[TrainState, Batch], Inspection]:
    """Builds the jitted inspection of a model's search.

    Returns:
      (state, batch) -> `Inspection`; batches hold the complete long window, and of the state `params`, `model_state`
      and `tables` are read.

    Raises:
      ValueError: the task is not one of this package, or its tables live on the host.
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
    """The positions of the K behaviours of the highest attention, summed over the heads, oldest first.

    `logits` float [B, C, H, L] are those of an `Inspection`, `length` int [B] counts real behaviours.
    """
    mask = length_mask(length, logits.shape[-1])[:, None]
    return top_search(log_attention(logits, mask), length, keep)
