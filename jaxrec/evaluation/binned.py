"""Mergeable metric states for training curves: built in a jitted step, summed over steps, read on the host.

Each state is a pytree with the same three verbs: `from_batch` (jit-friendly, weighted by the validity mask), `merge`
(associative; `empty()` is its neutral element) and `compute` (host float). The states are sums, so they need nothing
more on a mesh. A metric without enough data is NaN: a window without a click must not stop a training run. Reported
numbers come from `jaxrec.evaluation.metrics` instead.

B batch, C candidates, K buckets; labels, logits and valid are [B, C], or of any one shape.
"""

from typing import Self

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

LOGIT_RANGE = 16.0  # sigmoid(-16) is 1e-7: beyond, float32 probabilities hardly differ


@flax.struct.dataclass
class BinnedAuc:
    """AUC from counts per bucket of the logit.

    Buckets are equally wide in the logit, not in the probability, where the clicks of a rare event would share a few of
    them. Pairs within a bucket count half, so the error is at most half the share of such pairs. Counts are int32:
    merging is exact in any order, up to 2^31 - 1 examples a bucket.
    """

    negative: jax.Array  # number of negatives in each bucket, int32 [K]
    positive: jax.Array  # number of positives in each bucket, int32 [K]
    invalid: jax.Array  # number of valid examples whose logit was NaN or whose label was not 0 or 1, int32 []

    @classmethod
    def empty(cls, buckets: int = 4096) -> Self:
        """A state that has seen nothing, with K = `buckets`."""
        if buckets < 2:
            raise ValueError(f'BinnedAuc got buckets={buckets}; at least 2 are needed to order anything.')
        return cls(jnp.zeros(buckets, jnp.int32), jnp.zeros(buckets, jnp.int32), jnp.zeros((), jnp.int32))

    @classmethod
    def from_batch(cls, labels: jax.Array, logits: jax.Array, valid: jax.Array, buckets: int = 4096) -> Self:
        """Counts one batch.

        Args:
          labels: 0 or 1, [B, C].
          logits: log-odds of label 1, [B, C]; those beyond +-16 fall into the outermost buckets.
          valid: 1 for examples, 0 for padding, [B, C]; fractional weights count as 1.
          buckets: K.
        """
        chex.assert_equal_shape([labels, logits, valid])
        logits = logits.astype(jnp.float32)
        sound = ~jnp.isnan(logits) & ((labels == 0) | (labels == 1))
        bucket = jnp.floor((logits + LOGIT_RANGE) * (buckets / (2 * LOGIT_RANGE)))
        bucket = jnp.where(sound, jnp.clip(bucket, 0, buckets - 1), 0).astype(jnp.int32)
        counted = sound & (valid > 0)
        state = cls.empty(buckets)
        return cls(
            negative=state.negative.at[bucket].add((counted & (labels == 0)).astype(jnp.int32)),
            positive=state.positive.at[bucket].add((counted & (labels == 1)).astype(jnp.int32)),
            invalid=jnp.sum(~sound & (valid > 0), dtype=jnp.int32),
        )

    def merge(self, other: Self) -> Self:
        """The state of both sets of examples; K must agree."""
        chex.assert_equal_shape([self.negative, other.negative])
        return jax.tree.map(lambda a, b: a + b, self, other)

    def compute(self) -> float:
        """Returns the AUC, or NaN if one class has not been seen.

        Raises:
          ValueError: an example had a NaN logit or a label that is not 0 or 1, or a bucket overflowed.
        """
        counts = jax.device_get((self.negative, self.positive, self.invalid))
        negative, positive, invalid = (np.asarray(leaf, np.float64) for leaf in counts)
        if invalid:
            raise ValueError(
                f'{int(invalid)} examples had a NaN logit or a label other than 0 and 1; '
                'lower the learning rate or check the labels.'
            )
        if negative.min() < 0 or positive.min() < 0:
            raise ValueError('A bucket of BinnedAuc counted past 2^31 - 1; compute and restart the state more often.')
        pairs = negative.sum() * positive.sum()
        below = np.cumsum(negative) - negative / 2
        return float(positive @ below / pairs) if pairs else float('nan')


@flax.struct.dataclass
class _Ratio:
    """A quotient of two sums over examples, float32 [] each.

    A batch's sum is added at once, so rounding stays near 1e-7 of the result; only past some 2^24 batches would it
    stall.
    """

    numerator: jax.Array
    denominator: jax.Array

    @classmethod
    def empty(cls) -> Self:
        """A state that has seen nothing."""
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))

    @classmethod
    def _sums(cls, numerator: jax.Array, denominator: jax.Array, valid: jax.Array) -> Self:
        """Sums both [B, C] terms over the valid examples; what padding holds is cut, so it may be NaN."""
        chex.assert_equal_shape([numerator, denominator, valid])
        total = lambda term: jnp.sum(jnp.where(valid > 0, term * valid, 0), dtype=jnp.float32)
        return cls(total(numerator), total(denominator))

    def merge(self, other: Self) -> Self:
        """The state of both sets of examples."""
        return jax.tree.map(lambda a, b: a + b, self, other)

    def compute(self) -> float:
        """The quotient, or NaN if its denominator is 0."""
        numerator, denominator = (float(leaf) for leaf in jax.device_get((self.numerator, self.denominator)))
        return numerator / denominator if denominator else float('nan')


@flax.struct.dataclass
class Mean(_Ratio):
    """Mean of a value over the valid examples."""

    @classmethod
    def from_batch(cls, values: jax.Array, valid: jax.Array) -> Self:
        """Sums `values` [B, C], weighted by `valid` [B, C]."""
        return cls._sums(values, jnp.ones_like(valid), valid)


@flax.struct.dataclass
class LogLoss(_Ratio):
    """Mean negative log-likelihood in nats, from logits: finite for any finite logit."""

    @classmethod
    def from_batch(cls, labels: jax.Array, logits: jax.Array, valid: jax.Array) -> Self:
        """Sums the losses of `labels` (0 or 1) under `logits`, weighted by `valid`; each [B, C]."""
        losses = optax.losses.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), labels)
        return cls._sums(losses, jnp.ones_like(valid), valid)


@flax.struct.dataclass
class Pcoc(_Ratio):
    """Predicted clicks over observed clicks."""

    @classmethod
    def from_batch(cls, labels: jax.Array, logits: jax.Array, valid: jax.Array) -> Self:
        """Sums sigmoid(`logits`) and `labels` (0 or 1), weighted by `valid`; each [B, C]."""
        return cls._sums(jax.nn.sigmoid(logits.astype(jnp.float32)), labels, valid)
