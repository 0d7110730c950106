"""MIMN: a memory of fixed size, written once a request and read by each candidate (arXiv 1905.09248).

The candidate takes no part in writing, so the memory can be updated outside of requests (section 4.5):
`ops.memory.memorise` starts or extends it, `ops.memory.recall` reads it.

Where the paper is silent or contradicts itself:
- Keys have strengths, and slots have keys of their own apart from their content, as in the authors' code: the softmax
  of mere cosines, equation 1, hardly separates slots.
- A behaviour reads the memory, and its channels read it, before it writes (the paper's M_t is both). Slots get no
  gradient from channels. Channels, slots and behaviours have one width; a behaviour moves one channel. All as in the
  authors' code.
- Usage is a mean, not a sum, in equations 5 and 8, so that neither W_g nor lambda depends on the length; their code
  divides by a constant, and balances by a convolution over neighbouring slots, sharpened. The loss is the mean over
  requests with a history and trains W_g alone. lambda is not given.
- The candidate reads as the next behaviour would. Channels are weighed by DIN's net. The product is the candidate's
  with the mean slot; theirs, with the sum of all that was added, grows with the history.
- The first reading and channels are zeros, the first slots are learnt. No auxiliary loss, as in their tables.

B batch, C candidates, L long window, S short window, T both, D width of a behaviour, H of the controller, M slots, X
width of the head's input.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.configurable import configurable
from jaxrec.models.baselines.din import check_comparable
from jaxrec.models.baselines.dnn import BASE_OPTIONS, SHARED_OPTIONS, base_tables, join, on_base
from jaxrec.models.ctr.base import SHARED, Base
from jaxrec.models.ctr.features import POOLINGS, FeatureMap, Inputs, read
from jaxrec.models.ctr.layers import TargetAttention, over_candidates
from jaxrec.models.ctr.recurrent import gate_weights
from jaxrec.models.ctr.task import CtrTask, Ids
from jaxrec.ops.histories.memory import Gates, Memory, Weights, memorise, recall, utilisation_loss
from jaxrec.ops.histories.pooling import length_mask
from jaxrec.options import read_options

WINDOWS = ('short', 'full')
# The options of MIMN before its head, in addition to those of every base.
MIMN_OPTIONS: dict[str, Any] = {
    'window': 'short',
    'slots': 4,
    'hidden': 36,
    'channels': 1,
    'attention': (80, 40),
    'utilisation_weight': 1.0,
}


class MemoryWeights(nn.Module):
    """The parameters of a memory of M slots and a controller of width H; see `ops.memory.Weights`.

    Attributes:
      balanced, induced: balance the write weights by the slots' use; keep channels.
    """

    slots: int
    hidden: int
    balanced: bool = True
    induced: bool = True

    @nn.compact
    def __call__(self, size: int) -> Weights:
        """Returns the weights for behaviours of width D."""
        zeros, normal = nn.initializers.zeros, nn.initializers.normal
        # A balance of zeros treats all slots alike, until the loss finds them used unevenly.
        return Weights(
            Gates(*gate_weights(self, 2 * size, self.hidden, 'controller_')),
            self.param('heads', nn.initializers.glorot_normal(), (self.hidden, 4 * size + 2)),
            self.param('heads_bias', zeros, (4 * size + 2,)),
            self.param('keys', normal(0.5), (self.slots, size)),
            self.param('initial', normal(0.1), (self.slots, size)),
            self.param('balance', zeros, (self.slots, self.slots)) if self.balanced else None,
            Gates(*gate_weights(self, 2 * size, size, 'channel_')) if self.induced else None,
        )


class MimnInputs(nn.Module):
    """User, pooled history, candidate, its reading, its product with the slots, its interest in channels.

    Attributes:
      features: the feature map; the history must have the candidate's width.
      window: 'short' reads the history, 'full' what is older and then the history.
      slots, hidden: M, and H of the controller.
      channels: how many a behaviour moves; 0 omits the memory induction unit.
      attention: hidden widths of the net that scores channels against candidates.
      utilisation_weight: lambda of the utilisation loss; 0 omits it and the balance.
    """

    features: FeatureMap
    window: str = 'short'
    slots: int = 4
    hidden: int = 36
    channels: int = 1
    attention: Sequence[int] = (80, 40)
    utilisation_weight: float = 1.0

    @nn.compact
    def __call__(
        self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Writes the memory of each request, and reads it for each candidate; arguments are those of `DnnInputs`.

        Returns:
          x float [B, C, X], and in training {'utilisation': weighted loss float []}.
        """
        x = self.features.vectors(rows, batch)
        if self.window == 'full':
            x = _with_older(x, self.features, rows, batch)
        make = MemoryWeights(self.slots, self.hidden, self.utilisation_weight > 0, self.channels > 0, name='memory')
        weights = make(x.history.shape[-1])
        memory = memorise(x.history, x.mask, weights, self.channels)
        mean = over_candidates(memory.slots.mean(1), x.candidate.shape[1])
        parts = [recall(memory, x.candidate, weights), x.candidate * mean]
        if self.channels:
            attend = TargetAttention(self.attention, name='attention')
            parts.append(attend(x.candidate, memory.channels, jnp.ones_like(memory.usage)))
        return join(x, *parts), self._losses(memory, batch, train)

    def _losses(self, memory: Memory, batch: Mapping[str, jax.Array], train: bool) -> dict[str, jax.Array]:
        if not (train and self.utilisation_weight):
            return {}
        counts = (read(batch, 'valid').max(-1) > 0).astype(memory.count.dtype)
        loss = utilisation_loss(memory.usage, memory.count, counts)
        return {'utilisation': self.utilisation_weight * loss}


