"""DIEN: how interests evolve towards each candidate (arXiv 1809.03672); a base of CAN (arXiv 2011.05625).

A GRU computes a state of each behaviour and an auxiliary loss trains the states to predict what came next (section
4.2); attention weighs them against a candidate, and an AUGRU runs over them by its weights (section 4.3).

B batch, C candidates, L history, D width of a behaviour, H hidden width, X width of the head's input.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from jaxrec.configurable import configurable
from jaxrec.models.baselines.din import check_comparable
from jaxrec.models.baselines.dnn import BASE_OPTIONS, SHARED_OPTIONS, base_tables, join, on_base
from jaxrec.models.ctr.base import SHARED, Base
from jaxrec.models.ctr.features import NEGATIVE, FeatureMap, Inputs, read
from jaxrec.models.ctr.layers import ACTIVATIONS, TargetAttention, over_candidates
from jaxrec.models.ctr.recurrent import Augru, Gru, NextBehaviour
from jaxrec.models.ctr.task import CtrTask
from jaxrec.ops.histories.pooling import attention_weights
from jaxrec.options import read_options

# The options of DIEN before its head, in addition to those of every base.
DIEN_OPTIONS: dict[str, Any] = {'hidden': 36, 'attention': (36,), 'auxiliary_weight': 1.0}


class DienInputs(nn.Module):
    """User, pooled history, candidate, their product, evolved interest: the input of the head.

    Attributes:
      features: the feature map; the history must have the candidate's width.
      hidden: H, of both recurrences.
      attention: hidden widths of the net that scores states against candidates; () is the paper's h W c.
      auxiliary_weight: of the auxiliary loss; 0 omits it and needs no negatives.
    """

    features: FeatureMap
    hidden: int = 36
    attention: Sequence[int] = (36,)
    auxiliary_weight: float = 1.0

    @nn.compact
    def __call__(
        self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Reads the history twice, on its own and towards each candidate; arguments are those of `DnnInputs`.

        Returns:
          x float [B, C, X], and in training {'auxiliary': weighted loss float []}.

        Raises:
          ValueError: training with the auxiliary loss on a batch without negatives.
        """
        x = self.features.vectors(rows, batch)
        states = Gru(self.hidden, name='extraction')(x.history, x.mask)
        attention = attention_weights(self._relevance(x.candidate, states), x.mask)
        interest = Augru(self.hidden, name='evolution')(states, attention, x.mask)
        pooled = over_candidates(x.pooled, x.candidate.shape[1])
        return join(x, x.candidate * pooled, interest), self._losses(x, states, batch, train)

    def _relevance(self, candidate: jax.Array, states: jax.Array) -> jax.Array:
        """Logits [B, C, L] of the states [B, L, H], the candidates [B, C, D] brought to their width."""
        query = nn.Dense(self.hidden, use_bias=False, name='query')(candidate)
        if not self.attention:
            return query @ states.swapaxes(1, 2)
        return TargetAttention(self.attention, name='attention').logits(query, states)

    def _losses(
        self, x: Inputs, states: jax.Array, batch: Mapping[str, jax.Array], train: bool
    ) -> dict[str, jax.Array]:
        if not self.auxiliary_weight or not (train or self.is_initializing()):
            return {}
        negative = x.negative
        if negative is None:
            if train:
                raise ValueError(
                    f"the batch lacks '{NEGATIVE}/<column>' of the history's columns, which DIEN's auxiliary "
                    f'loss compares with what came next; it has {sorted(batch)}. Let the source draw them by '
                    "data.history_negatives = 'uniform' (for items and item attributes, not for columns of "
                    'events), or switch the loss off with the option auxiliary_weight = 0'
                )
            negative = x.history  # parameters are drawn from shapes, and evaluation batches have no negatives
        counts = x.mask * (read(batch, 'valid').max(-1, keepdims=True) > 0)
        loss = NextBehaviour(name='auxiliary')(states, x.history, negative, counts)
        return {'auxiliary': self.auxiliary_weight * loss}


@configurable('task')
def make_inputs(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Base:
    """DIEN without its head, as a base.

    Args:
      config: `features`, `dim`, `init_std`, and any of `DIEN_OPTIONS`.
      schema: the log's {column: Column}.

    Raises:
      ValueError: history and candidate features differ, or an option is out of range.
    """
    options = read_options(config, 'model', **SHARED_OPTIONS, **DIEN_OPTIONS)
    check_comparable(options['features'], 'DIEN')
    hidden, weight = options['hidden'], options['auxiliary_weight']
    if hidden < 1:
        raise ValueError(f'hidden = {hidden}: the states of DIEN need a width of at least 1')
    if weight < 0:
        raise ValueError(f'auxiliary_weight = {weight}: give a positive weight, or 0 to switch the loss off')
    features = FeatureMap.make(options['features'], schema, options['history_pooling'], negatives=weight > 0)
    module = DienInputs(features, hidden, tuple(options['attention']), weight)
    return Base(module, base_tables(features, options['dim'], options['init_std']), features.ids)


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds DIEN for a log.

    Args:
      config: `features`, any other of `BASE_OPTIONS` and `DIEN_OPTIONS`, and `activation` ('prelu').
      schema: the log's {column: Column}.

    Raises:
      ValueError: an unknown activation, or what `make_inputs` refuses.
    """
    options = read_options(config, 'model', **BASE_OPTIONS, **DIEN_OPTIONS, activation='prelu')
    if options['activation'] not in ACTIVATIONS:
        raise ValueError(f'model.activation = {options["activation"]!r}: choose one of {ACTIVATIONS}')
    base = make_inputs({key: options[key] for key in (*SHARED, *DIEN_OPTIONS)}, schema)
    return on_base(base, options, options['activation'])
