"""Counts of a policy that is replayed or served, and the metrics that follow from them.

B visits of a batch, C candidates.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxrec.evaluation.off_policy import few_clicks

_Z = 1.959963984540054  # 95 % of a normal distribution
RESAMPLED = 10  # clicks from which a bootstrap's interval is one; of none every replicate has none


class Tally(NamedTuple):
    """Counts over visits; two tallies of different visits merge by addition."""

    visits: int = 0  # visits scored
    matches: int = 0  # visits whose pick was shown
    clicks: int = 0  # among the matches
    judged: int = 0  # visits whose true click rates are known
    chosen: float = 0.0  # sum of the pick's true click rate over these
    best: float = 0.0  # sum of the best candidate's true click rate over these
    compared: int = 0  # visits with predicted click rates
    changed: int = 0  # those of them whose pick is not the highest
    predicted: float = 0.0  # sum over matches of the pick's predicted click rate


def count(
    picks: NDArray,
    pool: NDArray,
    counted: NDArray,
    accepted: NDArray,
    click: NDArray,
    predicted: NDArray | None = None,
    rates: NDArray | None = None,
) -> Tally:
    """Counts a batch of visits.

    Args:
      picks: int64 [B], slots.
      pool: bool [B, C], which slots hold a candidate.
      counted, accepted: bool [B], the visits that count, and those among them whose pick was shown.
      click: 0 or 1 [B], what the accepted ones earned.
      predicted: click rates [B, C] that the policy predicts, NaN where it has none.
      rates: true click rates of the n counted visits, [n, C'] with C' as large as their pools.
    """
    tally = Tally(int(counted.sum()), int(accepted.sum()), int(click[accepted].sum()))
    if predicted is not None:
        known = counted & ~np.isnan(np.where(pool, predicted, 0)).any(1)
        changed = known & (picks != np.where(pool, predicted, -np.inf).argmax(1))
        at_pick = predicted[np.arange(len(picks)), picks]
        tally = tally._replace(
            compared=int(known.sum()),
            changed=int(changed.sum()),
            predicted=float(at_pick[accepted & known].sum(dtype=np.float64)),
        )
    if rates is not None:
        width = min(rates.shape[1], pool.shape[1])
        real = np.where(pool[counted, :width], rates[:, :width], -np.inf)
        chosen = real[np.arange(len(real)), picks[counted]]
        tally = tally._replace(judged=tally.visits, chosen=float(chosen.sum()), best=float(real.max(1).sum()))
    return tally


def merge(first: Tally, second: Tally) -> Tally:
    """Adds the tallies of different visits."""
    return Tally._make(a + b for a, b in zip(first, second, strict=True))


def summarise(tally: Tally) -> dict[str, float | int | str]:
    """Computes the metrics of a tally of all visits.

    Returns:
      `visits`, `matches`, `match_rate`, `clicks`, `ctr` with its 95 % Wilson interval `ctr_low`, `ctr_high`, and
      `caveat` ('' from 100 clicks on); where true rates are known `true_ctr` and `regret` (of all visits, in clicks a
      visit); where click rates are predicted `changed` (share of visits whose pick is not the highest of them), and if
      so everywhere `pcoc`, predicted over observed clicks of the matches.

    Raises:
      ValueError: no visit matched.
    """
    if not tally.matches:
        raise ValueError(
            f'none of {tally.visits} visits matched, so there is no click rate: the policy never picks what '
            'was shown; a longer log, or a look at its candidates, is needed'
        )
    low, high = wilson(tally.clicks, tally.matches)
    found: dict[str, float | int | str] = {
        'visits': tally.visits,
        'matches': tally.matches,
        'match_rate': tally.matches / tally.visits,
        'clicks': tally.clicks,
        'ctr': tally.clicks / tally.matches,
        'ctr_low': low,
        'ctr_high': high,
        'caveat': few_clicks(tally.clicks),
    }
    if tally.judged:
        found |= {'true_ctr': tally.chosen / tally.judged, 'regret': (tally.best - tally.chosen) / tally.judged}
    if tally.compared:
        found['changed'] = tally.changed / tally.compared
    if tally.compared == tally.visits and tally.clicks:
        found['pcoc'] = tally.predicted / tally.clicks
    return found


def wilson(clicks: int, matches: int) -> tuple[float, float]:
    """The 95 % interval of a rate (Wilson, 1927), within [0, 1] however few the clicks."""
    rate, spread = clicks / matches, _Z**2 / matches
    centre = (rate + spread / 2) / (1 + spread)
    half = np.sqrt(spread * (rate * (1 - rate) + spread / 4)) / (1 + spread)
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def bootstrap(tally: Tally, replicates: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Returns the 95 % interval of clicks / matches by a Poisson bootstrap over the matches.

    Each match is drawn Poisson(1) times, so the clicks of a replicate are Poisson(clicks) and the rest Poisson(matches
    - clicks), whichever matches they are.
    """
    rng = np.random.default_rng(seed)
    clicks = rng.poisson(tally.clicks, replicates)
    matches = clicks + rng.poisson(tally.matches - tally.clicks, replicates)
    low, high = np.percentile(clicks / np.maximum(matches, 1), (2.5, 97.5))
    return float(low), float(high)


def interval(tally: Tally, replicates: int = 1000, seed: int = 0) -> tuple[float, float, str]:
    """Returns the ends of the 95 % interval of clicks / matches, and whose it is.

    It is the 'bootstrap' of `replicates` draws, or 'wilson' with fewer than `RESAMPLED` clicks or skips to resample.
    """
    if min(tally.clicks, tally.matches - tally.clicks) < RESAMPLED:
        return *wilson(tally.clicks, tally.matches), 'wilson'
    return *bootstrap(tally, replicates, seed), 'bootstrap'


def pick(scores: Any, pool: NDArray) -> NDArray:
    """Returns the slot of the highest score [B, C] of each pool bool [B, C], the first one of equal ones, int64 [B].

    Raises:
      ValueError: a candidate's score is NaN, or the shape is another.
    """
    scores = np.asarray(scores)
    if scores.shape != pool.shape:
        raise ValueError(f'the policy scored {scores.shape} for a pool of {pool.shape}: one score a candidate')
    if np.isnan(scores[pool]).any():
        b, c = np.argwhere(np.isnan(scores) & pool)[0]
        raise ValueError(
            f'the policy scored NaN for candidate {c} of request {b}: its model has diverged, or it divides '
            'by a count of 0'
        )
    return np.where(pool, scores, -np.inf).argmax(1)
