"""DIN: the history pooled by its relevance to each candidate (arXiv 1706.06978); a base of CAN too.

B batch, C candidates, L history, D width, X width of the head's input.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from jaxrec.configurable import configurable
from jaxrec.embeddings import as_specs
from jaxrec.models.baselines.dnn import BASE_OPTIONS, SHARED_OPTIONS, Dnn, base_tables, join
from jaxrec.models.ctr.base import SHARED, Base
from jaxrec.models.ctr.features import FeatureMap
from jaxrec.models.ctr.layers import TargetAttention
from jaxrec.models.ctr.task import CtrTask
from jaxrec.options import read_options

# The options of DIN before its head, in addition to those of every base.
DIN_OPTIONS: dict[str, Any] = {'attention': (80, 40), 'softmax': True}


class DinInputs(nn.Module):
    """User, pooled history, candidate, interest and their product: the input of the head.

    Attributes:
      features: the feature map; the history must have the candidate's width.
      attention, softmax: hidden widths of the scoring net, and whether to normalise over the history.
    """

    features: FeatureMap
    attention: Sequence[int] = (80, 40)
    softmax: bool = True

    @nn.compact
    def __call__(
        self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Attends to the history from each candidate; arguments and results are those of `DnnInputs`."""
        x = self.features.vectors(rows, batch)
        attend = TargetAttention(self.attention, self.softmax, name='attention')
        interest = attend(x.candidate, x.history, x.mask)
        return join(x, interest, interest * x.candidate), {}


class Din(Dnn):
    """A `Dnn` on DIN's inputs, whose parameters are siblings of the head's."""

    def setup(self) -> None:
        """Keeps the attention where checkpoints of earlier versions have it."""
        nn.share_scope(self, self.base)


def check_comparable(features: Mapping[str, Any], model: str) -> None:
    """Refuses features {side: [column, ...]} of which history and candidate differ, by a ValueError for the model."""
    history, candidate = list(features.get('history', ())), list(features.get('candidate', ()))
    if history != candidate:
        raise ValueError(
            f'{model} compares each behaviour with the candidate: features.history {history} must equal '
            f'features.candidate {candidate}'
        )


@configurable('task')
def make_inputs(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Base:
    """DIN without its head, as a base.

    Args:
      config: the options of `ctr.base.SHARED`, and any of `DIN_OPTIONS`.
      schema: the log's {column: Column}.

    Raises:
      ValueError: history and candidate features differ, so that behaviours cannot be compared with candidates.
    """
    options = read_options(config, 'model', **SHARED_OPTIONS, **DIN_OPTIONS)
    check_comparable(options['features'], 'DIN')
    features = FeatureMap.make(options['features'], schema, options['history_pooling'])
    module = DinInputs(features, tuple(options['attention']), options['softmax'])
    return Base(module, base_tables(features, options['dim'], options['init_std']), features.ids)


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds DIN for a log.

    Args:
      config: `features`, and any other of `BASE_OPTIONS` and `DIN_OPTIONS`.
      schema: the log's {column: Column}.

    Raises:
      ValueError: what `make_inputs` refuses.
    """
    options = read_options(config, 'model', **BASE_OPTIONS, **DIN_OPTIONS)
    base = make_inputs({key: options[key] for key in (*SHARED, *DIN_OPTIONS)}, schema)
    module = Din(base.module, tuple(options['widths']), options['batch_norm'])
    return CtrTask(module, as_specs(base.tables), base.ids, options['row_l2'])
