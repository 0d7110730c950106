"""DeepFFM, as in CAN (arXiv 2011.05625, table 3): DeepFM with FFM, on embeddings of its own, in place of FM.

B batch, C candidates, F fields, A width of a field-aware vector, D width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from jaxrec.configurable import configurable
from jaxrec.embeddings import as_specs
from jaxrec.models.baselines.dnn import BASE_OPTIONS, base_tables, join
from jaxrec.models.baselines.ffm import Ffm
from jaxrec.models.ctr.fields import AWARE, WEIGHT, FieldMap, weight_tables
from jaxrec.models.ctr.layers import Mlp
from jaxrec.models.ctr.task import CtrTask
from jaxrec.options import read_options


class DeepFfm(nn.Module):
    """The sum of FFM, with vectors of `aware_dim` A numbers, and the DNN base; other attributes are those of `Dnn`."""

    fields: FieldMap
    aware_dim: int = 18
    widths: Sequence[int] = (200, 80)
    batch_norm: bool = False

    @nn.compact
    def __call__(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        """Scores the candidates; arguments and logits are those of `Dnn`, rows as wide as their tables."""
        wide = Ffm(self.fields, self.aware_dim, name='ffm')(rows, batch)
        x = join(self.fields.features.vectors(rows, batch))
        head = Mlp((*self.widths, 1), self.batch_norm, name='head')
        return wide + head(x, train, batch['valid'])[..., 0]


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds DeepFFM for a log; in addition to the base's tables it has FFM's, whose rows are F * A numbers wide.

    Args:
      config: `features`, any other of `BASE_OPTIONS`, and `aware_dim` (18).
      schema: the log's {column: Column}.

    Raises:
      ValueError: fewer than two fields.
    """
    options = read_options(config, 'model', **BASE_OPTIONS, aware_dim=18)
    fields = FieldMap.make(options['features'], schema, options['history_pooling'], 'DeepFFM')
    tables = base_tables(fields.features, options['dim'], options['init_std']) + weight_tables(fields.features)
    tables += fields.aware_tables(options['aware_dim'], options['init_std'])
    module = DeepFfm(fields, options['aware_dim'], tuple(options['widths']), options['batch_norm'])
    return CtrTask(module, as_specs(tables), lambda batch: fields.ids(batch, ('', WEIGHT, AWARE)), options['row_l2'])
