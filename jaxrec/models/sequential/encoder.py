"""Encodes sequences of items by a transformer.

B batch, T places of a sequence, X width, V items, N layers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.evaluation.ranking import CUTS
from jaxrec.models.transformer.layers import encoder_layer, run_layers
from jaxrec.models.transformer.weights import Sizes, draw_stack, encoder_weights
from jaxrec.ops.dropout import key_words
from jaxrec.ops.experts.grouped import ACTIVATIONS, GATED
from jaxrec.ops.transformer import Drop, causal_mask, rms_norm
from jaxrec.options import read_options

EMBEDDED = 1_000  # the number of the embeddings among the places that drop


@dataclasses.dataclass(frozen=True)
class Transformer:
    """Sizes and switches of a sequence encoder."""

    width: int = 64  # X
    heads: int = 2  # of each attention; they divide the width
    layers: int = 2  # N
    hidden: int = 0  # F of the feed-forward nets; 0 is four times the width
    activation: str = 'relu'  # 'relu', 'gelu', or 'swiglu' and 'geglu' with a gate
    dropout: float = 0.2  # rate, in training
    length: int = 50  # T, places at most

    def __post_init__(self) -> None:
        for name in ('width', 'heads', 'layers', 'length'):
            if getattr(self, name) < 1:
                raise ValueError(f'model.{name} = {getattr(self, name)}: give at least 1')
        if self.width % self.heads:
            raise ValueError(f'model.width = {self.width} is no multiple of model.heads = {self.heads}: change either')
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f'model.activation = {self.activation!r} does not exist; choose one of {sorted(ACTIVATIONS)}'
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f'model.dropout = {self.dropout} is outside [0, 1)')

    def sizes(self) -> Sizes:
        """Of a layer."""
        head = self.width // self.heads
        return Sizes(self.width, self.heads, head, self.hidden or 4 * self.width, self.activation in GATED)


DEFAULTS = {field.name: field.default for field in dataclasses.fields(Transformer)}
SHARED: dict[str, Any] = {**DEFAULTS, 'negatives': 0, 'best': 10, 'init_std': 0.02}


class SequenceEncoder(nn.Module):
    """Positions, layers and the last norm."""

    transformer: Transformer  # sizes and switches
    causal: bool  # whether a place sees those before it alone

    @nn.compact
    def __call__(self, x: jax.Array, length: jax.Array, rng: jax.Array | None) -> jax.Array:
        """Encodes sequences float [B, T, X], left aligned, oldest first, of int [B] lengths: float [B, T, X].

        Positions count from the end, so that the latest one is the same everywhere; `rng` is a typed key in training,
        None to score.
        """
        cfg, size = self.transformer, x.shape[1]
        table = self.param('positions', nn.initializers.normal(0.02), (cfg.length, cfg.width))
        stack = self.param('layers', draw_stack, encoder_weights(cfg.sizes()), cfg.layers)
        norm = self.param('norm', nn.initializers.ones, (cfg.width,))
        drop = Drop(jnp.zeros(2, jnp.uint32), 0.0) if rng is None else Drop(key_words(rng), cfg.dropout)
        places = cfg.length - length[:, None] + jnp.arange(size)
        x = drop(x + table[jnp.clip(places, 0, cfg.length - 1)], EMBEDDED)
        mask = (jnp.arange(size) < length[:, None])[:, None, None]
        mask = mask & causal_mask(size) if self.causal else mask

        def layer(x: jax.Array, weights: Any, number: jax.Array) -> tuple[jax.Array, None]:
            return encoder_layer(weights, x, mask, cfg.activation, drop.of_layer(number)), None

        x, _ = run_layers(layer, x, stack, scan=False, remat=False)
        return rms_norm(x, norm)


def latest(hidden: jax.Array, length: jax.Array) -> jax.Array:
    """The latest place, [B, X], of float [B, L, X]; zeros where there is none."""
    at = jnp.maximum(length - 1, 0)[:, None, None]
    return jnp.take_along_axis(hidden, at, 1)[:, 0] * (length > 0)[:, None]


def read_transformer(config: Mapping[str, Any], **own: Any) -> tuple[Transformer, dict[str, Any]]:
    """Reads the shared options, and those of one of the sequential models.

    Args:
      config: the section, with the run's `features`, which must hold what the model reads.
      **own: further options with their defaults; `columns` are read of the history too.

    Returns:
      The sizes, and all options.

    Raises:
      ValueError: an unknown option, a number out of range, or features that lack a column.
    """
    options = read_options(config, 'model', **SHARED, features={}, **own)
    given, columns = options.pop('features'), ('item', *options.get('columns', ()))
    lacking = [name for name in columns if given and name not in given.get('history', ())]
    if lacking or (given and 'item' not in given.get('candidate', ())):
        raise ValueError(
            f'features = {given}: the model reads the history columns {columns} and the candidate column '
            'item, name them there'
        )
    if options['best'] < max(CUTS):
        raise ValueError(f'model.best = {options["best"]}: give at least {max(CUTS)}, of which coverage is told')
    return Transformer(**{name: options[name] for name in DEFAULTS}), options
