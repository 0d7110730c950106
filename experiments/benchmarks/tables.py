"""What updating one big table costs, and how the cost grows with it: mean pooling, one logit, uniform ids.

B batch, K ids an example, V rows, D width.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.embeddings import make_row_optimizer
from jaxrec.models.ctr import one_table
from jaxrec.parallel import make_mesh
from jaxrec.parallel.peak_memory import peak_mb
from jaxrec.runs.timing import measure, record, time_steps
from jaxrec.training.state import TrainState

BATCH, IDS = 8192, 20


def train(
    name: str, rows: int, dim: int = 32, row_optimizer: str = 'row_adagrad', strategy: str | None = None
) -> dict[str, Any]:
    """Time steps; `bare_ms` is a bare gather and scatter-add of the same rows, `temp_mb` compiled temporaries."""
    idle, by = peak_mb(), make_row_optimizer(row_optimizer, 1e-3)
    setup = one_table.make_setup(rows, dim, by, make_mesh((1, 1)), strategy, clip_norm=10.0)
    batches = one_table.make_batches(lambda rng, shape: rng.integers(1, rows, shape), 4, BATCH, IDS)
    chosen = setup.duplicate_strategies(setup.task.ids(batches[0]))['table']
    timed, temp, state = time_steps(setup, batches)
    shapes = f'{rows}x{dim} B{BATCH}x{IDS} mean pool + Linear({dim},1) uniform ids fp32'
    more = {'row_optimizer': row_optimizer, 'strategy': chosen, 'temp_mb': round(temp, 2)}
    line = record(name, shapes, rows * dim, timed, BATCH, idle, **more)
    return line | {'bare_ms': bare(state, batches)}


def bare(state: TrainState, batches: list[dict[str, np.ndarray]]) -> float:
    """Milliseconds of a jitted gather and scatter-add of the same rows, in place."""

    def touch(table: jax.Array, ids: jax.Array) -> jax.Array:
        flat = ids.reshape(-1)
        return table.at[flat].add(table[flat] * jnp.float32(1e-6))

    jitted, held, turns = (jax.jit(touch, donate_argnums=0), {'table': state.tables['table']}, itertools.cycle(batches))

    def call() -> None:
        held['table'] = jitted(held['table'], next(turns)['ids'])

    seconds, _ = measure(call, lambda: jax.block_until_ready(held['table']), warm=2)
    return round(seconds * 1e3, 3)
