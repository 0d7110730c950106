"""Beam search as a step of the planner: `--step=jaxrec.planning.generation:beams_512`."""

import functools
from typing import Any

import jax
import numpy as np

from jaxrec.configurable import configurable
from jaxrec.models.onerec.generate import Written, catalogue, make_generate
from jaxrec.models.onerec.task import SessionTask
from jaxrec.training.state import Setup, TrainState
from jaxrec.training.task import Batch


def beam_step(setup: Setup, beams: int) -> jax.stages.Wrapped:
    """The generation of whole sessions over the catalogue: (state, batch of histories) -> sessions."""
    task = setup.placed_task
    if not isinstance(task, SessionTask):
        raise ValueError(
            f'{type(task).__name__} writes no sessions: plan beams with a config of configs/onerec, or --step=predict'
        )
    trie = jax.tree.map(np.asarray, catalogue(task.codes, task.network.levels))
    generate = make_generate(task, beams=beams)

    @jax.jit
    def step(state: TrainState, batch: Batch) -> Written:
        asked: dict[str, Any] = {key: x for key, x in batch.items() if key.startswith('history/')}
        return generate(state.params, state.model_state, asked, trie)

    return step


beams_128 = configurable('step')(functools.partial(beam_step, beams=128))
beams_512 = configurable('step')(functools.partial(beam_step, beams=512))
