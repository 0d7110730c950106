"""CAN on its DNN base (arXiv 2011.05625): the candidate's micro-networks read the history beside the base.

Besides the base's embeddings each pair (candidate column, other column) reads two tables of its own, the
paper's "parameter independence": `<column>_induction` [V, P] holds a micro-MLP for each candidate id,
`<column>_feed` [V, I] an input row for each id of the other side. The wide table is read once a candidate,
the narrow one once a behaviour.

B batch, C candidates, L history, P numbers of a micro-MLP, I input width, D width.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.embeddings import Table, as_specs, normal
from jaxrec.models.baselines.dnn import BASE_OPTIONS, base_tables, join
from jaxrec.models.ctr.features import FeatureMap, read
from jaxrec.models.ctr.layers import Mlp
from jaxrec.models.ctr.task import CtrTask, Ids
from jaxrec.ops.co_action import check_unit, co_action, weight_width
from jaxrec.ops.pooling import length_mask
from jaxrec.options import read_options

# The two readings of the paper: its text and equations, and its authors' code.
PRESETS: dict[str, dict[str, Any]] = {
    'wsdm22_paper': {
        'order_reduce': 'sum',
        'layer_output': 'concat',
        'last_activation': 'tanh',
        'use_bias': False,
    },
    'wsdm22_code': {
        'order_reduce': 'concat',
        'layer_output': 'concat',
        'last_activation': 'none',
        'use_bias': False,
    },
}
UNIT_OPTIONS: dict[str, Any] = {
    'dims': (16, 8, 4),
    'orders': 3,
    'use_bias': False,
    'layer_output': 'concat',
    'order_reduce': 'concat',
    'last_activation': 'none',
    'pooling': 'sum',
}


@dataclasses.dataclass(frozen=True)
class Pair:
    """One co-action.

    Attributes:
      candidate: the candidate column whose ids own micro-networks.
      side: 'history' or 'user', where the input ids come from.
      column: the column of that side.
    """

    candidate: str
    side: str
    column: str


@dataclasses.dataclass(frozen=True)
class CoActions:
    """The pairs of a model and their tables.

    Attributes:
      pairs: the co-actions.
      features: the feature map that the pairs' columns belong to.
    """

    pairs: tuple[Pair, ...]
    features: FeatureMap

    def ids(self, batch: Mapping[str, Any]) -> Ids:
        """Rows of base, induction and feed tables.

        Args:
          batch: {key: [B, ...]}.

        Returns:
          {table: {'side/column': ids}}.
        """
        ids = self.features.ids(batch)
        for pair in self.pairs:
            for key, table in zip(self.keys(pair), self.table_names(pair), strict=True):
                ids.setdefault(table, {})[key] = read(batch, key)
        return ids

    def keys(self, pair: Pair) -> tuple[str, str]:
        """Batch keys of the candidate and of the other side, for one pair."""
        return f'candidate/{pair.candidate}', f'{pair.side}/{pair.column}'

    def table_names(self, pair: Pair) -> tuple[str, str]:
        """Names of the induction and the feed table of one pair; pairs of one column share them."""
        columns = self.features.columns
        return f'{columns[pair.candidate].vocabulary}_induction', f'{columns[pair.column].vocabulary}_feed'

    def tables(self, width: int, inputs: int, init_std: float) -> list[Table]:
        """The induction and feed tables.

        Args:
          width: P.
          inputs: I.
          init_std: standard deviation of the initial rows.

        Returns:
          One table a name, however many pairs read it.
        """
        columns, sizes = self.features.columns, {}
        for pair in self.pairs:
            induction, feed = self.table_names(pair)
            sizes[induction] = (columns[pair.candidate].rows, width)
            sizes[feed] = (columns[pair.column].rows, inputs)
        return [Table(name, rows, dim, normal(init_std)) for name, (rows, dim) in sizes.items()]


class Can(nn.Module):
    """The DNN base with one co-action vector a pair beside its inputs.

    Attributes:
      co_actions: the pairs.
      unit: the options of `ops.co_action`, as sorted (name, value) pairs.
      widths: hidden widths of the MLP.
      batch_norm: normalise the MLP's input.
    """

    co_actions: CoActions
    unit: tuple[tuple[str, Any], ...]
    widths: Sequence[int] = (200, 80)
    batch_norm: bool = False

    @nn.compact
    def __call__(
        self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False
    ) -> jax.Array:
        """Scores the candidates; arguments and logits are those of `Dnn`, rows as wide as their tables."""
        x = self.co_actions.features.vectors(rows, batch)
        crossed = [self._pair(pair, rows, batch) for pair in self.co_actions.pairs]
        head = Mlp((*self.widths, 1), self.batch_norm, name='head')
        return head(join(x, *crossed), train, batch['valid'])[..., 0]

    def _pair(self, pair: Pair, rows: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> jax.Array:
        weights_key, feed_key = self.co_actions.keys(pair)
        induction, feed = self.co_actions.table_names(pair)
        inputs = rows[feed][feed_key]
        if pair.side == 'user':
            inputs, mask = inputs[:, None], jnp.ones((inputs.shape[0], 1))
        else:
            mask = length_mask(read(batch, 'history/length'), inputs.shape[1])
        with jax.named_scope('co_action'):
            return co_action(rows[induction][weights_key], inputs, mask, **dict(self.unit))


def make_pairs(given: Sequence[Sequence[str]], features: FeatureMap) -> tuple[Pair, ...]:
    """Checks the pairs of a config; by default each candidate column meets the same column of the history.

    Args:
      given: (candidate column, 'side/column') pairs; none of them for the default.
      features: the feature map.

    Returns:
      The pairs.

    Raises:
      ValueError: a pair of columns that are not features, or not categorical, or no pair at all.
    """
    have = set(features.features)
    categorical = {name for name, column in features.columns.items() if column.kind == 'categorical'}
    given = given or [
        (column, f'history/{column}')
        for side, column in features.features
        if side == 'candidate' and ('history', column) in have and column in categorical
    ]
    pairs = []
    for candidate, other in given:
        side, _, column = other.partition('/')
        for feature in (('candidate', candidate), (side, column)):
            if feature not in have or side not in ('history', 'user'):
                raise ValueError(
                    f'pairs: ({candidate!r}, {other!r}) needs the feature {"/".join(feature)}, but the model '
                    f'has {["/".join(f) for f in features.features]}; write pairs as (candidate column, '
                    '"history/column")'
                )
            if feature[1] not in categorical:
                kind = features.columns[feature[1]].kind
                raise ValueError(f'pairs: column {feature[1]!r} is {kind}; a pair needs one id')
        pairs.append(Pair(candidate, side, column))
    if not pairs:
        raise ValueError(
            'pairs: no categorical column is on both the candidate and the history side; name pairs'
        )
    return tuple(pairs)


def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds CAN-DNN for a log.

    Args:
      config: `features` and any other of `BASE_OPTIONS`; `preset` ('wsdm22_code' or 'wsdm22_paper'), any of
        `UNIT_OPTIONS` to override it, and `pairs`.
      schema: the log's {column: Column}.

    Returns:
      The task.

    Raises:
      ValueError: an unknown preset, an option of the unit that does not exist, or unusable pairs.
    """
    options = read_options(config, 'model', **BASE_OPTIONS, **UNIT_OPTIONS, preset='wsdm22_code', pairs=())
    preset = options['preset']
    if preset not in PRESETS:
        raise ValueError(f'model.preset = {preset!r} does not exist; choose one of {sorted(PRESETS)}')
    unit = {name: options[name] for name in UNIT_OPTIONS}
    unit |= {name: value for name, value in PRESETS[preset].items() if name not in config}
    unit['dims'] = tuple(unit['dims'])
    check_unit('model.', **unit)
    features = FeatureMap.make(options['features'], schema, options['history_pooling'])
    co_actions = CoActions(make_pairs(options['pairs'], features), features)
    width = weight_width(unit['dims'], unit['use_bias'])
    tables = base_tables(features, options['dim'], options['init_std'])
    tables += co_actions.tables(width, unit['dims'][0], options['init_std'])
    module = Can(co_actions, tuple(sorted(unit.items())), tuple(options['widths']), options['batch_norm'])
    return CtrTask(module, as_specs(tables), co_actions.ids, options['row_l2'])
