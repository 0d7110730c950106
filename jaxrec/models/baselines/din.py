"""DIN: the history pooled by its relevance to each candidate (arXiv 1706.06978).

B batch, C candidates, L history, D width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from jaxrec.embeddings import as_specs
from jaxrec.models.baselines.dnn import BASE_OPTIONS, base_tables, join
from jaxrec.models.ctr.features import FeatureMap
from jaxrec.models.ctr.layers import Mlp, TargetAttention
from jaxrec.models.ctr.task import CtrTask
from jaxrec.options import read_options


class Din(nn.Module):
    """The DNN base with target attention beside the plain history sum.

    Attributes:
      features: the feature map; the history must have the candidate's width.
      widths: hidden widths of the MLP.
      attention: hidden widths of the scoring net.
      softmax: normalise the attention over the history.
      batch_norm: normalise the MLP's input.
    """

    features: FeatureMap
    widths: Sequence[int] = (200, 80)
    attention: Sequence[int] = (80, 40)
    softmax: bool = True
    batch_norm: bool = False

    @nn.compact
    def __call__(
        self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False
    ) -> jax.Array:
        """Scores the candidates; arguments and logits are those of `Dnn`."""
        x = self.features.vectors(rows, batch)
        attend = TargetAttention(self.attention, self.softmax, name='attention')
        interest = attend(x.candidate, x.history, x.mask)
        head = Mlp((*self.widths, 1), self.batch_norm, name='head')
        return head(join(x, interest, interest * x.candidate), train, batch['valid'])[..., 0]


def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds DIN for a log.

    Args:
      config: `features`, any other of `BASE_OPTIONS`, `attention` ((80, 40)) and `softmax` (True).
      schema: the log's {column: Column}.

    Returns:
      The task.

    Raises:
      ValueError: history and candidate features differ, so that behaviours cannot be compared with
        candidates.
    """
    options = read_options(config, 'model', **BASE_OPTIONS, attention=(80, 40), softmax=True)
    given = options['features']
    history, candidate = list(given.get('history', ())), list(given.get('candidate', ()))
    if history != candidate:
        raise ValueError(
            f'DIN compares each behaviour with the candidate: features.history {history} must equal '
            f'features.candidate {candidate}'
        )
    features = FeatureMap.make(given, schema, options['history_pooling'])
    module = Din(
        features,
        tuple(options['widths']),
        tuple(options['attention']),
        options['softmax'],
        options['batch_norm'],
    )
    tables = base_tables(features, options['dim'], options['init_std'])
    return CtrTask(module, as_specs(tables), features.ids, options['row_l2'])
