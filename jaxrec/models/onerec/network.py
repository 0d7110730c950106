"""OneRec's encoder-decoder over semantic IDs (arXiv 2502.18965, section 3.2, figure 2).

The encoder reads SEP and the codes of every history item. The decoder reads BOS and the codes of every session item; at
BOS it predicts the item's first code, at each code the next one. Codes of a level are predicted among those of that
level alone.

B batch, C sessions of a request, n history items, m session items, L levels, S = n (1 + L) and T = m (1 + L) tokens, K
beams, W codes of a level, V all codes, X width, H heads, D width of a head, N layers, E experts.
"""

import re
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxrec.models.onerec.experts import feed_of
from jaxrec.models.onerec.options import Network
from jaxrec.models.transformer.layers import (
    KeysValues,
    Memory,
    decoder_layer,
    decoder_step,
    encoder_layer,
    keys_values,
    layer_of,
    run_layers,
)
from jaxrec.models.transformer.weights import decoder_weights, draw_stack, encoder_weights
from jaxrec.ops.dropout import key_words
from jaxrec.ops.transformer import Drop, causal_mask, rms_norm

SEP, BOS = 0, 1
# Weights that stay float32 whatever activations are.
WIDE = re.compile('router|norm')
# Numbers of the two stacks and of the embeddings among the places that drop.
ENCODER, DECODER, EMBEDDED = 1_000, 2_000, 3_000


class Decoded(NamedTuple):
    """What the decoder computes of sessions."""

    hidden: jax.Array  # float [B C, m, L, X], from which the codes of each level are predicted
    told: Any  # `MoeInfo` of the experts, with a leading axis N


class Cache(NamedTuple):
    """What beams have read so far."""

    own: tuple[KeysValues, ...]  # of each layer, [B, K, T, H, D]


