"""Preference losses of one winner and one list of losers by their formulas: slow, obvious, float64."""

import math

import numpy as np


def log_sigmoid(x):
    return -math.log(1 + math.exp(-x))


def pair_loss(kind, won, lost, of_won, of_lost, beta, noise, likelihood, margin, lengths):
    h = (won - of_won) - (lost - of_lost)
    if kind == 'dpo':
        return -log_sigmoid(beta * h)
    if kind == 'ipo':
        return (h - 1 / (2 * beta)) ** 2
    if kind == 'cdpo':
        return -(1 - noise) * log_sigmoid(beta * h) - noise * log_sigmoid(-beta * h)
    if kind == 'rdpo':
        right, wrong = -log_sigmoid(beta * h), -log_sigmoid(-beta * h)
        return ((1 - noise) * right - noise * wrong) / (1 - 2 * noise)
    if kind == 'cpo':
        return -log_sigmoid(beta * (won - lost)) - likelihood * won
    if kind == 'simpo':
        return -log_sigmoid(beta / lengths[0] * won - beta / lengths[1] * lost - margin)
    raise AssertionError(kind)


def preference_loss(
    kind, winner, losers, reference_winner, reference_losers, *, beta, valid, lengths, noise, likelihood, margin
):
    found = []
    for b in range(len(winner)):
        w, rw = float(winner[b]), float(reference_winner[b])
        which = [n for n in range(len(losers[b])) if valid[b][n]]
        ls = [(float(losers[b][n]), float(reference_losers[b][n]), lengths[1][b][n]) for n in which]
        if not ls:
            found.append(0.0)
        elif kind == 'sdpo':
            total = sum(math.exp(beta * (lost - ref) - beta * (w - rw)) for lost, ref, _ in ls)
            found.append(-log_sigmoid(-math.log(total)))
        else:
            numbers = beta, noise, likelihood, margin
            found.append(
                np.mean([pair_loss(kind, w, lost, rw, ref, *numbers, (lengths[0][b], t)) for lost, ref, t in ls])
            )
    return np.array(found)


def gradient(function, x, step=1e-5):
    """Central differences of the sum of a function of one array."""
    slope = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[at] += step
        down[at] -= step
        slope[at] = (function(up).sum() - function(down).sum()) / (2 * step)
    return slope
