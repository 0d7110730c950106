"""LR: logistic regression on one-hot features; its tables are one number wide.

B batch, C candidates.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from jaxrec.configurable import configurable
from jaxrec.embeddings import as_specs
from jaxrec.models.ctr.features import FeatureMap
from jaxrec.models.ctr.fields import WEIGHT, weight_tables
from jaxrec.models.ctr.task import CtrTask
from jaxrec.options import read_options


class LogisticRegression(nn.Module):
    """A bias and the sum of the weights of all one-hots."""

    features: FeatureMap

    @nn.compact
    def __call__(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        """Scores the candidates; arguments and logits are those of `Dnn`, rows one number wide."""
        bias = self.param('bias', nn.initializers.zeros, ())
        x = self.features.vectors({name.removesuffix(WEIGHT): r for name, r in rows.items()}, batch)
        return bias + x.user.sum(-1)[:, None] + x.candidate.sum(-1)


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds logistic regression for a log; history features are omitted.

    Args:
      config: `features`, and `row_l2` (default 0).
      schema: the log's {column: Column}.

    Raises:
      ValueError: a numeric column among the features.
    """
    options = read_options(config, 'model', features={}, row_l2=0.0)
    features = {side: names for side, names in options['features'].items() if side != 'history'}
    fmap = FeatureMap.make(features, schema)
    numeric = [name for name, column in fmap.columns.items() if column.kind == 'numeric']
    if numeric:
        raise ValueError(f'LR reads one-hots, but {numeric} are numeric; leave them out or bucket them')
    ids = lambda batch: fmap.ids(batch, WEIGHT)
    return CtrTask(LogisticRegression(fmap), as_specs(weight_tables(fmap)), ids, options['row_l2'])
