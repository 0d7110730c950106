"""Rewards of generated sessions, by the reward model and in truth (arXiv 2502.18965, table 1).

The paper's evaluator is the reward model that mined the pairs. If users are simulated, their true expected rewards are
reported too, and how far the two agree.

R requests, K sessions of each, best first, 4 heads.
"""

from collections.abc import Mapping

import numpy as np
import scipy.stats

from jaxrec.models.onerec.reward.shown import HEADS

JUDGE, TRUE = 'judge', 'true'
REWARD = 'reward'  # the weighted sum of the heads


def summarise(
    judged: np.ndarray, alive: np.ndarray, weights: Mapping[str, float], truth: np.ndarray | None = None
) -> dict[str, float]:
    """Averages over requests the mean and the largest reward of their sessions.

    Args:
      judged: float [R, K, 4], the reward model's, in the order of `HEADS`.
      alive: bool [R, K], sessions that there are; requests without any do not count.
      weights: {head: weight} of the sum; heads that are not named are not reported.
      truth: float [R, K, 4], the expected labels, where they are known.

    Returns:
      '<who>_<head>_mean' and '<who>_<head>_max' of these heads and of 'reward', their weighted sum;
      '<who>_reward_first' of the session that the generator holds most probable, '<who>_reward_picked' of the one that
      the reward model holds best; 'rank_correlation' of predicted and true reward among the sessions of a request,
      averaged, and 'rank_correlation_all' over all sessions; 'written', sessions a request. <who> is 'judge', and with
      a truth 'true'.

    Raises:
      ValueError: no request has a session.
    """
    some = alive.any(1)
    if not some.any():
        raise ValueError('no session was generated: every beam died, see that the catalogue has semantic IDs')
    judged, alive = judged[some].astype(np.float64), alive[some]
    of_head = np.array([weights.get(head, 0.0) for head in HEADS])
    picked = np.where(alive, judged @ of_head, -np.inf).argmax(1)[:, None]
    found = {'written': float(alive.sum(1).mean())}
    parties = {JUDGE: judged} | ({} if truth is None else {TRUE: truth[some].astype(np.float64)})
    for who, rewards in parties.items():
        total = rewards @ of_head
        of_heads = {head: rewards[..., at] for at, head in enumerate(HEADS) if head in weights}
        for name, values in {**of_heads, REWARD: total}.items():
            mean = np.where(alive, values, 0).sum(1) / alive.sum(1)
            found[f'{who}_{name}_mean'] = float(mean.mean())
            found[f'{who}_{name}_max'] = float(np.where(alive, values, -np.inf).max(1).mean())
        found[f'{who}_{REWARD}_first'] = float(total[np.arange(len(total)), alive.argmax(1)].mean())
        found[f'{who}_{REWARD}_picked'] = float(np.take_along_axis(total, picked, 1).mean())
    if truth is not None:
        one, two = (parties[who] @ of_head for who in (JUDGE, TRUE))
        each = [_rank_correlation(one[r][alive[r]], two[r][alive[r]]) for r in range(len(one))]
        defined = {
            'rank_correlation': [value for value in each if np.isfinite(value)],
            'rank_correlation_all': [_rank_correlation(one[alive], two[alive])],
        }
        # Where judge or truth find all sessions alike there is none.
        found |= {name: float(np.mean(x)) for name, x in defined.items() if x and np.isfinite(x).all()}
    return found


def _rank_correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Spearman's; NaN where either has fewer than two values."""
    if len(np.unique(one)) < 2 or len(np.unique(two)) < 2:
        return float('nan')
    return float(scipy.stats.spearmanr(one, two).statistic)
