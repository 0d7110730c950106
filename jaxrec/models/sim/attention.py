"""The second stage: attention of a candidate to what a search kept (arXiv 2006.05639, section 3.2).

Each layer maps (candidate, behaviours) to one vector a candidate; behaviours may also be those of a complete window,
which all candidates share. `logits` is the attention before its softmax.

B batch, C candidates, K kept, N = C or 1, E width of a candidate, D of a behaviour, Di of a part, H heads.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.models.ctr.layers import TargetAttention
from jaxrec.models.sim.behaviours import Behaviours
from jaxrec.ops.histories.pooling import masked_mean
from jaxrec.ops.histories.target_attention import project_query, target_attention, target_logits

# The least number of rows that holds every bucket 1 + floor(log2(1 + gap)) of a 64-bit gap, and padding.
GAPS = 64


class Gaps(nn.Module):
    """Embeds the time since each behaviour (e^t of section 3.2) in `dim` numbers; 0 omits it."""

    dim: int

    @nn.compact
    def __call__(self, behaviours: Behaviours) -> Behaviours:
        """Adds the embedding to the behaviours as a further part: z = [e; e^t]; they have gaps, unless `dim` is 0."""
        if not self.dim:
            return behaviours
        table = self.param('embedding', nn.initializers.normal(0.01), (GAPS, self.dim))
        part = table.at[behaviours.gap].get(mode='fill', fill_value=0)
        return behaviours._replace(parts=(*behaviours.parts, part))


class MultiHead(nn.Module):
    """Multi-head target attention whose values are the behaviours themselves (eq. 3-4); `width` is of a head."""

    heads: int = 2
    width: int = 64

    def __call__(self, candidate: jax.Array, behaviours: Behaviours) -> jax.Array:
        """Attends from each candidate float [B, C, E] to its behaviours; [B, C, H * D], zeros without behaviours."""
        logits = self.logits(candidate, behaviours)
        return target_attention(logits, behaviours.mask, behaviours.parts)

    @nn.compact
    def logits(self, candidate: jax.Array, behaviours: Behaviours) -> jax.Array:
        """Weighs the behaviours; arguments are those of `__call__`, returns float [B, C, H, K]."""
        query = project_query(candidate, *projections(self, candidate, behaviours, self.heads, self.width))
        return target_logits(query, behaviours.parts)


class LocalActivation(nn.Module):
    """DIN's attention as the second stage; its net reads a candidate as a behaviour of no time gap.

    Attributes:
      widths, softmax: as for `TargetAttention`.
    """

    widths: Sequence[int] = (80, 40)
    softmax: bool = True

    def setup(self) -> None:
        """The scoring net."""
        self.attention = TargetAttention(self.widths, self.softmax)

    def __call__(self, candidate: jax.Array, behaviours: Behaviours) -> jax.Array:
        """Attends from each candidate; arguments are those of `MultiHead`, returns float [B, C, D]."""
        candidate, history = _of_one_width(candidate, behaviours)
        mask = behaviours.mask
        if history.shape[1] == 1:
            return self.attention(candidate, history[:, 0], mask[:, 0])
        fold = lambda x: x.reshape(-1, *x.shape[2:])  # every candidate has a history of its own
        found = self.attention(fold(candidate)[:, None], fold(history), fold(mask))
        return found.reshape(*candidate.shape[:2], -1)

    def logits(self, candidate: jax.Array, behaviours: Behaviours) -> jax.Array:
        """Weighs behaviours that all candidates share; returns float [B, C, 1, L]."""
        candidate, history = _of_one_width(candidate, behaviours)
        return self.attention.logits(candidate, history[:, 0])[:, :, None]


class Mean(nn.Module):
    """The mean of the behaviours: the first stage alone."""

    def __call__(self, candidate: jax.Array, behaviours: Behaviours) -> jax.Array:
        """Averages, whatever the candidate; arguments are those of `MultiHead`, returns float [B, C, D]."""
        means = [masked_mean(part, behaviours.mask) for part in behaviours.parts]
        pooled = jnp.concatenate(means, -1)  # [B, N, D]
        return jnp.broadcast_to(pooled, (*candidate.shape[:2], pooled.shape[-1]))

    def logits(self, candidate: jax.Array, behaviours: Behaviours) -> None:
        """Weighs nothing: there is no second stage."""


def _of_one_width(candidate: jax.Array, behaviours: Behaviours) -> tuple[jax.Array, jax.Array]:
    """Candidates and behaviours [B, N, K, D], candidates with zeros where behaviours have further parts."""
    history = jnp.concatenate(behaviours.parts, -1)
    missing = history.shape[-1] - candidate.shape[-1]
    return jnp.pad(candidate, ((0, 0), (0, 0), (0, missing))), history


def projections(
    module: nn.Module, candidate: jax.Array, behaviours: Behaviours, heads: int, width: int
) -> tuple[jax.Array, jax.Array]:
    """W_a [H, E, width] and W_b [H, D, width], parameters of the module; a head is drawn as a layer of its own."""
    glorot = nn.initializers.glorot_normal(batch_axis=0)
    wide = sum(part.shape[-1] for part in behaviours.parts)
    return (
        module.param('of_candidate', glorot, (heads, candidate.shape[-1], width)),
        module.param('of_behaviour', glorot, (heads, wide, width)),
    )
