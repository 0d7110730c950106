"""What a policy would have earned, from a log that another policy made: IPS, SNIPS, direct and doubly robust.

With w = target(shown) / propensity(shown) at each visit and q a model of the click probability,

    ips    mean of w * click                                   unbiased, variance grows with w
    snips  sum of w * click / sum of w                         biased a little, far steadier
    dm     mean over visits of sum_a target(a) * q(a)          as biased as the model
    dr     dm + mean of w * (click - q(shown))                 unbiased if either is right

(Dudik, Langford and Li, 2011, arXiv 1103.4601; Swaminathan and Joachims, 2015). Intervals are percentiles of a Poisson
bootstrap over visits, seeded by visit, so that states of parts of a log merge to the state of all.

B visits of a batch, C candidates, n visits, R replicates, T terms.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxrec.evaluation.resampling import poisson_counts

ESTIMATORS = ('ips', 'snips', 'dm', 'dr')
WEIGHTED = ('ips', 'snips', 'dr')  # those that divide by propensities
FEW_CLICKS = 100  # below, the standard error of a rate is above a tenth of it
_TERMS = ('visits', 'weight', 'weight2', 'reward', 'reward2', 'model', 'residual', 'matches', 'clicks')
_CHUNK = 1 << 11  # visits whose bootstrap counts are held at a time


class Sums(NamedTuple):
    """Sums over visits, from which every estimate follows."""

    plain: NDArray  # float64 [T], each visit once
    resampled: NDArray  # float64 [R, T], each visit as often as the replicate has it


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimated click rate of the target policy.

    The interval, `low` to `high`, is NaN where the estimate weighs clicks and there are none: every replicate has none
    then.
    """

    value: float  # the estimate
    low: float
    high: float
    level: float  # share of the replicates inside the interval
    visits: int
    matches: int  # visits that have weight
    clicks: int  # among the matches
    effective: float  # (sum of w)^2 / sum of w^2, as many equally weighted visits are worth as much
    effective_clicks: float  # the same of the clicks, perhaps of few visits with large weights; `clicks` for 'dm'

    @property
    def caveat(self) -> str:
        """What must be said beside the number, '' if nothing."""
        return few_clicks(self.effective_clicks)

    def __str__(self) -> str:
        within = f'[{self.low:.6f}, {self.high:.6f}] at {self.level:.0%}'
        text = (
            f'{self.value:.6f} {"without an interval" if np.isnan(self.low) else within}, from {self.clicks} '
            f'clicks (worth {self.effective_clicks:.0f}) in {self.matches} of {self.visits} visits (worth '
            f'{self.effective:.0f})'
        )
        return f'{text}; {self.caveat}' if self.caveat else text


def few_clicks(clicks: float) -> str:
    """The caveat of a rate that stands on few clicks, weighed or not; '' from `FEW_CLICKS` on."""
    if clicks >= FEW_CLICKS:
        return ''
    return f'only {int(clicks)} clicks stand behind this, fewer than {FEW_CLICKS}: too few to rank policies by'


