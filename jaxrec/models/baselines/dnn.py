"""DNN: embeddings, a pooled history, and an MLP (the plain base of arXiv 2011.05625, table 2).

B batch, C candidates, L history, D width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.configurable import configurable
from jaxrec.embeddings import Table, as_specs, normal
from jaxrec.models.ctr.base import SHARED, Base
from jaxrec.models.ctr.features import FeatureMap, Inputs
from jaxrec.models.ctr.layers import Mlp, over_candidates
from jaxrec.models.ctr.task import CtrTask, Scored
from jaxrec.options import read_options

# The options of every model on this base.
BASE_OPTIONS: dict[str, Any] = {
    'features': {},
    'dim': 18,
    'widths': (200, 80),
    'history_pooling': 'sum',
    'batch_norm': False,
    'init_std': 0.01,
    'row_l2': 0.0,
}
SHARED_OPTIONS = {key: BASE_OPTIONS[key] for key in SHARED}


class DnnInputs(nn.Module):
    """Concatenates user, pooled history and candidate: the input of the head."""

    features: FeatureMap

    @nn.compact
    def __call__(
        self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Joins the vectors of a batch.

        Args:
          rows: {table: {feature: [B, ..., D]}}.
          batch: {key: [B, ...]}.
          train: whether the losses of training are wanted; there are none here.

        Returns:
          x float [B, C, X] and {name: weighted loss float []}.
        """
        return join(self.features.vectors(rows, batch)), {}


class Dnn(nn.Module):
    """An MLP on the vectors of a base.

    Attributes:
      base: called as (rows, batch, train) -> (x float [B, C, X], {name: loss}).
      widths: hidden widths of the MLP.
      batch_norm: normalise the MLP's input.
      activation: 'prelu', 'dice' or 'sigmoid' in the MLP.
    """

    base: nn.Module
    widths: Sequence[int] = (200, 80)
    batch_norm: bool = False
    activation: str = 'prelu'

    @nn.compact
    def __call__(
        self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False
    ) -> jax.Array | Scored:
        """Scores the candidates.

        Args:
          rows: {table: {feature: [B, ..., D]}}.
          batch: {key: [B, ...]}.
          train: whether batch statistics are of this batch.

        Returns:
          logits float32 [B, C]; with the losses of the base where it has any.
        """
        x, losses = self.base(rows, batch, train)
        logits = Mlp((*self.widths, 1), self.batch_norm, self.activation, name='head')(x, train, batch['valid'])[..., 0]
        return Scored(logits, losses) if losses else logits


def join(x: Inputs, *others: jax.Array) -> jax.Array:
    """Concatenates user, pooled history, candidate and further vectors [B, C, *] of a model, float [B, C, *]."""
    candidates = x.candidate.shape[1]
    request = jnp.concatenate([x.user, x.pooled], -1)
    return jnp.concatenate([over_candidates(request, candidates), x.candidate, *others], -1)


def base_tables(features: FeatureMap, dim: int, init_std: float) -> list[Table]:
    """The embedding tables of the features, one a vocabulary, whose initial rows have this standard deviation."""
    return [Table(name, rows, dim, normal(init_std)) for name, rows in features.table_rows().items()]


def on_base(base: Base, options: Mapping[str, Any], activation: str = 'prelu') -> CtrTask:
    """The task of `Dnn` on a base, by the options of `BASE_OPTIONS`."""
    module = Dnn(base.module, tuple(options['widths']), options['batch_norm'], activation)
    return CtrTask(module, as_specs(base.tables), base.ids, options['row_l2'])


@configurable('task')
def make_inputs(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Base:
    """The DNN without its head, as a base; config has the options of `ctr.base.SHARED` alone."""
    options = read_options(config, 'model.base_options', **SHARED_OPTIONS)
    features = FeatureMap.make(options['features'], schema, options['history_pooling'])
    tables = base_tables(features, options['dim'], options['init_std'])
    return Base(DnnInputs(features), tables, features.ids)


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds the DNN for a log.

    Args:
      config: `features` and any other of `BASE_OPTIONS`.
      schema: the log's {column: Column}.
    """
    options = read_options(config, 'model', **BASE_OPTIONS)
    return on_base(make_inputs({key: options[key] for key in SHARED}, schema), options)
