"""Long-term interest in a candidate: a search and an attention, or a unit that is both.

An interest maps (candidate, behaviours, batch, train) to a vector a candidate and its losses. `inspect` returns what
its search keeps of a complete window, and how its attention weighs all of that.

B batch, C candidates, L history, K kept, E width of a candidate, D of a behaviour, H heads, J cross features.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.models.sim.attention import Gaps, projections
from jaxrec.models.sim.behaviours import Behaviours
from jaxrec.ops.histories.search import Kept, inner_scores, top_search
from jaxrec.ops.histories.simhash import collision_pool, count_collisions, hyperplanes
from jaxrec.ops.histories.target_attention import cross_bias, project_query, target_attention, target_logits

Interest = tuple[jax.Array, dict[str, jax.Array]]


class Inspection(NamedTuple):
    """What a search keeps of a window, and how attention would weigh all of it.

    Attributes:
      kept: positions [B, C, K]; None without a search.
      logits: float [B, C, H, L], the exact unit's before its softmax, arbitrary on padding; None where it weighs
        nothing.
    """

    kept: Kept | None
    logits: jax.Array | None


class TwoStages(nn.Module):
    """A search, then attention to what it kept (SIM, arXiv 2006.05639; ETA, arXiv 2108.04468).

    Attributes:
      search: called as (candidate, behaviours, batch, train) -> (kept behaviours, {name: loss}).
      attention: called as (candidate, kept behaviours) -> float [B, C, *].
      time_gap: width of the time embedding, which only the attention reads; 0 omits it.
    """

    search: nn.Module
    attention: nn.Module
    time_gap: int = 0

    def setup(self) -> None:
        """The time embedding."""
        self.gaps = Gaps(self.time_gap)

    def __call__(self, candidate: jax.Array, past: Behaviours, batch: Mapping[str, jax.Array], train: bool) -> Interest:
        """Searches and attends.

        Args:
          candidate, past: float [B, C, E], and behaviours, all or kept.
          batch, train: {key: [B, ...]}, and whether losses are wanted.

        Returns:
          float [B, C, *] and {name: weighted loss float []}.
        """
        with jax.named_scope('search'):
            kept, losses = self.search(candidate, past, batch, train)
        with jax.named_scope('attention'):
            kept = self.gaps(kept)
            if kept.runs is None:
                return self.attention(candidate, kept), losses
            return kept.runs.collect(self.attention(*kept.by_run(candidate))), losses

    def inspect(
        self, candidate: jax.Array, past: Behaviours, batch: Mapping[str, jax.Array], found: Kept | None = None
    ) -> Inspection:
        """Searches, and weighs the complete window.

        Args:
          candidate, past, batch: as for `__call__`, of all behaviours.
          found: what a search of ids keeps, which was done before.

        Returns:
          What was kept, and logits of the complete window.
        """
        kept = self.search(candidate, past, batch, False)[0].kept if found is None else found
        return Inspection(kept, self.attention.logits(candidate, self.gaps(past)))


class Sdim(nn.Module):
    """Pools the behaviours that collide with the candidate in groups of hashes (arXiv 2205.10249).

    Attributes:
      hashes, group, seed: m, tau hashes a group, and the seed of the hyperplanes.
      time_gap: width of the time embedding, which is pooled and not hashed; 0 omits it.
      keep: K, how many of those that collide most often count as kept where searches are evaluated.
    """

    hashes: int = 48
    group: int = 3
    seed: int = 0
    time_gap: int = 0
    keep: int = 50

    @nn.compact
    def __call__(self, candidate: jax.Array, past: Behaviours, batch: Mapping[str, jax.Array], train: bool) -> Interest:
        """Pools for each candidate; arguments are those of `TwoStages`, there are no losses."""
        values = [part[:, 0] for part in Gaps(self.time_gap, name='gaps')(past).parts]
        return collision_pool(*self._hashed(candidate, past), past.length[:, 0], values), {}

    def inspect(
        self, candidate: jax.Array, past: Behaviours, batch: Mapping[str, jax.Array], found: Kept | None = None
    ) -> Inspection:
        """Names those that weigh most; arguments are those of `TwoStages`, there is no second stage."""
        scores = count_collisions(*self._hashed(candidate, past))
        return Inspection(top_search(scores, past.length[:, 0], self.keep), None)

    def _hashed(self, candidate: jax.Array, past: Behaviours) -> tuple[jax.Array, list[jax.Array], jax.Array, int]:
        planes = hyperplanes(candidate.shape[-1], self.hashes, self.seed)
        return candidate, [part[:, 0] for part in past.parts], planes, self.group


class Twin(nn.Module):
    """The same target attention in both stages (arXiv 2302.02352).

    The first stage ranks all behaviours by the sum of the heads' relevance, the second attends to the best by that same
    relevance, through which all of it learns.

    Attributes:
      keep: K.
      inherent: whether each history column describes the item itself; the others are cross features, of which each head
        reads one number.
      heads, width: H, and of the projections of each head.
      time_gap: width of the time embedding, a cross feature too; 0 omits it.
    """

    keep: int
    inherent: tuple[bool, ...]
    heads: int = 4
    width: int = 64
    time_gap: int = 0

    def setup(self) -> None:
        """The time embedding."""
        self.gaps = Gaps(self.time_gap)

    def __call__(self, candidate: jax.Array, past: Behaviours, batch: Mapping[str, jax.Array], train: bool) -> Interest:
        """Searches and attends; arguments are those of `TwoStages`, there are no losses."""
        scores, logits = self.relevance(candidate, past)
        with jax.named_scope('search'):
            kept = self.gaps(past.choose(top_search(scores, past.length[:, 0], self.keep)))
        with jax.named_scope('attention'):
            return target_attention(logits(kept), kept.mask, kept.parts), {}

    def inspect(
        self, candidate: jax.Array, past: Behaviours, batch: Mapping[str, jax.Array], found: Kept | None = None
    ) -> Inspection:
        """Searches, and weighs the whole window; arguments are those of `TwoStages`."""
        scores, logits = self.relevance(candidate, past)
        return Inspection(top_search(scores, past.length[:, 0], self.keep), logits(self.gaps(past)))

    @nn.compact
    def relevance(self, candidate: jax.Array, past: Behaviours) -> tuple[jax.Array, Callable[[Behaviours], jax.Array]]:
        """Scores the complete window, and returns the function that weighs any behaviours.

        Returns:
          The first stage's scores, float [B, C, L]; and the second's logits, a function from behaviours with their time
          embeddings to float [B, C, H, K].
        """
        keys, cross = self._split(self.gaps(past))
        weights = projections(self, candidate, past._replace(parts=keys), self.heads, self.width)
        query = project_query(candidate, *weights) / self.width**0.5  # [B, C, H, D]
        bias = self._bias(cross)
        with jax.named_scope('search'):
            # Summed over the heads before it meets the behaviours, which changes nothing but the cost.
            scores = inner_scores(query.sum(2), [part[:, 0] for part in keys]) + bias(cross).sum(2)

        def logits(behaviours: Behaviours) -> jax.Array:
            keys, cross = self._split(behaviours)
            return target_logits(query, keys) + bias(cross)

        return scores, logits

    def _split(self, behaviours: Behaviours) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        """The parts that are the item's own, and the cross features."""
        parts = behaviours.parts
        own = (*self.inherent, *[False] * (len(parts) - len(self.inherent)))
        pick = lambda wanted: tuple(part for part, is_own in zip(parts, own, strict=True) if is_own == wanted)
        return pick(True), pick(False)

    def _bias(self, cross: tuple[jax.Array, ...]) -> Callable[[tuple[jax.Array, ...]], jax.Array]:
        """A function from cross features such as these to float [B, N, H, K], or to a zero without any."""
        if not cross:
            return lambda _: jnp.zeros((1, 1, 1, 1))
        draw = nn.initializers.normal(0.1)
        squeeze = [self.param(f'squeeze_{i}', draw, part.shape[-1:]) for i, part in enumerate(cross)]
        beta = self.param('beta', nn.initializers.ones, (self.heads, len(cross)))
        return lambda cross: cross_bias(cross, squeeze, beta)
