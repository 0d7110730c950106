"""CAN (arXiv 2011.05625): the candidate's micro-networks read history, user or other columns, added to a base.

Each pair (candidate column, other column) adds what the candidate id's micro-MLP computes from the other ids to the
vector of a base (the paper's are DNN and DIEN). See `pairs` for the content of the rows.

B batch, C candidates, L history, X width of the base.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.configurable import configurable
from jaxrec.data.features.pairs import SIDES, Pair
from jaxrec.data.logs.vocabulary import PADDING
from jaxrec.embeddings import as_specs
from jaxrec.models.baselines.dnn import BASE_OPTIONS
from jaxrec.models.can.pairs import CoActions, make_pairs
from jaxrec.models.ctr.base import make_base
from jaxrec.models.ctr.features import FeatureMap, read
from jaxrec.models.ctr.layers import Mlp, over_candidates
from jaxrec.models.ctr.task import CtrTask, Scored
from jaxrec.ops.co_action import check_unit, co_action, co_action_single, weight_width
from jaxrec.ops.histories.pooling import length_mask
from jaxrec.options import read_options

# The two readings of the paper: its text and equations, and its authors' code.
PRESETS: dict[str, dict[str, Any]] = {
    'wsdm22_paper': {'order_reduce': 'sum', 'layer_output': 'concat', 'last_activation': 'tanh', 'use_bias': False},
    'wsdm22_code': {'order_reduce': 'concat', 'layer_output': 'concat', 'last_activation': 'none', 'use_bias': False},
}
UNIT_OPTIONS: dict[str, Any] = {**(co_action.__kwdefaults__ or {})}


class Can(nn.Module):
    """An MLP on a base's vector and one co-action vector a pair; further attributes are those of `Dnn`.

    Attributes:
      co_actions: the pairs.
      unit: the options of `ops.co_action`, as sorted (name, value) pairs.
    """

    base: nn.Module
    co_actions: CoActions
    unit: tuple[tuple[str, Any], ...]
    widths: Sequence[int] = (200, 80)
    batch_norm: bool = False

    @nn.compact
    def __call__(
        self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False
    ) -> jax.Array | Scored:
        """Scores the candidates; arguments and logits are those of `Dnn`, rows as wide as their tables."""
        x, losses = self.base(rows, batch, train)
        with jax.named_scope('co_action'):
            crossed = [self._cross(pair, rows, batch) for pair in self.co_actions.pairs]
        head = Mlp((*self.widths, 1), self.batch_norm, name='head')
        logits = head(jnp.concatenate([x, *crossed], -1), train, batch['valid'])[..., 0]
        return Scored(logits, losses) if losses else logits

    def _cross(self, pair: Pair, rows: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> jax.Array:
        """The co-action vector of one pair, float [B, C, *]."""
        weights, inputs = self.co_actions.read(pair, rows)
        if pair.side == 'history':
            mask = length_mask(read(batch, 'history/length'), inputs.shape[1])
            return co_action(weights, inputs, mask, **dict(self.unit))
        present = read(batch, pair.keys[1]) > PADDING
        if pair.side == 'user':
            candidates = weights.shape[1]
            inputs = over_candidates(inputs, candidates)
            present = over_candidates(present[:, None], candidates)[..., 0]
        return co_action_single(weights, inputs, present, **dict(self.unit))


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds CAN on a base for a log.

    Args:
      config: `features` and any other of `BASE_OPTIONS`; `base` ('dnn' by default, see `ctr.base`) and its
        `base_options`; `preset` ('wsdm22_code' or 'wsdm22_paper'), any of `UNIT_OPTIONS` to override it, `pairs`, and
        `combination_independence`.
      schema: the log's {column: Column}.

    Raises:
      ValueError: an unknown base or preset, an option of the unit that does not exist, or unusable pairs.
    """
    own = {'base': 'dnn', 'base_options': {}, 'preset': 'wsdm22_code', 'pairs': (), 'combination_independence': False}
    options = read_options(config, 'model', **BASE_OPTIONS, **UNIT_OPTIONS, **own)
    unit = _unit(config, options)
    base = make_base(options['base'], options, options['base_options'], schema)
    sides = {side: names for side, names in options['features'].items() if side in SIDES}
    features = FeatureMap.make(sides, schema)  # the base has refused what is none of its sides
    co_actions = CoActions(
        make_pairs(options['pairs'], features),
        features,
        weight_width(unit['dims'], unit['use_bias']) * (unit['orders'] if unit['order_independence'] else 1),
        unit['dims'][0],
        options['combination_independence'],
    )
    tables = [*base.tables, *co_actions.tables(options['init_std'])]
    widths = tuple(options['widths'])
    module = Can(base.module, co_actions, tuple(sorted(unit.items())), widths, options['batch_norm'])
    ids = lambda batch: base.ids(batch) | co_actions.ids(batch)
    return CtrTask(module, as_specs(tables), ids, options['row_l2'])


def _unit(config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `ops.co_action`: the preset's, but for what the config itself says."""
    preset = options['preset']
    if preset not in PRESETS:
        raise ValueError(f'model.preset = {preset!r} does not exist; choose one of {sorted(PRESETS)}')
    unit = {name: options[name] for name in UNIT_OPTIONS}
    unit |= {name: value for name, value in PRESETS[preset].items() if name not in config}
    unit['dims'] = tuple(unit['dims'])
    check_unit('model.', **unit)
    return unit
