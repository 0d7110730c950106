"""How far a policy's scores move where it explores, by how many events of the items it was taught.

B visits, C candidates, S draws.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from jaxrec.evaluation.replay import scored
from jaxrec.evaluation.tallies import pick
from jaxrec.models.age.replay.replayer import Replayed
from jaxrec.runs.row_files import new_figure, save_figure

Group = dict[str, Any]
EDGES = (1, 3, 10, 30, 100, 300)  # taught events of an item, where groups begin; the first begins at 0


def taught(done: Replayed) -> NDArray:
    """How many of the events that the policy's last refit could see were of each item, int64 [items]."""
    shown = done.stream.log.events['item'][done.state.rows[: done.state.learned]]
    return np.bincount(shown, minlength=done.stream.log.padded_pools.max() + 1)


def explored(done: Replayed, draws: int, seed: int = 0, edges: Sequence[int] = EDGES) -> list[Group]:
    """Sorts the candidates of the last visits by how many of their events were taught.

    Args:
      done: from `walk`.
      draws, seed: S, and the seed of the draws.
      edges: where groups begin, in taught events.

    Returns:
      Of each group that has candidates: `from` and `until` (None: no end) in taught events, `candidates`, the share of
      all; `predicted`, their mean predicted CTR; `moved`, the root mean square of score minus prediction over the mean
      prediction; `highest` and `picked`, the shares of visits and draws in which the highest prediction and the pick
      are of the group; and of simulated worlds `true_ctr`, their mean rate.

    Raises:
      ValueError: a policy that predicts nothing, such as random.
    """
    source, log = done.stream.source, done.stream.log
    rows = np.arange(max(done.state.seen - source.batch_size, 0), done.state.seen)
    batch = source.at(rows, source.batch_size)
    real = np.asarray(batch['host/event']) >= 0
    pool = np.asarray(batch['pool'])[real] > 0
    items = log.padded_pools[log.events['pool'][rows]][:, : pool.shape[1]]
    group = np.where(pool, np.searchsorted(edges, taught(done)[items], side='right'), -1)
    counts = np.zeros((2, len(edges) + 1))
    squares, predicted = np.zeros(pool.shape), np.zeros(pool.shape)
    for number in range(draws):
        key = jax.random.fold_in(jax.random.key(seed), number)
        scores, known = scored(done.policy, done.state.policy, batch, key)
        if known is None or np.isnan(np.where(pool, known[real], 0)).any():
            raise ValueError('the policy predicts no click rates, so nothing says what exploring changes')
        scores, predicted = scores[real], known[real]
        squares += np.where(pool, scores - predicted, 0) ** 2
        for place, by in enumerate((predicted, scores)):
            counts[place] += np.bincount(group[np.arange(len(rows)), pick(by, pool)], minlength=len(edges) + 1)
    rates = None if done.stream.truth is None else done.stream.truth(rows)[:, : pool.shape[1]]
    shares = counts / (draws * len(rows))
    return [
        _group(group == g, edges, g, predicted, squares / draws, rates)
        | {'candidates': float((group == g).sum() / pool.sum()), 'highest': float(shares[0, g])}
        | {'picked': float(shares[1, g])}
        for g in range(len(edges) + 1)
        if (group == g).any()
    ]


def _group(
    of: NDArray, edges: Sequence[int], g: int, predicted: NDArray, squares: NDArray, rates: NDArray | None
) -> Group:
    mean = float(predicted[of].mean())
    found: Group = {'from': edges[g - 1] if g else 0, 'until': edges[g] if g < len(edges) else None}
    found |= {'predicted': mean, 'moved': float(np.sqrt(squares[of].mean()) / mean)}
    return found if rates is None else found | {'true_ctr': float(rates[of].mean())}


def named(group: Group) -> str:
    """Formats how many taught events the items of a group have."""
    begin, end = group['from'], group['until']
    if end is None:
        return f'{begin} and more'
    return str(begin) if end == begin + 1 else f'{begin} to {end - 1}'


def to_text(policy: str, groups: Sequence[Group]) -> str:
    """Formats the groups of a policy's `explored`, a line each."""
    keys = [key for key in groups[0] if key not in ('from', 'until')]
    lines = [f'{policy}: taught events'.ljust(34) + ''.join(key.rjust(12) for key in keys)]
    lines += [named(g).rjust(34) + ''.join(f'{g[key]:12.4f}' for key in keys) for g in groups]
    return '\n'.join(lines)


def draw(policy: str, groups: Sequence[Group], path: Path) -> None:
    """Draws how far scores move, and the shares of candidates, highest predictions and picks of each group."""
    figure, axes = new_figure(1, 2, figsize=(9, 3.2))
    names, at = [named(g) for g in groups], np.arange(len(groups))
    axes[0].bar(at, [g['moved'] for g in groups])
    axes[0].set(title=f'{policy}: score moved by, of the prediction')
    for i, key in enumerate(('candidates', 'highest', 'picked')):
        axes[1].bar(at + 0.27 * (i - 1), [g[key] for g in groups], 0.27, label=key)
    axes[1].set(title='whose')
    axes[1].legend()
    for axis in axes:
        axis.set_xticks(at, names, rotation=30)
        axis.set_xlabel('taught events of the item')
    save_figure(figure, path)
