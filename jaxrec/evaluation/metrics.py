"""Click metrics on host numpy, exact: the functions behind every reported number.

They take flat arrays of one entry an example, compute in float64 and weight each entry; entries of weight 0 may hold
any value. What a metric can't define (one class only, no click) is a `ValueError`, never a placeholder.

N examples, G groups (users).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Half the spacing of float32 below 1: closer to 0 or 1 than this, a float32 probability says nothing.
EPS = 2.0**-24


class GroupedAuc(NamedTuple):
    """The AUC within groups, as `gauc` returns it."""

    value: float  # the impression-weighted mean of the groups' AUCs
    groups: int  # number of groups in it
    dropped: int  # number of groups skipped because all their examples are of one class
    coverage: float  # share of the total weight that the groups in it hold, in (0, 1]


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Computes the area under the ROC curve: the chance that a positive outscores a negative, a tie counting half.

    O(N log N).

    Args:
      labels: 0 or 1, [N].
      scores: any real scores, higher for likelier clicks, [N]; infinities are allowed, NaN is not.
      weights: weight >= 0 of each example, [N]; None means 1 each.

    Raises:
      ValueError: shapes differ, a value is out of its range, or one of the two classes is absent.
    """
    labels, scores, weights = _columns(labels, scores, weights, 'scores')
    ordered, positive, negative = _ordered_pairs(labels, scores, weights, np.zeros(labels.size, np.int8))
    if not (positive.sum() and negative.sum()):
        clicks = int(labels.sum())
        raise ValueError(
            f'AUC needs both classes: {clicks} of {labels.size} examples of non-zero weight are positive. '
            'Evaluate a larger or less filtered part of the log.'
        )
    return float(ordered[0] / (positive[0] * negative[0]))


def gauc(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None) -> GroupedAuc:
    """Computes the AUC within each group (user), averaged with the group's impressions as weight.

    Groups whose examples are all of one class have no AUC; they are skipped and counted. O(N log N), whatever G is.

    Args:
      labels, scores: 0 or 1, and any real scores, [N].
      groups: integer key of each example's group, [N].
      weights: weight >= 0 of each example, [N]; None means 1 each. A group's impressions are its sum of weights.

    Raises:
      ValueError: shapes differ, a value is out of its range, or no group holds both classes.
    """
    keys = np.asarray(groups)
    if keys.shape != np.shape(labels):
        raise ValueError(f'groups has shape {keys.shape}, labels {np.shape(labels)}; give one group key an example.')
    if keys.dtype.kind not in 'iu':
        raise ValueError(f'groups has dtype {keys.dtype}; give integer keys (np.unique(..., return_inverse=True)).')
    kept = slice(None) if weights is None else np.asarray(weights) != 0
    labels, scores, weights = _columns(labels, scores, weights, 'scores')
    ordered, positive, negative = _ordered_pairs(labels, scores, weights, keys[kept])
    both = (positive > 0) & (negative > 0)
    if not both.any():
        raise ValueError(
            f'GAUC needs a group with both classes: each of the {both.size} groups holds one class only. '
            'Group by a coarser key or evaluate more examples of each user.'
        )
    impressions = positive + negative
    each = ordered[both] / (positive[both] * negative[both])
    return GroupedAuc(
        value=float(np.average(each, weights=impressions[both])),
        groups=int(both.sum()),
        dropped=int((~both).sum()),
        coverage=float(impressions[both].sum() / impressions.sum()),
    )


def log_loss(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None, eps: float = EPS) -> float:
    """Computes the mean negative log-likelihood of the labels, in nats.

    The probability of the class that occurred is floored at `eps`: a float32 sigmoid is exactly 1 from a logit of about
    17 on, and one confident miss would make the mean infinite. `count_floored` counts these examples.

    Args:
      labels, probabilities: 0 or 1, and of label 1, in [0, 1], [N].
      weights: weight >= 0 of each example, [N]; None means 1 each.
      eps: the floor; 0 gives the unfloored, perhaps infinite, loss.

    Raises:
      ValueError: shapes differ, a value is out of its range, or no example has weight.
    """
    labels, probabilities, weights = _columns(labels, probabilities, weights, 'probabilities', probability=True)
    if not labels.size:
        raise ValueError('Log-loss of no examples: all weights are 0 or the arrays are empty. Check the split.')
    with np.errstate(divide='ignore'):
        losses = -np.log(np.maximum(_of_observed_class(labels, probabilities), eps))
    return float(np.average(losses, weights=weights))


