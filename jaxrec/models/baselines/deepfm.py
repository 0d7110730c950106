"""DeepFM: a factorisation machine and an MLP on the same embeddings (arXiv 1703.04247, eq. 1-4).

B batch, C candidates, D width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from jaxrec.configurable import configurable
from jaxrec.embeddings import as_specs
from jaxrec.models.baselines.dnn import BASE_OPTIONS, base_tables, join
from jaxrec.models.ctr.fields import WEIGHT, FieldMap, FieldVectors, LinearTerms, weight_tables
from jaxrec.models.ctr.layers import Mlp
from jaxrec.models.ctr.task import CtrTask
from jaxrec.ops.interactions import fm_second_order
from jaxrec.options import read_options


class DeepFm(nn.Module):
    """The sum of first-order terms, second-order terms and the DNN base, whose attributes are those of `Dnn`."""

    fields: FieldMap
    dim: int = 18
    widths: Sequence[int] = (200, 80)
    batch_norm: bool = False

    @nn.compact
    def __call__(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        """Scores the candidates; arguments and logits are those of `Dnn`, rows as wide as their tables."""
        linear = LinearTerms(self.fields, name='linear')(rows, batch)
        vectors = FieldVectors(self.fields, self.dim, name='vectors')(rows, batch)
        x = join(self.fields.features.vectors(rows, batch))
        head = Mlp((*self.widths, 1), self.batch_norm, name='head')
        return linear + fm_second_order(*vectors) + head(x, train, batch['valid'])[..., 0]


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds DeepFM for a log.

    Args:
      config: `features` and any other of `BASE_OPTIONS`.
      schema: the log's {column: Column}.

    Raises:
      ValueError: fewer than two fields.
    """
    options = read_options(config, 'model', **BASE_OPTIONS)
    fields = FieldMap.make(options['features'], schema, options['history_pooling'], 'DeepFM')
    tables = base_tables(fields.features, options['dim'], options['init_std']) + weight_tables(fields.features)
    module = DeepFm(fields, options['dim'], tuple(options['widths']), options['batch_norm'])
    return CtrTask(module, as_specs(tables), lambda batch: fields.ids(batch, ('', WEIGHT)), options['row_l2'])
