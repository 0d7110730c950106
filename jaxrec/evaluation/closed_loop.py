"""Serves simulated visits by a policy: its picks are answered, as in an online experiment.

Any part of a batch can be served, so that buckets share a stream. The experiment decides what each policy learns.

B visits of a batch, C candidates, n served visits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from jaxrec.evaluation.replay import Batch, Policy, scored, visible
from jaxrec.evaluation.tallies import Tally, count, pick


class Served(NamedTuple):
    """What was shown to a part of a batch, and what came of it."""

    rows: NDArray  # int64 [n], visits of the log
    slots: NDArray  # int64 [n], places in their pools
    clicks: NDArray  # float32 [n]
    tally: Tally  # all visits match, so `ctr` is what was earned and `pcoc` predicted over earned
    propensities: NDArray | None = None  # float32 [n], with which each was drawn, of a policy that has `act`


def serve(
    policy: Policy,
    policy_state: Any,
    batch: Batch,
    rng: jax.Array,
    answer: Callable[[NDArray, NDArray], NDArray],
    *,
    where: NDArray | None = None,
    truth: Callable[[NDArray], NDArray] | None = None,
) -> Served:
    """Picks for the visits of a batch and has the picks answered.

    Args:
      policy, policy_state: see `jaxrec.evaluation.replay.Policy`.
      batch: visits; what was logged of them is not read.
      rng: key.
      answer: (rows [n], slots [n]) -> clicks [n], such as `jaxrec.data.simulators.feed.Feed.clicks`.
      where: bool [B], the part of the traffic that is served; all of it by default.
      truth: rows [n] -> true click rates [n, C], such as `Feed.rates`.

    Returns:
      What was shown, with its propensities where the policy has them; `PoolSource.impressions(rows, slots, clicks)` is
        what can be learned from it.
    """
    rows, pool = np.asarray(batch['host/event']), np.asarray(batch['pool'])
    served = rows >= 0 if where is None else (rows >= 0) & where
    scores, predicted = scored(policy, policy_state, batch, rng)
    picks = pick(scores, pool)
    click = np.zeros(len(rows), np.float32)
    click[served] = answer(rows[served], picks[served])
    rates = None if truth is None else truth(rows[served])
    tally = count(picks, pool, served, served, click, predicted, rates)
    shown = Served(rows[served], picks[served], click[served], tally)
    if not hasattr(policy, 'act'):
        return shown
    # The same key draws the same picks.
    return shown._replace(propensities=np.asarray(policy.act(policy_state, visible(batch), rng).propensity)[served])