class OneRec(nn.Module):
    """The parameters, and what is computed from them."""

    network: Network  # sizes and switches
    mesh: Mesh | None = None  # over which tokens and experts are cut; None for one device

    def setup(self) -> None:
        """Declares the parameters; kinds of weights lie stacked over layers."""
        network = self.network
        width, tokens = network.width, network.tokens
        embed = nn.initializers.normal(width**-0.5)
        self.codes = self.param('codes', embed, (network.codes, width))
        self.special = self.param('special', embed, (2, width))
        self.history_positions = self.param('history_positions', embed, (network.history * tokens, width))
        self.session_positions = self.param('session_positions', embed, (network.session * tokens, width))
        sizes = network.sizes(network.expert_hidden if network.experts else network.hidden)
        of_decoder = decoder_weights(sizes, network.experts)
        self.encoder = self.param('encoder', draw_stack, encoder_weights(network.sizes()), network.encoder_layers)
        self.decoder = self.param('decoder', draw_stack, of_decoder, network.decoder_layers)
        ones = nn.initializers.ones
        self.encoder_norm = self.param('encoder_norm', ones, (width,))
        self.decoder_norm = self.param('decoder_norm', ones, (width,))
        self.predict = self.codes if network.tied else self.param('predict', embed, (network.codes, width))

    def encode(self, codes: jax.Array, length: jax.Array, rng: jax.Array | None = None) -> Memory:
        """Encodes histories of `length` int32 [B] items; an empty one gives nothing to attend to.

        Codes are int32 [B, n, L], of each level from 0, left aligned, oldest first; -1 is no code, of an item without a
        semantic ID. `rng` is a typed key, in training.

        Raises:
          ValueError: longer histories than the network's.
        """
        network, drop = self.network, self._drop(rng)
        items = codes.shape[1]
        if items > network.history:
            raise ValueError(f'histories of {items} items; the network reads up to {network.history}: model.history')
        x = self._embed(codes, SEP) + self.history_positions[: items * network.tokens]
        mask = jnp.repeat(jnp.arange(items) < length[:, None], network.tokens, axis=1)
        x = drop(x.astype(network.dtype), EMBEDDED + ENCODER)

        def layer(x: jax.Array, weights: Any, number: jax.Array) -> tuple[jax.Array, None]:
            dropped = drop.of_layer(number + ENCODER)
            return encoder_layer(self._cast(weights), x, mask[:, None, None], network.activation, dropped), None

        with jax.named_scope('encoder'):
            x, _ = run_layers(layer, x, self.encoder, scan=network.scan, remat=network.remat)
        return Memory(rms_norm(x, self.encoder_norm), mask)

    def decode(
        self, memory: Memory, codes: jax.Array, valid: jax.Array | None = None, rng: jax.Array | None = None,
        state: Any = None,
    ) -> Decoded:  # fmt: skip
        """Decodes complete sessions, for training and scoring.

        Args:
          memory: of the histories.
          codes: int32 [B C, m, L]; the C sessions of a history follow each other.
          valid: [B C, m], 0 for items whose tokens reach no experts; None for all.
          rng: a typed key, in training.
          state: of the experts, float [N, E] router biases or None.

        Returns:
          Hidden states to predict from; position l of an item has seen its codes before level l alone.
        """
        network, drop = self.network, self._drop(rng)
        batch, items, levels = codes.shape
        x = self._embed(codes, BOS) + self.session_positions[: items * network.tokens]
        x = drop(x.astype(network.dtype), EMBEDDED + DECODER)
        real = jnp.ones((batch, items)) if valid is None else valid
        real = jnp.repeat(real, network.tokens, axis=1)  # [B, T]
        causal = causal_mask(items * network.tokens)
        feed = feed_of(network, real, self.mesh)

        def layer(x: jax.Array, weights: Any, number: jax.Array) -> tuple[jax.Array, Any]:
            weights, bias = weights
            return decoder_layer(
                self._cast(weights), x, memory, causal,
                lambda w, x: feed(w, x, bias, None if rng is None else drop.of_layer(number)),
                drop.of_layer(number + DECODER),
            )  # fmt: skip

        with jax.named_scope('decoder'):
            stack = (self.decoder, state)
            x, told = run_layers(layer, x, stack, scan=network.scan, remat=network.remat)
        x = rms_norm(x, self.decoder_norm).reshape(batch, items, network.tokens, -1)
        return Decoded(x[:, :, :levels], told)

    def logits(self, hidden: jax.Array, level: int) -> jax.Array:
        """Logits float32 [..., W] of the codes of one level, from 0, of hidden float [..., X]."""
        first = sum(self.network.levels[:level])
        vectors = self.predict[first : first + self.network.levels[level]].astype(hidden.dtype)
        return jnp.einsum('...x,cx->...c', hidden, vectors, preferred_element_type=jnp.float32)

    def history_keys(self, memory: Memory) -> tuple[KeysValues, ...]:
        """Projects what the decoder's layers attend to once: [B, S, H, D] of each layer."""
        cross = self.decoder['cross']
        layers = range(self.network.decoder_layers)
        return tuple(keys_values(self._cast(layer_of(cross, i)), memory.hidden) for i in layers)

    def new_cache(self, batch: int, beams: int) -> Cache:
        """An empty cache of the session's tokens: zeros [B, K, T, H, D] of each layer."""
        network = self.network
        shape = (batch, beams, network.session * network.tokens, network.heads, network.head_width)
        empty = lambda: jnp.zeros(shape, network.dtype)
        return Cache(tuple(KeysValues(empty(), empty()) for _ in range(network.decoder_layers)))

    def step(
        self, cache: Cache, tokens: jax.Array, position: int | jax.Array, history: tuple[KeysValues, ...],
        mask: jax.Array, state: Any = None,
    ) -> tuple[jax.Array, Cache]:  # fmt: skip
        """Decodes the newest tokens of beams, float [B, K, Q, X] from `embed_tokens`; `position` is of the first.

        `history` is from `history_keys`, `mask` bool [B, S] of the memory, `state` as in `decode`.

        Returns:
          float [B, K, X], from which the next code is predicted, and the cache.
        """
        network, batch = self.network, tokens.shape[0]
        x = tokens + jax.lax.dynamic_slice_in_dim(self.session_positions, position, tokens.shape[2])
        x = x.astype(network.dtype)
        feed = feed_of(network, jnp.ones((batch, x.shape[1] * x.shape[2])), self.mesh)
        own = []
        for i, (cached, keys) in enumerate(zip(cache.own, history, strict=True)):
            bias = None if state is None else state[i]
            of_layer = lambda weights, x, bias=bias: feed(weights, x, bias, None)
            weights = self._cast(layer_of(self.decoder, i))
            x, cached = decoder_step(weights, x, cached, position, keys, mask, of_layer)
            own.append(cached)
        return rms_norm(x[:, :, -1], self.decoder_norm), Cache(tuple(own))

    def embed_tokens(self, codes: jax.Array, level: int) -> jax.Array:
        """float [..., X]: vectors of codes of one level; at level -1 of BOS, whatever the codes are."""
        if level < 0:
            return jnp.broadcast_to(self.special[BOS], (*codes.shape, self.network.width))
        return self.codes[codes + sum(self.network.levels[:level])]

    def _embed(self, codes: jax.Array, special: int) -> jax.Array:
        """float [B, items (1 + L), X] of codes [B, items, L], a special token before each item's."""
        batch, items, levels = codes.shape
        first = jnp.cumsum(jnp.asarray((0, *self.network.levels[:-1])))
        vectors = self.codes[jnp.maximum(codes, 0) + first] * (codes >= 0)[..., None]
        head = jnp.broadcast_to(self.special[special], (batch, items, 1, self.network.width))
        return jnp.concatenate([head, vectors], 2).reshape(batch, items * (1 + levels), -1)

    def _drop(self, rng: jax.Array | None) -> Drop:
        if rng is None:
            return Drop(jnp.zeros(2, jnp.uint32), 0.0)
        return Drop(key_words(rng), self.network.dropout)

    def _cast(self, weights: Any) -> Any:
        """Casts weights for activations; routers and norms compute in float32."""

        def cast(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
            return leaf if WIDE.search(str(path[-1].key)) else leaf.astype(self.network.dtype)

        return jax.tree_util.tree_map_with_path(cast, weights)
