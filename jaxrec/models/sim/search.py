"""The first stage: searches that learn, or that read vectors (arXiv 2006.05639, section 3.1).

A search maps (candidate, behaviours, batch, train) to the behaviours it kept and the losses it brings. The
hard search is not among them: it reads ids alone, before any lookup, see `behaviours`.

B batch, C candidates, L history, K kept, E width of a candidate, D of a behaviour.
"""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.models.ctr.layers import Mlp
from jaxrec.models.ctr.task import mean_cross_entropy
from jaxrec.models.sim.attention import projections
from jaxrec.models.sim.behaviours import Behaviours
from jaxrec.ops.histories.search import cosine_scores, soft_search, top_search
from jaxrec.ops.histories.simhash import hamming_scores, hyperplanes
from jaxrec.ops.histories.target_attention import project_query
from jaxrec.ops.histories.top_k import inner_search

Found = tuple[Behaviours, dict[str, jax.Array]]


class KeepAll(nn.Module):
    """No search, or one that was done before the lookup."""

    def __call__(self, candidate: jax.Array, past: Behaviours, batch: Mapping[str, jax.Array], train: bool) -> Found:
        """Returns the behaviours as they are, and no losses."""
        return past, {}


class SoftSearch(nn.Module):
    """Keeps the behaviours of the highest inner products, which learn from a loss of their own (eq. 1-2).

    Attributes:
      keep: K.
      project: score by W_b e and W_a c; False scores by e and c themselves.
      width: of the projections.
      alpha: weight of the loss; 0 omits it.
      softmax: normalise the scores in the loss's pooling, as public code does.
      widths: hidden widths of the net that the loss trains.
    """

    keep: int
    project: bool = True
    width: int = 64
    alpha: float = 1.0
    softmax: bool = False
    widths: Sequence[int] = (200, 80)

    @nn.compact
    def __call__(self, candidate: jax.Array, past: Behaviours, batch: Mapping[str, jax.Array], train: bool) -> Found:
        """Searches for each candidate.

        Args:
          candidate, past: float [B, C, E], and all behaviours, N = 1.
          batch: {key: [B, ...]} with label and valid in training.
          train: whether the loss is wanted.

        Returns:
          The kept behaviours, and in training {'search': weighted loss float []}.
        """
        query = candidate
        if self.project:
            query = project_query(candidate, *projections(self, candidate, past, 1, self.width))[:, :, 0]
        parts, length = [part[:, 0] for part in past.parts], past.length[:, 0]
        if not self.alpha or not (train or self.is_initializing()):
            return past.choose(inner_search(query, parts, length, self.keep)), {}
        found = soft_search(query, parts, length, self.keep, softmax=self.softmax)
        head = Mlp((*self.widths, 1), name='auxiliary')
        logits = head(jnp.concatenate([found.pooled, candidate], -1))[..., 0]
        losses = {'search': self.alpha * mean_cross_entropy(logits, batch)}
        return past.choose(found.kept, found.parts), losses


class SharedSearch(nn.Module):
    """Keeps the K behaviours of the highest cosines, by the embeddings that the rest of the model trains."""

    keep: int

    def __call__(self, candidate: jax.Array, past: Behaviours, batch: Mapping[str, jax.Array], train: bool) -> Found:
        """Searches for each candidate; arguments are those of `SoftSearch`, there are no losses."""
        candidate, past_parts = jax.lax.stop_gradient((candidate, past.parts))
        scores = cosine_scores(candidate, [part[:, 0] for part in past_parts])
        return past.choose(top_search(scores, past.length[:, 0], self.keep)), {}


class HashSearch(nn.Module):
    """Keeps the K behaviours whose SimHash bits are nearest to the candidate's: ETA (arXiv 2108.04468).

    Attributes:
      hashes: bits of a vector; 0 takes two a number of it, beyond which little is gained.
      seed: of the hyperplanes.
    """

    keep: int
    hashes: int = 0
    seed: int = 0

    def __call__(self, candidate: jax.Array, past: Behaviours, batch: Mapping[str, jax.Array], train: bool) -> Found:
        """Searches for each candidate; arguments are those of `SoftSearch`, there are no losses."""
        width = candidate.shape[-1]
        planes = hyperplanes(width, self.hashes or 2 * width, self.seed)
        scores = hamming_scores(candidate, [part[:, 0] for part in past.parts], planes)
        return past.choose(top_search(scores, past.length[:, 0], self.keep)), {}
