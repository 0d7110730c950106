"""ONN (arXiv 1904.12579): the MLP reads the base's embeddings and all products of pairs of field-aware vectors.

B batch, C candidates, F fields, A width of a field-aware vector, D width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from jaxrec.configurable import configurable
from jaxrec.embeddings import as_specs
from jaxrec.models.baselines.dnn import BASE_OPTIONS, base_tables, join
from jaxrec.models.ctr.fields import AWARE, AwareVectors, FieldMap
from jaxrec.models.ctr.layers import Mlp
from jaxrec.models.ctr.task import CtrTask
from jaxrec.ops.interactions import field_aware_inner
from jaxrec.options import read_options


class Onn(nn.Module):
    """The DNN base and the products of all pairs of fields, by vectors of `aware_dim` A numbers; else as `Dnn`."""

    fields: FieldMap
    aware_dim: int = 18
    widths: Sequence[int] = (200, 80)
    batch_norm: bool = False

    @nn.compact
    def __call__(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        """Scores the candidates; arguments and logits are those of `Dnn`, rows as wide as their tables."""
        aware = AwareVectors(self.fields, self.aware_dim, name='aware')(rows, batch)
        x = join(self.fields.features.vectors(rows, batch), field_aware_inner(*aware))
        return Mlp((*self.widths, 1), self.batch_norm, name='head')(x, train, batch['valid'])[..., 0]


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds ONN for a log; in addition to the base's tables it has field-aware ones, F * A numbers a row.

    Args:
      config: `features`, any other of `BASE_OPTIONS`, and `aware_dim` (18).
      schema: the log's {column: Column}.

    Raises:
      ValueError: fewer than two fields.
    """
    options = read_options(config, 'model', **BASE_OPTIONS, aware_dim=18)
    fields = FieldMap.make(options['features'], schema, options['history_pooling'], 'ONN')
    tables = base_tables(fields.features, options['dim'], options['init_std'])
    tables += fields.aware_tables(options['aware_dim'], options['init_std'])
    module = Onn(fields, options['aware_dim'], tuple(options['widths']), options['batch_norm'])
    return CtrTask(module, as_specs(tables), lambda batch: fields.ids(batch, ('', AWARE)), options['row_l2'])
