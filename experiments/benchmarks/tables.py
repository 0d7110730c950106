"""What updating one big table costs, and how the cost grows with it: mean pooling, one logit, uniform ids.

B batch, K ids an example, V rows, D width.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.steps import time_training
from jaxrec.embeddings import Table, as_specs, make_row_optimizer, uniform
from jaxrec.models.ctr import CtrTask
from jaxrec.parallel import make_mesh, put_batch
from jaxrec.parallel.peak_memory import peak_mb
from jaxrec.runs.timing import measure, record
from jaxrec.training.state import Setup, TrainState, init_state
from jaxrec.training.step import make_fused_step

BATCH, IDS = 8192, 20


class MeanPool(nn.Module):
    """The mean of K rows and one linear layer."""

    @nn.compact
    def __call__(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        """Maps rows [B, K, D] to logits [B, 1]."""
        return nn.Dense(1)(rows['table']['ids'].mean(1))


def make_setup(rows: int, dim: int, row_optimizer: str, strategy: str | None) -> Setup:
    """One table under a linear layer."""
    task = CtrTask(
        MeanPool(), as_specs([Table('table', rows, dim, uniform(0.01))]), lambda batch: {'table': {'ids': batch['ids']}}
    )
    rows_by, strategies = make_row_optimizer(row_optimizer, 1e-3), {'table': strategy} if strategy else {}
    return Setup(task, optax.adam(1e-3), rows_by, make_mesh((1, 1)), clip_norm=10.0, strategies=strategies)


def make_batches(rows: int, number: int = 4) -> list[dict[str, np.ndarray]]:
    """Draws host batches of uniform ids."""
    rng = np.random.default_rng(0)
    return [
        {
            'ids': rng.integers(1, rows, (BATCH, IDS)).astype(np.int32),
            'label': rng.integers(0, 2, (BATCH, 1)).astype(np.float32),
            'valid': np.ones((BATCH, 1), np.float32),
        }
        for _ in range(number)
    ]


def train(
    name: str, rows: int, dim: int = 32, row_optimizer: str = 'row_adagrad', strategy: str | None = None
) -> dict[str, Any]:
    """Time steps; `bare_ms` is a bare gather and scatter-add of the same rows, `temp_mb` compiled temporaries."""
    idle, setup, batches = peak_mb(), make_setup(rows, dim, row_optimizer, strategy), make_batches(rows)
    example = put_batch(batches[0], setup.mesh)
    state = init_state(setup, example, 0)
    chosen = setup.duplicate_strategies(setup.task.ids(example))['table']
    memory = make_fused_step(setup).lower(state, example).compile().memory_analysis()
    temp = memory.temp_size_in_bytes if memory is not None else float('nan')  # not every backend tells
    timed, state = time_training(setup, state, itertools.cycle(batches), warm=2)
    shapes = f'{rows}x{dim} B{BATCH}x{IDS} mean pool + Linear({dim},1) uniform ids fp32'
    more = {'row_optimizer': row_optimizer, 'strategy': chosen, 'temp_mb': round(temp / 2**20, 2)}
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
