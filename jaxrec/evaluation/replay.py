"""Replay of a randomly logged stream (Li et al., arXiv 1003.5956): evaluates a policy that learns, offline.

The log is read once, in time order. Where the policy's pick is the item that was shown, the visit counts and may teach;
all others are skipped. Under uniform logging the remaining events are distributed as if the policy had served them, so
clicks / matches is its click rate.

Between two refits a policy's state does not change, so visits are scored in batches. A run is a pure function of its
arguments and its state, a pytree; a resumed run ends as an unbroken one.

B visits of a batch, C candidates, M accepted events.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from numpy.typing import NDArray

from jaxrec.evaluation.resampling import uniforms
from jaxrec.evaluation.tallies import Tally, count, merge, pick

Batch = Mapping[str, Any]
UNIFORM_WITHIN = 1e-4  # of 1, for propensity * pool size


class Policy(Protocol):
    """What can be replayed; the state is a pytree and belongs to the policy alone.

    Batches come without their `host/` keys. A policy may also have `rank`, which is then called instead of `score` with
    the same arguments: it returns an object with `score` [B, C] and `probability` [B, C], the click rates that it
    predicts without exploring, NaN where it has no idea.
    """

    def score(self, state: Any, requests: Batch, rng: jax.Array) -> Any:
        """Scores [B, C]; the highest of a pool is picked."""

    def learn(self, state: Any, matched: Batch) -> Any:
        """Returns the state after learning from accepted events, as `Visits.impressions` gives them.

        With them `seen` bool [M] marks those that an earlier call or the warm-up was given already. The old state may
        be given up, so a state that was learned from is not to be used again.
        """


class Visits(Protocol):
    """Batches of visits in time order, as `jaxrec.data.sources.pool_source.PoolSource` has them."""

    def __len__(self) -> int:
        """Batches."""

    def __getitem__(self, index: int) -> Batch:
        """Batch `index`: `pool`, `shown`, `click`, `propensity`, `host/time`, `host/event` and features."""

    def impressions(self, rows: NDArray) -> Batch:
        """The shown items of any visits, by row of the log, as requests with a single candidate."""


@dataclasses.dataclass(frozen=True)
class ReplayOptions:
    """How a policy is replayed.

    Attributes:
      refit_every: visits between two calls of `learn`, warm-up not counted; a call follows the batch that completes
        them.
      window: accepted events that `learn` is given each time, the last ones, those of the warm-up included; None gives
        it those that it has not seen. A window longer than the log is a growing one.
      delay: seconds (in the unit of the log's times) until the feedback of an accepted event is known.
      warm_up: the first so many visits are all accepted, taught in one call, and not counted.
      pretrained: the policy has learned from the warm-up already: it only enters the window.
      accept: 'matches', every match, for uniform logs; or 'propensity', a match with probability `smallest_propensity`
        / propensity, for logs whose propensities differ.
      smallest_propensity: of the log.
      seed: of what 'propensity' draws.
    """

    refit_every: int = 80_000
    window: int | None = None
    delay: float = 0.0
    warm_up: int = 0
    pretrained: bool = False
    accept: str = 'matches'
    smallest_propensity: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {'refit_every': 1, 'window': 1, 'warm_up': 0, 'delay': 0}.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(f'replay.{name} = {value}: give at least {least}')
        if self.accept not in ('matches', 'propensity'):
            raise ValueError(f"replay.accept = {self.accept!r}: use 'matches' or 'propensity'")
        if self.accept == 'propensity' and not 0 < self.smallest_propensity <= 1:
            raise ValueError(
                f'replay.smallest_propensity = {self.smallest_propensity}: a match is kept with this over '
                'its own propensity, give the smallest of the log'
            )


class ReplayState(NamedTuple):
    """Where a replay stands."""

    position: int  # next batch
    policy: Any  # state of the policy
    rows: NDArray  # int64 [M], accepted events, rows of the log in order; without a window only those not learned
    known: NDArray  # float64 [M], times from which their feedback is known
    learned: int  # how many of the first of them `learn` has been given
    seen: int  # visits so far, warm-up included
    refits: int  # calls of `learn`
    tally: Tally  # counts so far


def start(policy_state: Any) -> ReplayState:
    """The state of a replay that has seen nothing."""
    return ReplayState(0, policy_state, np.zeros(0, np.int64), np.zeros(0), 0, 0, 0, Tally())


def progress(state: ReplayState) -> dict[str, Any]:
    """All of a state but the policy's, as plain JSON values; `resume` takes them back."""
    plain = {key: value for key, value in state._asdict().items() if key != 'policy'}
    # The warm-up's feedback is known from -inf on, which JSON has no word for.
    known = [None if time == -np.inf else time for time in state.known.tolist()]
    return plain | {'rows': state.rows.tolist(), 'known': known, 'tally': state.tally._asdict()}


def resume(policy_state: Any, progress: Mapping[str, Any]) -> ReplayState:
    """The state that `progress` was taken of, with the policy's own state from a checkpoint."""
    known = [-np.inf if time is None else time for time in progress['known']]
    arrays = {'rows': np.asarray(progress['rows'], np.int64), 'known': np.asarray(known, np.float64)}
    return ReplayState(**{**progress, **arrays, 'policy': policy_state, 'tally': Tally(**progress['tally'])})


def replay(
    policy: Policy,
    visits: Visits,
    state: ReplayState,
    rng: jax.Array,
    options: ReplayOptions | None = None,
    *,
    until: int | None = None,
    truth: Callable[[NDArray], NDArray] | None = None,
) -> ReplayState:
    """Replays the visits from where `state` is.

    Args:
      policy: scores and learns.
      visits: all of them, whatever the position.
      state: from `start`, or where an earlier call has ended.
      rng: key; batch i is scored with `fold_in(rng, i)`.
      options: see `ReplayOptions`.
      until: batch before which to stop; the end by default. Calls to the same end give the same result.
      truth: rows int64 [B] -> true click rates [B, C], in the order of the pools, of a simulated world.

    Raises:
      ValueError: a log whose items were not drawn at random, scores that are not numbers, and visits of a custom source
        that are out of order, or whose pool, shown slot or click is not valid.
    """
    options = options or ReplayOptions()
    last = len(visits) if until is None else min(until, len(visits))
    latest = _latest(visits, state.position)
    fresh: list[tuple[NDArray, NDArray]] = []  # accepted since the arrays of the state were put together
    for index in range(state.position, last):
        batch = visits[index]
        rows, time = np.asarray(batch['host/event']), np.asarray(batch['host/time'], np.float64)
        ordinal = state.seen + np.arange(len(rows))
        real = rows >= 0
        _check(batch, real, latest)
        latest = time[real][-1] if real.any() else latest
        warm = real & (ordinal < options.warm_up)
        fresh.append((rows[warm], np.full(int(warm.sum()), -np.inf)))
        before, after = state.seen, state.seen + int(real.sum())
        if before < options.warm_up <= after:
            state = _warmed(policy, visits, _gathered(state, fresh, options), options)
        counted = real & ~warm
        if counted.any():
            key = jax.random.fold_in(rng, index)
            accepted, tally = _serve(policy, state.policy, batch, key, counted, truth, options)
            fresh.append((rows[accepted], time[accepted] + options.delay))
            state = state._replace(tally=merge(state.tally, tally))
        state = state._replace(position=index + 1, seen=after)
        if max(after - options.warm_up, 0) // options.refit_every > (
            max(before - options.warm_up, 0) // options.refit_every
        ):
            state = _refitted(policy, visits, _gathered(state, fresh, options), time[real][-1], options)
    return _gathered(state, fresh, options)


