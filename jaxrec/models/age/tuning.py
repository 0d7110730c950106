"""Lambda has no scale of its own, so it is chosen by the share of winners that it changes."""

import math
from collections.abc import Callable
from typing import NamedTuple


class UnreachedError(ValueError):
    """No lambda changes the wanted share of winners.

    Attributes:
      most: the largest share that one does change.
    """

    def __init__(self, message: str, most: float = 0.0):
        """Keeps the share beside the message."""
        super().__init__(message)
        self.most = most


class Tuned(NamedTuple):
    """A lambda and what it does."""

    explore_lambda: float  # the step's size per unit of uncertainty
    changed: float  # the share of requests whose winner it changes
    tried: dict[float, float]  # {lambda: share} of all that were tried


def tune_lambda(
    changed: Callable[[float], float], target: float = 0.05, low: float = 1e-4, high: float = 1e6, steps: int = 16
) -> Tuned:
    """Finds the lambda that changes a wanted share of winners, by bisection on its logarithm.

    The share rises with lambda up to a point and need not beyond, so the bisection starts below the first decade that
    reaches the target.

    Args:
      changed: lambda -> share of requests whose winner it changes, in [0, 1]; always on the same requests with the same
        key.
      target: the wanted share, in (0, 1).
      low, high: where to start and to give up.
      steps: bisections of the decade.

    Returns:
      The tried lambda whose share is nearest to the target, the smaller among equals.

    Raises:
      UnreachedError: a target that no lambda up to `high` reaches.
      ValueError: a target outside (0, 1).
    """
    if not 0 < target < 1:
        raise ValueError(f'target = {target}: give the share of requests whose winner may change, in (0, 1)')
    tried: dict[float, float] = {}

    def share(value: float) -> float:
        return tried.setdefault(value, float(changed(value)))

    upper = low
    while share(upper) < target:
        if upper >= high:
            best = max(tried, key=lambda value: tried[value])
            raise UnreachedError(
                f'no lambda up to {high:g} changes {target:.1%} of the winners, at most {tried[best]:.1%} at '
                f'{best:g}: ask for less, open the gate, or raise model.dropout_rate',
                tried[best],
            )
        upper *= 10
    lower = upper / 10
    for _ in range(steps):
        middle = math.sqrt(lower * upper)
        if share(middle) < target:
            lower = middle
        else:
            upper = middle
    nearest = min(tried, key=lambda value: (abs(tried[value] - target), value))
    return Tuned(nearest, tried[nearest], tried)
