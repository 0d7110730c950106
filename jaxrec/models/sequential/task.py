"""Next-item prediction, all items scored.

B batch, L history, T = L + 1 places with the target, X width, V items, S negatives, K best.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.data.logs.vocabulary import FIRST
from jaxrec.data.sources.next_item_source import require_one_target
from jaxrec.evaluation.ranking import RankingEvaluator
from jaxrec.ops.dropout import fold_words, key_words
from jaxrec.ops.generation.catalogue import catalogue_cross_entropy, catalogue_scores, rank_of, sampled_cross_entropy
from jaxrec.ops.hashing import mix32
from jaxrec.training.task import Batch, Metrics, Rows, WithoutTables

NEGATIVES = 7_919  # of the draws of a step


@dataclasses.dataclass(frozen=True, eq=False)
class NextItemTask(WithoutTables):
    """Next-item prediction; implements `training.task.Task` without tables.

    The Flax module has `rows`, V, and `places(batch, rng)` -> (hidden [B, T, X], labels int [B, T], counts float [B,
    T]) for training, `last(batch)` -> [B, X] to score, and `vectors()` -> [V, X].
    """

    module: Any  # a Flax module
    negatives: int = 0  # S, drawn for each step; 0 scores all items
    best: int = 10  # K, items that a prediction names

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Draws (params, {}) for a batch whose values do not matter."""
        return self.module.init(rng, batch, method='last')['params'], {}

    def loss(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        """Mean cross-entropy over the places that count.

        Args:
          params: the module's.
          model_state: empty.
          rows: unused.
          batch: 'history/item' int32 [B, L], 'history/length' [B], 'target/item' int32 [B, 1] and 'valid' [B, 1].
          rng: a typed key, of dropout, masks and negatives.

        Returns:
          loss float32 [], ({'cross_entropy'}, {}).
        """
        del rows

        def run(module: Any) -> jax.Array:
            hidden, labels, counts = module.places(batch, rng)
            flat, counts = hidden.reshape(-1, hidden.shape[-1]), counts.reshape(-1)
            labels = labels.reshape(-1)
            vectors = module.vectors()
            if self.negatives:
                drawn = draw_items(rng, self.negatives, len(vectors))
                losses = sampled_cross_entropy(flat, vectors, labels, drawn)
            else:
                losses = catalogue_cross_entropy(flat, vectors, labels, _items(vectors), counts > 0)
            return jnp.sum(losses * counts) / jnp.maximum(counts.sum(), 1)

        loss: Any = self.module.apply({'params': params}, method=run)
        return loss, ({'cross_entropy': loss}, model_state)

    def predict(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Ranks all items after a history; items of the history stay in.

        Returns:
          'rank' float32 [B], the target's from 1, 'items' int32 [B, K] and 'scores' float32 [B, K] of the best.
        """
        del model_state, rows, rng

        def run(module: Any) -> dict[str, jax.Array]:
            vectors = module.vectors()
            scores = catalogue_scores(module.last(batch), vectors, _items(vectors))
            best, items = jax.lax.top_k(scores, min(self.best, len(vectors) - FIRST))
            return {'rank': rank_of(scores, batch['target/item'][:, 0]), 'items': items, 'scores': best}

        found: Any = self.module.apply({'params': params}, method=run)
        return found

    def check_data(self, data: Mapping[str, Any]) -> None:
        """Refuses a data section whose batches hold several next items of a history."""
        require_one_target(data)

    def evaluator(self) -> RankingEvaluator:
        """Returns a new evaluator."""
        return RankingEvaluator(catalogue=self.module.rows - FIRST)


def draw_items(rng: jax.Array, number: int, rows: int) -> jax.Array:
    """Draws items uniformly by counter: int32 [number], from `FIRST` to below `rows`."""
    words = fold_words(key_words(rng), NEGATIVES)
    bits = mix32(mix32(jnp.arange(number, dtype=jnp.uint32) ^ words[0]) + words[1])
    return (bits % jnp.uint32(rows - FIRST)).astype(jnp.int32) + FIRST


def shifted(batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The item after each place of a history: labels int [B, L] and counts float [B, L].

    The last place's label is the target; a place whose next item is unknown does not count.
    """
    items, length = batch['history/item'], batch['history/length'][:, None]
    place = jnp.arange(items.shape[1])
    following = jnp.pad(items[:, 1:], ((0, 0), (0, 1)))
    labels = jnp.where(place == length - 1, batch['target/item'], following)
    return labels, batch['valid'] * (place < length) * (labels >= FIRST)


def _items(vectors: jax.Array) -> jax.Array:
    return jnp.arange(len(vectors)) >= FIRST
