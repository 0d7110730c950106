"""NCF: NeuMF, an element-wise product of user and item factors added to an MLP (arXiv 1708.05031, eq. 12).

Product and MLP have tables of their own, as in the paper. The columns for user and item are options: the paper takes
the two ids; in CAN (arXiv 2011.05625, table 3) it is the pooled history, once by item and once by category, and the MLP
reads all features.

B batch, C candidates, D width.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.configurable import configurable
from jaxrec.embeddings import as_specs
from jaxrec.models.baselines.dnn import BASE_OPTIONS, base_tables, join
from jaxrec.models.ctr.features import FeatureMap
from jaxrec.models.ctr.fields import FieldMap
from jaxrec.models.ctr.layers import Mlp
from jaxrec.models.ctr.task import CtrTask
from jaxrec.options import read_options

FACTOR = '_factor'


class Ncf(nn.Module):
    """The weighted products of factors, summed with an MLP; further attributes are those of `Dnn`.

    Attributes:
      factors, pairs: the fields that are multiplied, as ((user field, item field), ...).
      features: what the MLP reads.
    """

    factors: FieldMap
    pairs: tuple[tuple[str, str], ...]
    features: FeatureMap
    widths: Sequence[int] = (200, 80)
    batch_norm: bool = False

    @nn.compact
    def __call__(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        """Scores the candidates; arguments and logits are those of `Dnn`."""
        factors = self.factors.read(rows, batch, FACTOR)
        products = jnp.concatenate([factors[user][:, None] * factors[item] for user, item in self.pairs], -1)
        head = Mlp((*self.widths, 1), self.batch_norm, name='head')
        # One layer on [products, hidden], as the paper has it, is a layer on each, summed.
        generalised = nn.Dense(1, use_bias=False, name='products')(products)[..., 0]
        return generalised + head(join(self.features.vectors(rows, batch)), train, batch['valid'])[..., 0]


def make_pairs(user: Sequence[str], item: Sequence[str], features: FeatureMap) -> tuple[tuple[str, str], ...]:
    """Returns the ((user field, item field), ...) to multiply; by default the first column of each side.

    Args:
      user, item: 'user/column' or 'history/column', and as many candidate columns; () for the default.
      features: the feature map.

    Raises:
      ValueError: no user column, a column that is no feature or has no ids, or lists of unequal length.
    """
    having_ids = [f'{side}/{name}' for side, name in features.features if features.columns[name].kind != 'numeric']
    sides = {side: [n for n in having_ids if n.startswith(f'{side}/')] for side in ('user', 'candidate')}
    users = list(user) or sides['user'][:1]
    items = [f'candidate/{name}' for name in item] or sides['candidate'][:1]
    for key, names, example in (('user', users, "'user/user' or 'history/item'"), ('item', items, "'item'")):
        unknown = [n for n in names if n not in having_ids or n.startswith('candidate/') != (key == 'item')]
        if unknown or not names:
            raise ValueError(
                f'model.{key} = {tuple(unknown)}: NCF multiplies factors of user and item columns with ids; '
                f'the model has {having_ids}, write such as {example}'
            )
    if len(users) != len(items):
        raise ValueError(
            f'model.user has {len(users)} and model.item {len(items)} columns; the first of one is '
            'multiplied with the first of the other, so give as many'
        )
    return tuple(zip(users, items, strict=True))


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds NCF for a log.

    Args:
      config: `features` and any other of `BASE_OPTIONS`; `user` and `item`, what is multiplied with what (default: the
        first column with ids of the user and of the candidate); `context` (False), whether the MLP reads all features
        instead of these alone.
      schema: the log's {column: Column}.

    Raises:
      ValueError: no user or item column.
    """
    options = read_options(config, 'model', **BASE_OPTIONS, user=(), item=(), context=False)
    features = FeatureMap.make(options['features'], schema, options['history_pooling'])
    pairs = make_pairs(options['user'], options['item'], features)
    chosen: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for pair in pairs for name in pair):
        side, _, column = name.partition('/')
        chosen.setdefault(side, []).append(column)
    factors = FieldMap.make(chosen, schema, options['history_pooling'], 'NCF')
    read = features if options['context'] else factors.features
    tables = base_tables(read, options['dim'], options['init_std'])
    own = base_tables(factors.features, options['dim'], options['init_std'])
    tables += [dataclasses.replace(table, name=f'{table.name}{FACTOR}') for table in own]
    module = Ncf(factors, pairs, read, tuple(options['widths']), options['batch_norm'])
    ids = lambda batch: read.ids(batch) | factors.ids(batch, (FACTOR,))
    return CtrTask(module, as_specs(tables), ids, options['row_l2'])
