"""DNN + Cartesian product (CAN, arXiv 2011.05625, table 2): every pair of ids that met in training has its own row.

Pair ids come with the batch, `cartesian/*` as `data.cartesian` makes them. A pair without an id adds nothing, so an
example all of whose pairs are new is scored by the base alone.

B batch, C candidates, L history, X width of the base, D width.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.configurable import configurable
from jaxrec.data.logs.schema import Column
from jaxrec.data.logs.vocabulary import OUT_OF_VOCABULARY
from jaxrec.embeddings import Table, normal
from jaxrec.models.baselines.dnn import BASE_OPTIONS, SHARED_OPTIONS, on_base
from jaxrec.models.ctr.base import SHARED, Base, make_base
from jaxrec.models.ctr.features import POOLINGS, read
from jaxrec.models.ctr.task import CtrTask, Ids
from jaxrec.ops.histories.pooling import length_mask
from jaxrec.options import read_options

OWN_OPTIONS: dict[str, Any] = {'base': 'dnn', 'base_options': {}}


class CartesianInputs(nn.Module):
    """A base whose vector is extended by those of the pair ids, pooled over the history.

    Attributes:
      base: called as (rows, batch, train) -> (x float [B, C, X], {name: loss}).
      pairs: the columns of pair ids, each with a table of its name.
      history_pooling: 'sum' or 'mean' over the behaviours, known pairs or not.
    """

    base: nn.Module
    pairs: tuple[str, ...]
    history_pooling: str = 'sum'

    @nn.compact
    def __call__(
        self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], train: bool = False
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Joins the vectors of a batch, x float [B, C, X + D * pairs]; arguments and losses are those of the base."""
        x, losses = self.base(rows, batch, train)
        pooled = [self._pool(rows[name], batch, f'cartesian/{name}') for name in self.pairs]
        return jnp.concatenate([x, *pooled], -1), losses

    def _pool(self, rows: Mapping[str, jax.Array], batch: Mapping[str, jax.Array], key: str) -> jax.Array:
        """float [B, C, D]: the rows of known pairs, of ids [B, C, L] pooled over the history."""
        ids = read(batch, key)
        found = jnp.where((ids > OUT_OF_VOCABULARY)[..., None], rows[key], 0)
        if ids.ndim == 2:
            return found
        real = length_mask(read(batch, 'history/length'), ids.shape[-1])
        return POOLINGS[self.history_pooling](found, real[:, None])


@configurable('task')
def make_inputs(config: Mapping[str, Any], schema: Mapping[str, Column]) -> Base:
    """A base extended by the Cartesian product, as a base.

    Args:
      config: the options of `ctr.base.SHARED`, as in `BASE_OPTIONS`; `features.cartesian` names the columns of pair
        ids. `base` ('dnn' by default) and its `base_options`.
      schema: {column: Column} of the log and of the pair ids.

    Raises:
      ValueError: there are no pair ids, or not those.
    """
    options = read_options(config, 'model.base_options', **SHARED_OPTIONS, **OWN_OPTIONS)
    given = {side: names for side, names in options['features'].items() if side != 'cartesian'}
    pairs = tuple(options['features'].get('cartesian', ()))
    if not pairs:
        raise ValueError(
            'the Cartesian product has no pairs: name them in the data section, such as '
            "data.cartesian = {'pairs': (('item', 'history/item'),)}"
        )
    if unknown := sorted(set(pairs) - set(schema)):
        raise ValueError(
            f'{unknown[0]!r} is no column of pair ids: data.cartesian makes them, so that features.cartesian '
            'needs no entry in a config'
        )
    base = make_base(options['base'], {**options, 'features': given}, options['base_options'], schema)
    initial = normal(options['init_std'])
    tables = [Table(name, schema[name].rows, options['dim'], initial) for name in pairs]

    def ids(batch: Mapping[str, Any]) -> Ids:
        own = {name: {f'cartesian/{name}': read(batch, f'cartesian/{name}')} for name in pairs}
        return base.ids(batch) | own

    return Base(CartesianInputs(base.module, pairs, options['history_pooling']), [*base.tables, *tables], ids)


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> CtrTask:
    """Builds a base with the Cartesian product for a log.

    Args:
      config: `features` and any other of `BASE_OPTIONS`; `base` ('dnn' by default, see `ctr.base`) and its
        `base_options`.
      schema: {column: Column} of the log and of the pair ids.
    """
    options = read_options(config, 'model', **BASE_OPTIONS, **OWN_OPTIONS)
    return on_base(make_inputs({key: options[key] for key in (*SHARED, *OWN_OPTIONS)}, schema), options)
