"""Replaying a policy on a stream, with checkpoints on the way; main and table cells call the same functions.

B visits of a batch.
"""

import contextlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from jaxrec.data.pools.log import PROPENSITIES
from jaxrec.evaluation.replay import ReplayOptions, ReplayState, progress, replay, resume, start
from jaxrec.evaluation.tallies import Tally, interval, summarise
from jaxrec.models.age.policies import Policy, restore_policy
from jaxrec.models.age.replay.estimates import estimate
from jaxrec.models.age.replay.streams import TOP as STREAM_TOP
from jaxrec.models.age.replay.streams import Stream, build_policy, open_stream, warm
from jaxrec.options import read_options
from jaxrec.training.checkpoints import Checkpoints

log = logging.getLogger(__name__)
TOP = (*STREAM_TOP, 'replay')
REPLAY_OPTIONS: dict[str, Any] = {
    'refit_every': 20_000,  # visits, as are the other counts but `window`
    'window': 20_000,  # accepted events that a refit learns from; None: those since the last one
    'delay': 0.0,
    'accept': 'matches',
    'smallest_propensity': 0.0,  # 0: of the log
    'checkpoint_every': 200_000,
    'replicates': 1000,  # of the bootstrap
    'off_policy': False,  # estimate by IPS, SNIPS, DM and DR also where the logger was uniform
    'monitor': 'ctr',  # by which trials of a table are judged, one of `MONITORS`
    'tuned_on': 0.3,  # share of the stream that a trial walks
    'told_at': 0.0,  # share of what follows the warm-up after which counts are kept, to a batch; 0: none
}
MONITORS = ('ctr', 'clicks', 'true_ctr')  # the last of simulated worlds alone


class Replayed(NamedTuple):
    """A stream that was replayed to its end."""

    stream: Stream  # the visits, the policy as it was built, and the state at the end
    policy: Policy
    state: ReplayState
    tuned: dict[str, float]  # AGE's lambda and the share of winners that it changed after the warm-up; else empty
    early: Tally | None = None  # the counts at `told_at`; None without