def off_policy_sums(
    rows: ArrayLike,
    clicks: ArrayLike,
    target: ArrayLike,
    propensity: ArrayLike | None = None,
    modelled: ArrayLike | None = None,
    modelled_shown: ArrayLike | None = None,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> Sums:
    """Sums one part of a log; sums of terms that were not given are NaN.

    Args:
      rows: integer [n], which visits of the log these are; they seed the bootstrap.
      clicks: 0 or 1, [n].
      target: probability with which the target policy shows the item that was shown, [n].
      propensity: probability with which the logger did, [n]; None leaves only the direct method.
      modelled: sum over candidates of target * modelled click probability, [n]; for 'dm' and 'dr'.
      modelled_shown: modelled click probability of the shown item, [n]; for 'dr'.
      replicates, seed: R, and the seed of the bootstrap.

    Raises:
      ValueError: lengths differ, or a value is out of its range.
    """
    visits = np.asarray(rows, np.int64)
    click = _column('clicks', clicks, visits)
    aim = _column('target', target, visits)
    _require('clicks', click, np.isin(click, (0, 1)), '0 or 1')
    _require('target', aim, (aim >= 0) & (aim <= 1 + 1e-6), 'probabilities')
    weight = nothing = np.full(len(visits), np.nan)
    if propensity is not None:
        given = _column('propensity', propensity, visits)
        _require('propensity', given, (given > 0) & (given <= 1), 'in (0, 1]: such visits cannot be weighted')
        weight = aim / given
    model = nothing if modelled is None else _finite('modelled', modelled, visits)
    shown = nothing if modelled_shown is None else _finite('modelled_shown', modelled_shown, visits)
    columns = {
        'visits': np.ones(len(visits)),
        'weight': weight,
        'weight2': weight**2,
        'reward': weight * click,
        'reward2': weight**2 * click,
        'model': model,
        'residual': weight * (click - shown),
        'matches': (aim > 0).astype(np.float64),
        'clicks': (aim > 0) * click,
    }
    terms = np.stack([columns[name] for name in _TERMS], 1)  # [n, T]
    return Sums(terms.sum(0), _resampled(visits, terms, replicates, seed))


def _resampled(visits: NDArray, terms: NDArray, replicates: int, seed: int) -> NDArray:
    """Sums of the replicates, float64 [R, T]."""
    sums = np.zeros((replicates, terms.shape[1]))
    for first in range(0, len(visits), _CHUNK):
        part = slice(first, first + _CHUNK)
        sums += poisson_counts(visits[part], replicates, seed).T.astype(np.float64) @ terms[part]
    return sums


def merge_sums(first: Sums, second: Sums) -> Sums:
    """The sums over both parts, which are of different visits, one seed and one number of replicates."""
    return Sums(first.plain + second.plain, first.resampled + second.resampled)


def estimates(sums: Sums, level: float = 0.95, names: Sequence[str] = ESTIMATORS) -> dict[str, Estimate]:
    """Computes every estimate of `names` that the sums allow; intervals hold a share `level` of the replicates.

    Raises:
      ValueError: no visit, or estimates that weigh clicks of a target that never shows what was logged.
    """
    total = dict(zip(_TERMS, sums.plain, strict=True))
    if not total['visits']:
        raise ValueError('there is no visit to estimate from: check the log and the batches')
    if total['weight'] == 0 and set(names) & set(WEIGHTED):
        raise ValueError(
            'the target policy shows none of the logged items, so nothing can be said of it: check that its '
            'candidates are those of the log'
        )
    effective = float(total['weight'] ** 2 / total['weight2'] if total['weight'] > 0 else total['visits'])
    counts = int(total['visits']), int(total['matches']), int(total['clicks'])
    # Rounded, since equal weights need not leave a whole number of clicks whole.
    worth = round(total['reward'] ** 2 / total['reward2'], 6) if total['reward'] > 0 else 0.0
    values = {name: _estimate(name, sums.plain) for name in names}
    found = {}
    for name in (name for name in names if np.isfinite(values[name])):
        low = high = np.nan
        if name not in WEIGHTED or total['clicks']:
            drawn = _estimate(name, sums.resampled)
            low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        about = worth if name in WEIGHTED else total['clicks']
        found[name] = Estimate(float(values[name]), float(low), float(high), level, *counts, effective, float(about))
    return found


def _estimate(name: str, sums: NDArray) -> NDArray:
    term = dict(zip(_TERMS, np.moveaxis(sums, -1, 0), strict=True))
    with np.errstate(invalid='ignore', divide='ignore'):
        return {
            'ips': lambda: term['reward'] / term['visits'],
            'snips': lambda: term['reward'] / term['weight'],
            'dm': lambda: term['model'] / term['visits'],
            'dr': lambda: (term['model'] + term['residual']) / term['visits'],
        }[name]()


def evaluate_off_policy(
    target: Callable[[Mapping[str, Any]], ArrayLike],
    visits: Iterable[Mapping[str, Any]],
    model: Callable[[Mapping[str, Any]], ArrayLike] | None = None,
    *,
    estimators: Iterable[str] | None = None,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Reads a log once and estimates the click rate of a policy that does not learn meanwhile.

    Args:
      target: (batch) -> the policy's probability of each candidate [B, C]; a deterministic one gives 0 and 1.
      visits: batches as `jaxrec.data.sources.pool_source.PoolSource` cuts them.
      model: (batch) -> modelled click probability of each candidate [B, C], for 'dm' and 'dr'; fitted on other visits.
      estimators: which of 'ips', 'snips', 'dm' and 'dr'; by default all that the model allows.
      replicates, seed: of the bootstrap.
      level: share of the replicates inside an interval.

    Raises:
      ValueError: an unknown estimator or one without its model; a log whose logger is not known, which allows only the
        direct method; probabilities that do not sum to 1 over the pool.
    """
    possible = ESTIMATORS if model is not None else ('ips', 'snips')
    wanted = possible if estimators is None else tuple(estimators)
    for name in wanted:
        if name not in possible:
            raise ValueError(f'estimator {name!r} is not among {", ".join(possible)}: give a model for dm and dr')
    sums = None
    for batch in visits:
        part = _batch_sums(batch, target, model, wanted, replicates, seed)
        sums = part if sums is None else merge_sums(sums, part)
    if sums is None:
        raise ValueError('there is no batch of visits to estimate from: check the source')
    return estimates(sums, level, wanted)


def _batch_sums(
    batch: Mapping[str, Any],
    target: Callable[[Mapping[str, Any]], ArrayLike],
    model: Callable[[Mapping[str, Any]], ArrayLike] | None,
    wanted: Iterable[str],
    replicates: int,
    seed: int,
) -> Sums:
    if 'propensity' not in batch and set(wanted) & set(WEIGHTED):
        raise ValueError(
            'the log has no propensities and does not say that its items were drawn at random, so '
            f'{", ".join(name for name in wanted if name in WEIGHTED)} would compare what cannot be '
            "compared: give propensities, compile with uniform=True if that is so, or ask for 'dm' alone"
        )
    pool, shown, rows = (np.asarray(batch[key]) for key in ('pool', 'shown', 'host/event'))
    real, at = rows >= 0, np.arange(len(rows))
    chance = np.where(pool, np.asarray(target(batch), np.float64), 0)  # [B, C]
    wrong = real & ~(np.abs(chance.sum(1) - 1) < 1e-4)
    if wrong.any():
        b = int(np.argmax(wrong))
        raise ValueError(
            f"the target's probabilities at visit {rows[b]} sum to {chance[b].sum()} over the pool: they must sum "
            'to 1, give padding 0'
        )
    chosen: dict[str, NDArray] = {}
    if model is not None:
        clicks = np.asarray(model(batch), np.float64)
        expected = np.where(pool, chance * np.where(pool, clicks, 0), 0).sum(1)
        chosen = {'modelled': expected[real], 'modelled_shown': clicks[at, shown][real]}
    given = batch.get('host/propensity', batch.get('propensity'))  # the former is not rounded to float32
    return off_policy_sums(
        rows[real],
        np.asarray(batch['click'])[real],
        chance[at, shown][real],
        None if given is None else np.asarray(given)[real],
        **chosen,
        replicates=replicates,
        seed=seed,
    )


def _column(name: str, values: ArrayLike, rows: NDArray) -> NDArray:
    column = np.asarray(values, np.float64)
    if column.shape != rows.shape or rows.ndim != 1:
        raise ValueError(f'{name} has shape {column.shape} and rows {rows.shape}: one value a visit, flat')
    return column


def _finite(name: str, values: ArrayLike, rows: NDArray) -> NDArray:
    column = _column(name, values, rows)
    _require(name, column, np.isfinite(column), 'finite, or dm and dr are not: look at what the model predicts')
    return column


def _require(name: str, values: NDArray, fine: NDArray, allowed: str) -> None:
    if not fine.all():
        at = int(np.argmin(fine))
        raise ValueError(f'{name}[{at}] is {values[at]}; {name} must be {allowed}')
