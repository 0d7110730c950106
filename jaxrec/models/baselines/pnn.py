"""PNN: the products of all pairs of fields, appended to the MLP's input (arXiv 1611.00144).

B batch, C candidates, F fields, D width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from jaxrec.configurable import configurable
from jaxrec.embeddings import as_specs
from jaxrec.models.baselines.dnn import BASE_OPTIONS, base_tables, join
from jaxrec.models.ctr.fields import FieldMap, FieldVectors
from jaxrec.models.ctr.layers import Mlp
from jaxrec.models.ctr.task import CtrTask
from jaxrec.ops.interactions import outer_product, pairwise_inner
from jaxrec.options import read_options

PRODUCTS = {'inner': (pairwise_inner,), 'outer': (outer_product,), 'both': (pairwise_inner, outer_product)}


class Pnn(nn.Module):
    """The DNN base with a product layer; further attributes are those of `Dnn`.

    Attributes:
      product: 'inner' (IPNN, F (F - 1) / 2 inputs), 'outer' (OPNN, D * D inputs) or 'both' (PNN*).
    """

    fields: FieldMap
    product: str = 'inner'
    dim: int = 18
    widths: Sequence[int] = (200, 80)
    batch_norm: bool = False

    @nn.compact
    def __call__(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        """Scores the candidates; arguments and logits are those of `Dnn`."""
        vectors = FieldVectors(self.fields, self.dim, name='vectors')(rows, batch)
        products = [multiply(*vectors) for multiply in PRODUCTS[self.product]]
        x = join(self.fields.features.vectors(rows, batch), *products)
        return Mlp((*self.widths, 1), self.batch_norm, name='head')(x, train, batch['valid'])[..., 0]


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds PNN for a log.

    Args:
      config: `features`, any other of `BASE_OPTIONS`, and `product` ('inner', 'outer' or 'both').
      schema: the log's {column: Column}.

    Raises:
      ValueError: fewer than two fields, or an unknown product.
    """
    options = read_options(config, 'model', **BASE_OPTIONS, product='inner')
    product = options['product']
    if product not in PRODUCTS:
        raise ValueError(f'model.product = {product!r} does not exist; choose one of {sorted(PRODUCTS)}')
    fields = FieldMap.make(options['features'], schema, options['history_pooling'], 'PNN')
    module = Pnn(fields, product, options['dim'], tuple(options['widths']), options['batch_norm'])
    tables = base_tables(fields.features, options['dim'], options['init_std'])
    return CtrTask(module, as_specs(tables), fields.ids, options['row_l2'])
