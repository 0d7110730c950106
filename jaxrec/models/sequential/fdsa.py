"""FDSA: one self-attention over items, one over their features, joined at the end (Zhang et al., IJCAI 2019).

Several features of an item, columns or values of one, are first weighed by an attention of their own (eq. 2).

B batch, L history, X width, V items, F features of an item, padding included.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.configurable import configurable
from jaxrec.data.logs.vocabulary import PADDING
from jaxrec.models.sequential.encoder import SequenceEncoder, Transformer, latest, read_transformer
from jaxrec.models.sequential.task import NextItemTask, shifted
from jaxrec.training.task import Batch

NEVER = -1e9  # softmaxed to a share of 0 beside any other, and to equal shares among its like


class Fdsa(nn.Module):
    """Vectors of items and features, and a causal encoder of each."""

    transformer: Transformer  # sizes and switches, of both
    rows: int  # V
    columns: tuple[tuple[str, int], ...]  # of features, (name, rows) each
    init_std: float = 0.02  # standard deviation of the first vectors

    def setup(self) -> None:
        """Declares the parameters."""
        width, draw = self.transformer.width, nn.initializers.normal(self.init_std)
        self.items = self.param('items', draw, (self.rows, width))
        self.tables = [self.param(f'feature_{name}', draw, (rows, width)) for name, rows in self.columns]
        self.weigh = nn.Dense(width)
        self.of_items = SequenceEncoder(self.transformer, causal=True)
        self.of_features = SequenceEncoder(self.transformer, causal=True)
        self.join = nn.Dense(width)

    def vectors(self) -> jax.Array:
        """The item vectors, float [V, X]."""
        return self.items

    def encode(self, batch: Batch, rng: jax.Array | None) -> jax.Array:
        """float [B, L, X]."""
        length, scale = batch['history/length'], self.transformer.width**0.5
        keys = [None, None] if rng is None else [rng, jax.random.fold_in(rng, 1)]
        found, present = [], []
        for (name, _), table in zip(self.columns, self.tables, strict=True):
            ids = batch[f'history/{name}']
            ids = ids if ids.ndim == 3 else ids[..., None]  # of a multi-valued column [B, L, W]
            found.append(table[ids])
            present.append(ids != PADDING)
        features = jnp.concatenate(found, 2)  # [B, L, F, X]
        # An item without any has the vector of padding, whatever that comes to be.
        weights = jnp.where(jnp.concatenate(present, 2)[..., None], self.weigh(features), NEVER)
        features = jnp.sum(nn.softmax(weights, axis=2) * features, 2)
        items = self.of_items(self.items[batch['history/item']] * scale, length, keys[0])
        features = self.of_features(features * scale, length, keys[1])
        return self.join(jnp.concatenate([items, features], -1))

    def places(self, batch: Batch, rng: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """All places, the item after each, and which count."""
        return (self.encode(batch, rng), *shifted(batch))

    def last(self, batch: Batch) -> jax.Array:
        """float [B, X] of the latest place; zeros of an empty history."""
        return latest(self.encode(batch, None), batch['history/length'])


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> NextItemTask:
    """Builds FDSA for a log.

    Args:
      config: any of `sequential.encoder.SHARED`, and `columns`, item columns of the history, categorical or
        multi-valued.
      schema: the log's {column: Column}.

    Raises:
      ValueError: as `read_transformer`, no columns, or one of numbers.
    """
    transformer, options = read_transformer(config, columns=('category',))
    columns = tuple(options['columns'])
    readable = sorted(name for name, column in schema.items() if column.kind != 'numeric')
    if not columns or not set(columns) <= set(readable):
        raise ValueError(
            f'model.columns = {columns}: FDSA reads at least one column of items, categorical or '
            f'multi-valued; the log has {readable}'
        )
    module = Fdsa(
        transformer, schema['item'].rows, tuple((name, schema[name].rows) for name in columns), options['init_std']
    )
    return NextItemTask(module, options['negatives'], options['best'])
