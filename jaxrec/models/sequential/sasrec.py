"""SASRec: self-attention over a history, each place of which predicts the next item (arXiv 1808.09781).

The paper has binary cross-entropy against one negative; later work made it strong by a softmax over all items, or over
many negatives, as here. Norms come before each part and divide by the root of the mean square.

B batch, L history, X width, V items.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from jaxrec.configurable import configurable
from jaxrec.models.sequential.encoder import SequenceEncoder, Transformer, latest, read_transformer
from jaxrec.models.sequential.task import NextItemTask, shifted
from jaxrec.training.task import Batch


class SasRec(nn.Module):
    """Item vectors and a causal encoder."""

    transformer: Transformer  # sizes and switches
    rows: int  # V
    init_std: float = 0.02  # standard deviation of the first item vectors

    def setup(self) -> None:
        """Declares the parameters."""
        draw = nn.initializers.normal(self.init_std)
        self.items = self.param('items', draw, (self.rows, self.transformer.width))
        self.encoder = SequenceEncoder(self.transformer, causal=True)

    def vectors(self) -> jax.Array:
        """The item vectors, float [V, X]."""
        return self.items

    def encode(self, batch: Batch, rng: jax.Array | None) -> jax.Array:
        """float [B, L, X]."""
        x = self.items[batch['history/item']] * self.transformer.width**0.5
        return self.encoder(x, batch['history/length'], rng)

    def places(self, batch: Batch, rng: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """All places, the item after each, and which count."""
        return (self.encode(batch, rng), *shifted(batch))

    def last(self, batch: Batch) -> jax.Array:
        """float [B, X] of the latest place; zeros of an empty history."""
        return latest(self.encode(batch, None), batch['history/length'])


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> NextItemTask:
    """Builds SASRec for a log, {column: Column}, with any of `encoder.SHARED`; a ValueError as `read_transformer`."""
    transformer, options = read_transformer(config)
    module = SasRec(transformer, schema['item'].rows, options['init_std'])
    return NextItemTask(module, options['negatives'], options['best'])