def _with_older(x: Inputs, features: FeatureMap, rows: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> Inputs:
    """The inputs with both windows for a history [B, T], the older first, each with padding of its own."""
    older = jnp.concatenate(features.as_history('long').parts('long', rows, batch), -1)
    history = jnp.concatenate([older, x.history], 1)
    mask = jnp.concatenate([length_mask(read(batch, 'long/length'), older.shape[1]), x.mask], 1)
    pooled = POOLINGS[features.history_pooling](history, mask)
    return x._replace(history=history, mask=mask, pooled=pooled)


@configurable('task')
def make_inputs(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Base:
    """MIMN without its head, as a base.

    Args:
      config: `features`, `dim`, `init_std`, and any of `MIMN_OPTIONS`.
      schema: the log's {column: Column}.

    Raises:
      ValueError: history and candidate features differ, or an option is out of range.
    """
    options = read_options(config, 'model', **SHARED_OPTIONS, **MIMN_OPTIONS)
    check_comparable(options['features'], 'MIMN')
    _check(options)
    features = FeatureMap.make(options['features'], schema, options['history_pooling'])
    own = {name: options[name] for name in MIMN_OPTIONS} | {'attention': tuple(options['attention'])}

    def ids(batch: Mapping[str, Any]) -> Ids:
        older = features.as_history('long').ids(batch) if options['window'] == 'full' else {}
        return {table: found | older.get(table, {}) for table, found in features.ids(batch).items()}

    return Base(MimnInputs(features, **own), base_tables(features, options['dim'], options['init_std']), ids)


def _check(options: Mapping[str, Any]) -> None:
    """Refuses options that make no memory."""
    if options['window'] not in WINDOWS:
        raise ValueError(
            f"model.window = {options['window']!r}: choose one of {WINDOWS}; 'full' reads what "
            "data.lifelong = {'search': None, ...} gives beside the history"
        )
    for name in ('slots', 'hidden'):
        if options[name] < 1:
            raise ValueError(f'model.{name} = {options[name]}: the memory of MIMN needs at least 1')
    if not 0 <= options['channels'] <= options['slots']:
        raise ValueError(
            f'model.channels = {options["channels"]}: a behaviour moves at most as many channels as there '
            f'are slots, {options["slots"]}; 0 does without channels'
        )
    if options['utilisation_weight'] < 0:
        raise ValueError(
            f'model.utilisation_weight = {options["utilisation_weight"]}: give a positive weight, or 0 to '
            'leave the write weights and the loss as they are'
        )


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds MIMN for a log.

    Args:
      config: `features`, and any other of `BASE_OPTIONS` and `MIMN_OPTIONS`.
      schema: the log's {column: Column}.

    Raises:
      ValueError: what `make_inputs` refuses.
    """
    options = read_options(config, 'model', **BASE_OPTIONS, **MIMN_OPTIONS)
    return on_base(make_inputs({key: options[key] for key in (*SHARED, *MIMN_OPTIONS)}, schema), options)