def walk(config: ConfigDict, workdir: Path | None = None, data_dir: str | None = None) -> Replayed:
    """Replays a policy, or resumes a stopped run.

    Args:
      config: the sections of `TOP`.
      workdir: takes checkpoints; None keeps none.
      data_dir: where real data sets are; None takes the environment variable JAXREC_DATA.

    Raises:
      ValueError: an unknown section or option, a monitor that the log does not have, a log whose items were not drawn
        at random, or a checkpoint of another policy.
    """
    if unknown := sorted(set(config) - set(TOP)):
        raise ValueError(f'config.{unknown[0]} is not a section; a replay has the sections {TOP}')
    given = read_options(config.get('replay', {}), 'replay', **REPLAY_OPTIONS)
    stream = open_stream(config, data_dir)
    _check_monitor(given['monitor'], stream)
    policy, options = build_policy(config, stream), _replay_options(given, stream)
    early, (every, mark) = None, _stops(given, stream)
    with contextlib.ExitStack() as stack:
        folder = None if workdir is None else workdir / 'checkpoints'
        checkpoints = folder and stack.enter_context(Checkpoints(folder, keep=2))
        if checkpoints and checkpoints.steps:
            learned, told = restore_policy(checkpoints, policy, stream.before())
            state, tuned = resume(learned, told['replay']), told['tuned']
            early = _kept(told.get('early'))
            log.info('restored at visit %d of %d', state.seen, stream.source.visits)
        else:
            learned, tuned = warm(config, policy, stream)
            state = start(learned)
        saved = int(state.policy.step)
        while state.position < len(stream.source):
            until = (state.position // every + 1) * every
            until = min(until, mark) if state.position < mark else until
            state = _walk_on(config, policy, stream, state, options, until)
            if state.position == mark:
                early = state.tally
            # Updates name a checkpoint, so there is a new one only where something was learned.
            if checkpoints and (step := int(state.policy.step)) > saved:
                told = {'replay': progress(state), 'tuned': tuned, 'early': early and early._asdict()}
                checkpoints.save(state.policy, told, table_rows=policy.table_rows)
                saved = step
    return Replayed(stream, policy, state, tuned, early)


def _kept(early: Mapping[str, Any] | Sequence[Any] | None) -> Tally | None:
    """The counts that a checkpoint holds; older ones hold none, or the values alone."""
    if early is None:
        return None
    return Tally(**early) if isinstance(early, Mapping) else Tally(*early)


def _check_monitor(monitor: str, stream: Stream) -> None:
    """Refuses a metric that will not be there when the stream has been walked."""
    known = MONITORS if stream.truth is not None else MONITORS[:-1]
    if monitor not in known:
        why = 'is known of simulated worlds alone' if monitor in MONITORS else 'does not exist'
        raise ValueError(f'replay.monitor = {monitor!r} {why}: choose one of {known}')


def _stops(given: Mapping[str, Any], stream: Stream) -> tuple[int, int]:
    """Batches from checkpoint to checkpoint, and those after which counts are kept, 0 for none."""
    every, share, size = given['checkpoint_every'], given['told_at'], stream.source.batch_size
    if every < 1:
        raise ValueError(f'replay.checkpoint_every = {every}: give at least 1 visit')
    if not 0 <= share < 1:
        raise ValueError(f'replay.told_at = {share}: give a share of the stream in [0, 1)')
    visits = stream.warm_up + share * (stream.source.visits - stream.warm_up)
    return -(-every // size), math.ceil(visits / size) if share else 0


def _walk_on(
    config: ConfigDict, policy: Policy, stream: Stream, state: ReplayState, options: ReplayOptions, until: int
) -> ReplayState:
    """The batches before `until`, and a line about them."""
    begin, before = time.perf_counter(), state.seen
    key = jax.random.key(config.seed)
    state = replay(policy, stream.source, state, key, options, until=until, truth=stream.truth)
    tally, speed = state.tally, (state.seen - before) / (time.perf_counter() - begin)
    log.info(
        'visit %d of %d: %d clicks of %d matches, ctr %.4f; %d refits, %.0f visits/s',
        state.seen, stream.source.visits, tally.clicks, tally.matches,
        tally.clicks / max(tally.matches, 1), state.refits, speed,
    )  # fmt: skip
    return state


def _replay_options(given: Mapping[str, Any], stream: Stream) -> ReplayOptions:
    """The options of a replay after a stream's warm-up, with the log's smallest propensity where none is given."""
    smallest = given['smallest_propensity']
    if given['accept'] == 'propensity' and not smallest and 'propensity' in stream.log.events:
        smallest = float(stream.log.events['propensity'][:].min())
    own = {name: given[name] for name in ('refit_every', 'window', 'delay', 'accept')}
    return ReplayOptions(**own, warm_up=stream.warm_up, pretrained=True, smallest_propensity=smallest)


def report(config: ConfigDict, done: Replayed) -> dict[str, Any]:
    """Returns the results of a replay as plain values.

    They are those of `summarise`, with the interval of `ctr` and whose it is (`interval`, see `tallies.interval`);
    `early_metrics`; `refits`; AGE's `explore_lambda` and `lambda_changed`; and where the log's propensities differ, or
    `replay.off_policy` asks for it, {estimator: text} as `off_policy`.
    """
    given = read_options(config.get('replay', {}), 'replay', **REPLAY_OPTIONS)
    tally = done.state.tally
    found: dict[str, Any] = summarise(tally)
    found['ctr_low'], found['ctr_high'], found['interval'] = interval(tally, given['replicates'], config.seed)
    found |= early_metrics(done)
    found['refits'] = done.state.refits
    if done.tuned:
        found |= {'explore_lambda': done.tuned['explore_lambda'], 'lambda_changed': done.tuned['changed']}
    if done.stream.log.logging == PROPENSITIES or given['off_policy']:
        estimates = estimate(config, done.policy, done.stream, given['replicates'])
        found['off_policy'] = {name: str(value) for name, value in estimates.items()}
    return found


def early_metrics(done: Replayed) -> dict[str, Any]:
    """Returns {'early_<metric>': value} of the counts at `replay.told_at`, but for their caveat; empty without.

    Raises:
      ValueError: no visit had matched by then.
    """
    if done.early is None:
        return {}
    return {f'early_{name}': value for name, value in summarise(done.early).items() if name != 'caveat'}


def to_text(policy: str, found: Mapping[str, Any]) -> str:
    """Formats a policy's `report` in a few lines."""
    low, high = found['ctr_low'], found['ctr_high']
    whose = 'a bootstrap' if found['interval'] == 'bootstrap' else "Wilson's interval"
    lines = [
        f'{policy}: {found["clicks"]:,} clicks in {found["matches"]:,} matches of {found["visits"]:,} visits '
        f'({found["match_rate"]:.2%}), {found["refits"]} refits',
        f'ctr {found["ctr"]:.4f} [{low:.4f}, {high:.4f}] by {whose} at 95%',
    ]
    names = ('true_ctr', 'regret', 'changed', 'pcoc', 'explore_lambda', 'lambda_changed', 'early_ctr')
    if told := [f'{name} {found[name]:.4g}' for name in names if name in found]:
        lines.append(', '.join(told))
    lines += [found['caveat']] if found['caveat'] else []
    lines += [f'{name}: {text}' for name, text in found.get('off_policy', {}).items()]
    return '\n'.join(lines)