def count_floored(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None, eps: float = EPS
) -> int:
    """Number of examples whose loss `log_loss` bounds by `-log(eps)`; arguments as there."""
    labels, probabilities, _ = _columns(labels, probabilities, weights, 'probabilities', probability=True)
    return int((_of_observed_class(labels, probabilities) < eps).sum())


def pcoc(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Predicted clicks over observed clicks, >= 0; 1 is calibrated, above 1 over-predicts. Arguments as for `log_loss`.

    Raises:
      ValueError: shapes differ, a value is out of its range, or no click was observed.
    """
    labels, probabilities, weights = _columns(labels, probabilities, weights, 'probabilities', probability=True)
    clicks = float(labels @ weights)
    if clicks == 0:
        raise ValueError(
            f'PCOC divides by observed clicks: none of {labels.size} examples with weight has label 1. '
            'Evaluate a larger or less filtered part of the log.'
        )
    return float(probabilities @ weights) / clicks


def _of_observed_class(labels: NDArray, probabilities: NDArray) -> NDArray:
    return np.where(labels == 1, probabilities, 1 - probabilities)


def _ordered_pairs(
    labels: NDArray, scores: NDArray, weights: NDArray, groups: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """Per group, in order of key: weight of rightly ordered pairs, of positives, of negatives; each [G]."""
    if not labels.size:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    order = np.lexsort((scores, groups))
    labels, scores, weights, groups = labels[order], scores[order], weights[order], groups[order]
    opens_group = np.concatenate([[True], groups[1:] != groups[:-1]])
    opens_tie = opens_group | np.concatenate([[True], scores[1:] != scores[:-1]])

    ties = np.flatnonzero(opens_tie)  # a tie: the examples of one group that share one score
    positive = np.add.reduceat(weights * labels, ties)
    negative = np.add.reduceat(weights * (1 - labels), ties)
    first = np.flatnonzero(opens_group[ties])
    below = np.cumsum(negative) - negative
    below -= np.repeat(below[first], np.diff(first, append=ties.size))
    ordered = np.add.reduceat(positive * (below + negative / 2), first)
    return ordered, np.add.reduceat(positive, first), np.add.reduceat(negative, first)


def _columns(
    labels: ArrayLike, values: ArrayLike, weights: ArrayLike | None, name: str, probability: bool = False
) -> tuple[NDArray, NDArray, NDArray]:
    """Checks the three columns and returns those of non-zero weight, in float64."""
    y, v = np.asarray(labels, np.float64), np.asarray(values, np.float64)
    w = np.ones(y.shape) if weights is None else np.asarray(weights, np.float64)
    if y.ndim != 1 or v.shape != y.shape or w.shape != y.shape:
        raise ValueError(
            f'labels, {name} and weights must be flat and of one length; '
            f'their shapes are {y.shape}, {v.shape}, {w.shape}. Ravel [B, C] arrays first.'
        )
    _require_all(np.isfinite(w) & (w >= 0), w, 'weights', 'finite and >= 0')
    kept = w != 0
    _require_all((y == 0) | (y == 1) | ~kept, y, 'labels', '0 or 1; turn ratings into clicks first')
    if probability:
        allowed = 'probabilities in [0, 1]; apply a sigmoid to logits, and look for a diverged model if NaN'
        _require_all(((v >= 0) & (v <= 1)) | ~kept, v, name, allowed)
    else:
        _require_all(~np.isnan(v) | ~kept, v, name, 'numbers; a NaN usually means that the model diverged')
    return (y, v, w) if kept.all() else (y[kept], v[kept], w[kept])


def _require_all(fine: NDArray, values: NDArray, name: str, allowed: str) -> None:
    if not fine.all():
        at = int(np.argmin(fine))
        count = int(fine.size - fine.sum())
        raise ValueError(f'{name}[{at}] is {values[at]} (and {count - 1} more like it); {name} must be {allowed}.')
