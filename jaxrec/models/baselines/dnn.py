"""DNN: embeddings, a pooled history, and an MLP (the plain base of arXiv 2011.05625, table 2).

B batch, C candidates, L history, D width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.embeddings import Table, as_specs, normal
from jaxrec.models.ctr.features import FeatureMap, Inputs
from jaxrec.models.ctr.layers import Mlp, over_candidates
from jaxrec.models.ctr.task import CtrTask
from jaxrec.options import read_options

# What every model on this base can be told.
BASE_OPTIONS: dict[str, Any] = {
    'features': {},
    'dim': 18,
    'widths': (200, 80),
    'history_pooling': 'sum',
    'batch_norm': False,
    'init_std': 0.01,
    'row_l2': 0.0,
}


class Dnn(nn.Module):
    """Concatenates user, candidate and pooled history, and feeds an MLP.

    Attributes:
      features: the feature map.
      widths: hidden widths of the MLP.
      batch_norm: normalise the MLP's input.
    """

    features: FeatureMap
    widths: Sequence[int] = (200, 80)
    batch_norm: bool = False

    @nn.compact
    def __call__(
        self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False
    ) -> jax.Array:
        """Scores the candidates.

        Args:
          rows: {table: {feature: [B, ..., D]}}.
          batch: {key: [B, ...]}.
          train: whether batch statistics are of this batch.

        Returns:
          logits float32 [B, C].
        """
        x = join(self.features.vectors(rows, batch))
        return Mlp((*self.widths, 1), self.batch_norm, name='head')(x, train, batch['valid'])[..., 0]


def join(x: Inputs, *others: jax.Array) -> jax.Array:
    """The base's input: user, candidate, the pooled history, and what else a model adds.

    Args:
      x: the vectors of a batch.
      *others: float [B, C, *].

    Returns:
      float [B, C, *].
    """
    candidates = x.candidate.shape[1]
    request = jnp.concatenate([x.user, x.pooled], -1)
    return jnp.concatenate([over_candidates(request, candidates), x.candidate, *others], -1)


def base_tables(features: FeatureMap, dim: int, init_std: float) -> list[Table]:
    """The embedding tables of the features, one a vocabulary.

    Args:
      features: the feature map.
      dim: D.
      init_std: standard deviation of the initial rows.

    Returns:
      The tables.
    """
    return [Table(name, rows, dim, normal(init_std)) for name, rows in features.table_rows().items()]


def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds the DNN for a log.

    Args:
      config: `features` and any other of `BASE_OPTIONS`.
      schema: the log's {column: Column}.

    Returns:
      The task.
    """
    options = read_options(config, 'model', **BASE_OPTIONS)
    features = FeatureMap.make(options['features'], schema, options['history_pooling'])
    module = Dnn(features, tuple(options['widths']), options['batch_norm'])
    tables = base_tables(features, options['dim'], options['init_std'])
    return CtrTask(module, as_specs(tables), features.ids, options['row_l2'])