def _latest(visits: Visits, position: int) -> float:
    """The time of the last visit before a batch; -inf before the first."""
    batch = visits[position - 1] if position else {'host/time': (), 'host/event': ()}
    times = np.asarray(batch['host/time'], np.float64)[np.asarray(batch['host/event']) >= 0]
    return float(times[-1]) if len(times) else -np.inf


def _check(batch: Batch, real: NDArray, latest: float) -> None:
    """Refuses what a source of one's own may hold; `PoolLog` has looked for it already."""
    rows, pool = np.asarray(batch['host/event']), np.asarray(batch['pool']) > 0
    shown, click, time = (np.asarray(batch[key]) for key in ('shown', 'click', 'host/time'))
    slot = np.clip(shown, 0, pool.shape[1] - 1)
    checks = (
        ('pool', pool.sum(1), ~pool.any(1), 'drop it, there was nothing to choose from'),
        ('shown', shown, (shown != slot) | ~pool[np.arange(len(pool)), slot], 'give a slot of its pool'),
        ('click', click, ~np.isin(click, (0, 1)), 'a click is 0 or 1, drop visits without feedback'),
        ('host/time', time, ~np.isfinite(time), 'give a finite time'),
        ('host/time', time, ~(np.diff(time, prepend=latest) >= 0), 'it is earlier than the one before it, sort them'),
    )
    for key, values, wrong, remedy in checks:
        _refuse(rows, wrong & real, key, values, f'{" items" if key == "pool" else ""}: {remedy}')


def _refuse(rows: NDArray, wrong: NDArray, name: str, values: NDArray, why: str) -> None:
    """Raises a ValueError that names the first wrong visit, its value and why it is refused."""
    if wrong.any():
        b = int(np.argmax(wrong))
        raise ValueError(f'visit {rows[b]} has {name} {values[b]}{why}')


