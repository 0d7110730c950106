"""BERT4Rec: items of a history are masked and predicted from both sides (arXiv 1904.06690).

In training a share of the places is masked, the target's among them; places are drawn by counter from the step's key,
as in dropout. To score, the mask takes the target's place.

B batch, L history, T = L + 1 places, X width, V items.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.configurable import configurable
from jaxrec.data.logs.vocabulary import FIRST
from jaxrec.models.sequential.encoder import SequenceEncoder, Transformer, latest, read_transformer
from jaxrec.models.sequential.task import NextItemTask
from jaxrec.ops.dropout import fold_words, keep_mask, key_words
from jaxrec.training.task import Batch

HIDING = 104_729  # of the draws of a step


class Bert4Rec(nn.Module):
    """Item vectors, a vector of the mask, and an encoder that sees both sides."""

    transformer: Transformer  # sizes and switches
    rows: int  # V
    hide: float = 0.2  # share of the history's places that are hidden in training
    init_std: float = 0.02  # standard deviation of the first item vectors

    def setup(self) -> None:
        """Declares the parameters."""
        width, draw = self.transformer.width, nn.initializers.normal(self.init_std)
        self.items = self.param('items', draw, (self.rows, width))
        self.mask = self.param('mask', draw, (width,))
        self.encoder = SequenceEncoder(self.transformer, causal=False)
        self.project = nn.Dense(width)

    def vectors(self) -> jax.Array:
        """The item vectors, float [V, X]."""
        return self.items

    def encode(self, items: jax.Array, hidden: jax.Array, length: jax.Array, rng: jax.Array | None) -> jax.Array:
        """float [B, T, X] of items int [B, T] of which some are hidden, bool [B, T]."""
        x = jnp.where(hidden[..., None], self.mask, self.items[items]) * self.transformer.width**0.5
        return nn.gelu(self.project(self.encoder(x, length, rng)))

    def places(self, batch: Batch, rng: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """All places, the item of each, and the masked ones."""
        items, length = _with_target(batch)
        place = jnp.arange(items.shape[1])
        words = fold_words(key_words(rng), HIDING)
        drawn = keep_mask(words, 0, items.shape, self.hide) == 0
        hidden = (drawn | (place == length[:, None] - 1)) & (place < length[:, None])
        counts = batch['valid'] * hidden * (items >= FIRST)
        return self.encode(items, hidden, length, rng), items, counts

    def last(self, batch: Batch) -> jax.Array:
        """float [B, X] of a masked place after the history."""
        items, length = _with_target(batch)
        hidden = jnp.arange(items.shape[1]) == length[:, None] - 1
        return latest(self.encode(items, hidden, length, None), length)


def _with_target(batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The history and the target after it, int [B, L + 1], and how many there are."""
    items, length = batch['history/item'], batch['history/length'][:, None]
    items = jnp.pad(items, ((0, 0), (0, 1)))
    items = jnp.where(jnp.arange(items.shape[1]) == length, batch['target/item'], items)
    return items, length[:, 0] + 1


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> NextItemTask:
    """Builds BERT4Rec for a log, {column: Column}.

    Args:
      config: any of `sequential.encoder.SHARED`, and `hide` (default .2); `length` counts the target's place.
      schema: the log's.

    Raises:
      ValueError: as `read_transformer`, or a share outside [0, 1).
    """
    transformer, options = read_transformer(config, hide=0.2)
    if not 0 <= options['hide'] < 1:
        raise ValueError(f'model.hide = {options["hide"]} is outside [0, 1): give the share of places to hide')
    module = Bert4Rec(transformer, schema['item'].rows, options['hide'], options['init_std'])
    return NextItemTask(module, options['negatives'], options['best'])
