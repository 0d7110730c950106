"""Replay and off-policy estimates as their definitions say, visit by visit in plain Python."""

import math
from fractions import Fraction


def replay(visits, policy, refit_every=1, batch=1, window=None, delay=0, warm_up=0, pretrained=False):
    """Replays a learner over visits.

    Args:
      visits: [{'pool': [item, ...], 'shown': item, 'click': 0 or 1, 'time': number}, ...].
      policy: has `pick(pool) -> item` and `learn([visit, ...])`; anew where there is a window.
      refit_every, batch, window, delay, warm_up, pretrained: as in `ReplayOptions`.

    Returns:
      (number of visits counted, accepted visit numbers, clicks among them, calls of learn as visit numbers).
    """
    accepted, clicks, counted, calls, taught = [], 0, 0, [], 0
    kept = []  # (visit number, time from which it is known)

    def refit(now):
        nonlocal taught
        known = [n for n, since in kept if since <= now]
        if len(known) > taught:
            given = known[taught:] if window is None else known[-window:]
            calls.append(given)
            policy.learn([visits[n] for n in given])
            taught = len(known)

    for first in range(0, len(visits), batch):
        numbers = range(first, min(first + batch, len(visits)))
        for n in numbers:
            if n < warm_up:
                kept.append((n, -math.inf))
            if n + 1 == warm_up:
                if pretrained:
                    taught = warm_up
                else:
                    refit(-math.inf)
        for n in numbers:
            if n >= warm_up:
                counted += 1
                if policy.pick(visits[n]['pool']) == visits[n]['shown']:
                    accepted.append(n)
                    clicks += visits[n]['click']
                    kept.append((n, visits[n]['time'] + delay))
        before, after = max(first - warm_up, 0), max(numbers[-1] + 1 - warm_up, 0)
        if after // refit_every > before // refit_every:
            refit(visits[numbers[-1]]['time'])
    return counted, accepted, clicks, calls


def estimates(clicks, target, propensity, modelled=None, modelled_shown=None):
    """{'ips', 'snips', 'dm', 'dr': Fraction} of lists with one entry a visit, floats at their exact value.

    Args:
      clicks: 0 or 1.
      target, propensity: probabilities of the shown item under the target policy and the logger.
      modelled: the model's expected click rate under the target policy.
      modelled_shown: the model's click rate of the shown item.
    """
    count = len(clicks)
    weights = [Fraction(t) / Fraction(p) for t, p in zip(target, propensity, strict=True)]
    reward = sum(w * c for w, c in zip(weights, clicks, strict=True))
    found = {'ips': reward / count, 'snips': reward / sum(weights)}
    if modelled is not None:
        found['dm'] = sum(map(Fraction, modelled)) / count
        residual = [w * (c - Fraction(q)) for w, c, q in zip(weights, clicks, modelled_shown, strict=True)]
        found['dr'] = found['dm'] + sum(residual) / count
    return found
