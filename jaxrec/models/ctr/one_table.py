"""One embedding table under a linear layer, with random batches: what lookups and updates cost, and little else.

B batch, K ids an example, V rows, D width.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from jax.sharding import Mesh

from jaxrec.embeddings import RowOptimizer, Table, as_specs, uniform
from jaxrec.models.ctr.task import CtrTask
from jaxrec.training.state import Setup


class MeanPool(nn.Module):
    """The mean of K rows and one linear layer."""

    @nn.compact
    def __call__(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        """Maps rows [B, K, D] to logits [B, 1]."""
        return nn.Dense(1)(rows['table']['ids'].mean(1))


def make_setup(
    rows: int, dim: int, row_optimizer: RowOptimizer, mesh: Mesh, strategy: str | None = None, **options: Any
) -> Setup:
    """Builds the model and its optimizers, Adam on the linear layer.

    Args:
      rows, dim: V and D.
      row_optimizer, mesh, **options: of the `Setup`.
      strategy: how duplicates are summed, as in `embeddings.choose_strategies`; None chooses it by the sizes.
    """
    specs = as_specs([Table('table', rows, dim, uniform(0.01))])
    task = CtrTask(MeanPool(), specs, lambda batch: {'table': {'ids': batch['ids']}})
    strategies = {'table': strategy} if strategy else {}
    return Setup(task, optax.adam(1e-3), row_optimizer, mesh, strategies=strategies, **options)


def make_batches(
    draw: Callable[[np.random.Generator, tuple[int, int]], np.ndarray], number: int, size: int, ids: int
) -> list[dict[str, np.ndarray]]:
    """Draws host batches with random labels.

    Args:
      draw: (rng, (B, K)) -> ids [B, K].
      number: of batches.
      size, ids: B and K.
    """
    rng = np.random.default_rng(0)
    return [
        {
            'ids': draw(rng, (size, ids)).astype(np.int32),
            'label': rng.integers(0, 2, (size, 1)).astype(np.float32),
            'valid': np.ones((size, 1), np.float32),
        }
        for _ in range(number)
    ]
