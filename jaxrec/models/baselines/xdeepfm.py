"""xDeepFM: first-order terms, a compressed interaction network and an MLP (arXiv 1803.05170).

B batch, C candidates, D width, F fields.
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
from jaxrec.ops.interactions import cin, cin_shapes
from jaxrec.options import read_options


class XDeepFm(nn.Module):
    """The sum of first-order terms, a weighted sum of CIN's maps, and the DNN base; else as `Dnn`.

    Attributes:
      cin, cin_split: feature maps of each layer; half of a layer's maps feeds the next layer, half the output.
    """

    fields: FieldMap
    dim: int = 18
    cin: Sequence[int] = (100, 100)
    cin_split: bool = False
    widths: Sequence[int] = (200, 80)
    batch_norm: bool = False

    @nn.compact
    def __call__(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        """Scores the candidates; arguments and logits are those of `Dnn`, rows as wide as their tables."""
        linear = LinearTerms(self.fields, name='linear')(rows, batch)
        vectors = FieldVectors(self.fields, self.dim, name='vectors')(rows, batch)
        scale = nn.initializers.glorot_normal(in_axis=(0, 1))  # a map sums over all pairs (h, f)
        shapes = cin_shapes(len(self.fields.names), self.cin, self.cin_split)
        kernels = [self.param(f'cin_{depth}', scale, shape) for depth, shape in enumerate(shapes)]
        maps = cin(*vectors, kernels, self.cin_split)
        crossed = nn.Dense(1, use_bias=False, name='maps')(maps)[..., 0]
        x = join(self.fields.features.vectors(rows, batch))
        head = Mlp((*self.widths, 1), self.batch_norm, name='head')
        return linear + crossed + head(x, train, batch['valid'])[..., 0]


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds xDeepFM for a log.

    Args:
      config: `features`, any other of `BASE_OPTIONS`, `cin` (100, 100) and `cin_split` (False).
      schema: the log's {column: Column}.

    Raises:
      ValueError: fewer than two fields, or widths that make no CIN.
    """
    options = read_options(config, 'model', **BASE_OPTIONS, cin=(100, 100), cin_split=False)
    fields = FieldMap.make(options['features'], schema, options['history_pooling'], 'xDeepFM')
    cin_shapes(len(fields.names), options['cin'], options['cin_split'])  # refuses widths before any batch
    tables = base_tables(fields.features, options['dim'], options['init_std']) + weight_tables(fields.features)
    crossing = tuple(options['cin']), options['cin_split']
    module = XDeepFm(fields, options['dim'], *crossing, tuple(options['widths']), options['batch_norm'])
    return CtrTask(module, as_specs(tables), lambda batch: fields.ids(batch, ('', WEIGHT)), options['row_l2'])