def _serve(
    policy: Policy,
    policy_state: Any,
    batch: Batch,
    rng: jax.Array,
    counted: NDArray,
    truth: Callable[[NDArray], NDArray] | None,
    options: ReplayOptions,
) -> tuple[NDArray, Tally]:
    """Picks for a batch; which visits are accepted, bool [B], and the tally."""
    scores, predicted = scored(policy, policy_state, batch, rng)
    pool = np.asarray(batch['pool'])
    picks = pick(scores, pool)
    accepted = _accepted(batch, picks, counted, options)
    rates = None if truth is None else truth(np.asarray(batch['host/event'])[counted])
    return accepted, count(picks, pool, counted, accepted, np.asarray(batch['click']), predicted, rates)


def scored(policy: Policy, policy_state: Any, batch: Batch, rng: jax.Array) -> tuple[NDArray, NDArray | None]:
    """Scores visits, of which the policy sees neither what was logged nor what came of it.

    Returns scores [B, C], and the predicted click rates [B, C] of a policy that has `rank`, else None.
    """
    requests = visible(batch)
    rank = getattr(policy, 'rank', None)
    if rank is None:
        return np.asarray(policy.score(policy_state, requests, rng)), None
    ranked = jax.device_get(rank(policy_state, requests, rng))
    return np.asarray(ranked.score), np.asarray(ranked.probability)


def visible(batch: Batch) -> dict[str, Any]:
    """What a policy may see of visits: neither what was logged nor what came of it."""
    return {k: x for k, x in without_host(batch).items() if k not in ('shown', 'click', 'propensity')}


def without_host(batch: Batch) -> dict[str, Any]:
    """The keys of a batch that may go to a device: 64-bit row numbers and times would be cut there."""
    return {key: value for key, value in batch.items() if not key.startswith('host/')}


def _accepted(batch: Batch, picks: NDArray, counted: NDArray, options: ReplayOptions) -> NDArray:
    """bool [B], which visits count: the pick was shown, and where propensities differ a draw keeps it."""
    rows = np.asarray(batch['host/event'])
    if 'propensity' not in batch:
        raise ValueError(
            'the log does not say how its items were chosen, and replay is sound only where they were drawn '
            'at random: compile it with propensities, or with uniform=True if that is so'
        )
    propensity = np.asarray(batch.get('host/propensity', batch['propensity']), np.float64)
    wrong = counted & ~((propensity > 0) & (propensity <= 1))
    why = 'it is the probability with which the logger showed the item, above 0 and at most 1'
    _refuse(rows, wrong, 'propensity', propensity, f': {why}; correct it or drop the visit')
    matched = counted & (picks == np.asarray(batch['shown']))
    if options.accept == 'matches':
        uneven = counted & ~(np.abs(propensity * np.asarray(batch['pool']).sum(1) - 1) <= UNIFORM_WITHIN)
        why = 'which is not uniform over its pool, so plain matches favour what the logger favoured'
        remedy = "set accept='propensity' and smallest_propensity, or estimate by off_policy"
        _refuse(rows, uneven, 'propensity', propensity, f', {why}: {remedy}')
        return matched
    below = counted & ~(propensity >= options.smallest_propensity * (1 - 1e-6))
    why = f', below smallest_propensity = {options.smallest_propensity}: give the smallest of the log'
    _refuse(rows, below, 'propensity', propensity, why)
    return matched & (uniforms(rows, options.seed) < options.smallest_propensity / propensity)


def _gathered(state: ReplayState, fresh: list[tuple[NDArray, NDArray]], options: ReplayOptions) -> ReplayState:
    """Puts accepted events into the arrays of the state, without those that no refit will see again."""
    rows = np.concatenate([state.rows, *(rows for rows, _ in fresh)])
    known = np.concatenate([state.known, *(known for _, known in fresh)])
    fresh.clear()
    old = state.learned if options.window is None else max(state.learned - options.window, 0)
    return state._replace(rows=rows[old:], known=known[old:], learned=state.learned - old)


def _warmed(policy: Policy, visits: Visits, state: ReplayState, options: ReplayOptions) -> ReplayState:
    if options.pretrained:
        return state._replace(learned=len(state.rows))
    return _refitted(policy, visits, state, -np.inf, options)


def _refitted(policy: Policy, visits: Visits, state: ReplayState, now: float, options: ReplayOptions) -> ReplayState:
    """Calls `learn` with what is known by now; not at all if that is nothing new."""
    known = int(np.searchsorted(state.known, now, side='right'))
    if known <= state.learned:
        return state
    first = state.learned if options.window is None else max(known - options.window, 0)
    events = without_host(visits.impressions(state.rows[first:known]))
    learned = policy.learn(state.policy, {**events, 'seen': np.arange(first, known) < state.learned})
    return state._replace(policy=learned, learned=known, refits=state.refits + 1)
