"""FFM: a factorisation machine whose ids keep a vector for every field (Juan et al., RecSys 2016, eq. 4).

B batch, C candidates, F fields, D width.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from jaxrec.configurable import configurable
from jaxrec.embeddings import as_specs
from jaxrec.models.baselines.dnn import BASE_OPTIONS
from jaxrec.models.ctr.fields import AWARE, WEIGHT, AwareVectors, FieldMap, LinearTerms, weight_tables
from jaxrec.models.ctr.task import CtrTask
from jaxrec.ops.interactions import field_aware_inner
from jaxrec.options import read_options

# Of the base's; there is no MLP.
OPTIONS = ('features', 'dim', 'history_pooling', 'init_std', 'row_l2')


class Ffm(nn.Module):
    """First-order terms and the products of all pairs of fields, each with a vector of `dim` numbers for the other."""

    fields: FieldMap
    dim: int = 18

    @nn.compact
    def __call__(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        """Scores the candidates; arguments and logits are those of `Dnn`, rows as wide as their tables."""
        linear = LinearTerms(self.fields, name='linear')(rows, batch)
        aware = AwareVectors(self.fields, self.dim, name='aware')(rows, batch)
        return linear + field_aware_inner(*aware).sum(-1)


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds FFM for a log.

    A row of `<vocabulary>_aware` has (F - 1) * D numbers, or F * D where several fields share the vocabulary: for item
    and category on both sides and a user, 5 * 18 = 90 where an ordinary embedding has 18.

    Args:
      config: `features`, `dim` (18, of each field-aware vector), `history_pooling` ('sum' or 'mean'), `init_std` (.01),
        `row_l2` (0).
      schema: the log's {column: Column}.

    Raises:
      ValueError: fewer than two fields.
    """
    options = read_options(config, 'model', **{key: BASE_OPTIONS[key] for key in OPTIONS})
    fields = FieldMap.make(options['features'], schema, options['history_pooling'], 'FFM')
    tables = weight_tables(fields.features) + fields.aware_tables(options['dim'], options['init_std'])
    ids = lambda batch: fields.ids(batch, (WEIGHT, AWARE))
    return CtrTask(Ffm(fields, options['dim']), as_specs(tables), ids, options['row_l2'])
