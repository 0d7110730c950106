"""From a workdir to a judge: the reward model fitted, calibrated and evaluated; and the truth, if known.

B requests, K sessions of each, m items.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.building import Experiment, batches, build, read_config
from experiments.comparison.tables import write_json
from experiments.onerec.recommending import Recommended
from experiments.running import fit, restore_model
from experiments.sources import cut_source
from jaxrec.data.batch_source import Batch as HostBatch
from jaxrec.data.log import Log
from jaxrec.data.sessions.labels import HEADS, SessionLabels
from jaxrec.data.sessions.log import SessionLog
from jaxrec.data.sessions.source import SessionSource, check_users
from jaxrec.data.simulators.sessions import Audience
from jaxrec.data.simulators.worlds import truth_folder
from jaxrec.evaluation.ranking import RankingEvaluator
from jaxrec.models.onerec import calibration
from jaxrec.models.onerec.generate import Written
from jaxrec.models.onerec.judge import Judge
from jaxrec.models.onerec.judged import summarise
from jaxrec.models.onerec.reward import RewardTask
from jaxrec.models.onerec.shown import RewardEvaluator
from jaxrec.options import plain
from jaxrec.training.evaluate import evaluate
from jaxrec.training.state import TrainState
from jaxrec.training.step import make_predict_step

CALIBRATION, REPORT = 'calibration.npz', 'reward.json'
CUT = 10  # of the ranking of single items


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """Who judges.

    Attributes:
      judge: the reward model.
      step: of its checkpoint.
      labels: how the labels that it learned are made.
      audience: the users behind a simulated log; None of a real one.
      weights: {head: weight} in the one number that ranks sessions, for the judge and the truth alike; of the
        heads that the judge has learned.
      users: (from, to) shares of the users that the judge has learned from.
    """

    judge: Judge
    step: int
    labels: SessionLabels
    audience: Audience | None
    weights: dict[str, float]
    users: tuple[float, float]

    def true_rewards(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """float64 [sessions, 4]: the expected labels of sessions int [sessions, m], by the audience."""
        assert self.audience is not None
        found = self.audience.true_rewards(users, items, self.labels)
        return np.stack([found[head] for head in HEADS], -1)


def fit_reward(config: ConfigDict, workdir: Path, data_dir: str | None = None, mesh: Any = None) -> dict:
    """Trains a reward model, or goes on; calibrates its best checkpoint on validation, evaluates on test.

    Args:
      config: of a run whose task is the reward model.
      workdir: takes what a run writes, `calibration.npz` and `reward.json`.
      data_dir: where real data sets lie.
      mesh: (data, model), or None.

    Returns:
      {'raw': metrics on test before calibration, 'calibrated': after, 'truth': those of the true expected
      labels, where they are known, 'one_class': {part: heads whose label is the same in all its sessions},
      with which the model is not to judge}.

    Raises:
      ValueError: a config of another task, or what `fit` refuses.
    """
    run = build(config, data_dir, mesh)
    if not isinstance(run.setup.task, RewardTask):
        raise ValueError(f'config.task = {config.task!r} is no reward model: use a config of one')
    fit(run, workdir, data_dir)
    state, step = restore_model(run, workdir)
    uncalibrated = make_predict_step(run.setup)
    seen = _predict(run, uncalibrated, state, 'validation')
    found = calibration.fit(*seen.collected(), seen.heads)
    raw = _predict(run, uncalibrated, state, 'test')
    task = dataclasses.replace(run.setup.task, calibration=found)
    calibrated = _predict(run, make_predict_step(run.setup._replace(task=task)), state, 'test')
    report: dict[str, Any] = {'raw': raw.compute(), 'calibrated': calibrated.compute()}
    report['one_class'] = {'validation': seen.one_class(), 'test': raw.one_class()}
    audience = open_audience(run.log)
    if audience is not None:
        report['truth'] = _of_truth(run, audience).compute()
    write_json(workdir / REPORT, report | {'step': step, 'calibration': found})
    calibration.save(workdir / CALIBRATION, found, step)  # last: with it the model may judge
    return report


def _predict(run: Experiment, predict: Any, state: TrainState, part: str) -> RewardEvaluator:
    filled = evaluate(run.setup, predict, state, batches(run.source(part)))
    assert isinstance(filled, RewardEvaluator)
    return filled


def _of_truth(run: Experiment, audience: Audience) -> RewardEvaluator:
    """What the true expected labels of the test part reach: no model that knows less does better."""
    assert isinstance(run.setup.task, RewardTask)
    evaluator, source = RewardEvaluator(run.setup.task.heads), run.source('test')
    assert isinstance(source, SessionSource) and source.labels is not None
    for batch in batches(source):
        real = batch['valid'].any(1)
        kept = {name: values[real] for name, values in batch.items()}
        found = audience.true_rewards(kept['host/group'], kept['target/item'], source.labels)
        probability = np.stack([found[head] for head in HEADS], -1)
        evaluator.add(kept, {'probability': probability[:, None]})
    return evaluator


def open_judge(workdir: Path, log: Log, data_dir: str | None = None, mesh: Any = None) -> Bench:
    """Opens a reward model that may judge.

    Args:
      workdir: of `fit_reward`.
      log: the log whose requests are to be judged.
      data_dir: where real data sets lie.
      mesh: (data, model), or None.

    Returns:
      The judge, and the truth of a simulated log.

    Raises:
      ValueError: a reward model that is not calibrated and evaluated, has a head that could not be, or is of
        another log.
    """
    _require_evaluated(workdir)
    found, step = calibration.load(workdir / CALIBRATION)
    run = build(read_config(str(workdir / 'config.json')), data_dir, mesh)
    if run.log.manifest['fingerprint'] != log.manifest['fingerprint']:
        raise ValueError(
            f'{workdir} judges sessions of the log {run.log.folder}, and these are of {log.folder}: train a '
            'reward model on this one'
        )
    source = run.source('train', shuffle=True)
    state, _ = restore_model(run, workdir, step, source)
    assert isinstance(run.log, SessionLog) and isinstance(source, SessionSource)
    assert isinstance(run.setup.task, RewardTask) and source.labels is not None
    judge = Judge(
        run.setup,
        state,
        run.log,
        calibration=found,
        label=plain(run.data['label']),
        history_length=run.data['history_length'],
    )
    of_all = dict(zip(HEADS, run.setup.task.weights, strict=True))
    weights = {head: of_all[head] for head in run.setup.task.heads}
    return Bench(judge, step, source.labels, open_audience(run.log), weights, check_users(source.users))


def _require_evaluated(workdir: Path) -> None:
    if not (workdir / CALIBRATION).exists():
        raise ValueError(
            f'{workdir / CALIBRATION} is missing: a reward model is calibrated and evaluated before it '
            f'judges; run python -m experiments.onerec.reward --workdir={workdir}'
        )
    report = json.loads((workdir / REPORT).read_text())
    if gaps := told_gaps(report):
        raise ValueError(
            f'{workdir} is not to judge: {gaps}, so nobody knows what it makes of them; in another --workdir '
            'leave these heads out of model.head_weights, or give the part more sessions (data.split, '
            'data.users, a larger log)'
        )


def require_other_users(judge: Path, learned: Sequence[float], generator: Path, own: Sequence[float]) -> None:
    """Refuses a judge that would judge users whom it has learned from.

    Args:
      judge: its workdir.
      learned: the share of the users that it has learned from, (first, end).
      generator: workdir of the model that it is to judge.
      own: likewise of this one, whose requests are judged.

    Raises:
      ValueError: the shares overlap.
    """
    if max(learned[0], own[0]) < min(learned[1], own[1]):
        raise ValueError(
            f'{judge} has learned from the users {tuple(learned)} and would judge the users {tuple(own)} of '
            f'{generator}: train one of them on other users, as --config.data.users="(0.6, 1.0)" of the '
            'reward model beside "(0.0, 0.6)" of the generator'
        )


def told_gaps(report: Mapping[str, Any]) -> str:
    """Names the heads that a report of `fit_reward` could not evaluate, by part; '' if there are none."""
    gaps = {part: heads for part, heads in report['one_class'].items() if heads}
    return '; '.join(
        f'all sessions of the {part} part have the same label of {", ".join(heads)}'
        for part, heads in gaps.items()
    )


def open_audience(log: Log) -> Audience | None:
    """The users behind a simulated log of sessions; None where there are none."""
    return Audience(log.folder) if (truth_folder(log.folder) / 'world.json').is_file() else None


def all_requests(run: Experiment, part: str) -> SessionSource:
    """The requests of a part for which sessions are to be judged, whatever came of what was shown.

    Args:
      run: of a generator, which learns from sessions of high quality alone.
      part: 'train', 'validation' or 'test'.

    Returns:
      All requests of its users that were shown as many items as a session has.
    """
    data = {**run.data, 'quality': None, 'choose': 'first'}
    source = cut_source(run.config, run.log, data, run.train, part)
    assert isinstance(source, SessionSource)
    return source


def judge_written(
    write: Callable[[Any], Written | Recommended],
    source: Any,
    bench: Bench,
    requests: int,
    chunk: int,
) -> dict[str, float]:
    """Lets a generator write sessions for some requests, and says what they are worth.

    Args:
      write: host batch of histories -> sessions.
      source: a `SessionSource`; the requests are evenly spread over its examples. Chosen by what came of the
        session that was shown, they would say what a generator is worth to users who are in the mood.
      bench: who judges.
      requests: how many, at most all.
      chunk: written for at a time.

    Returns:
      As `jaxrec.models.onerec.judged.summarise`.

    Raises:
      ValueError: no session was written.
    """
    judged, truth, lives = [], [], []
    for batch, count in spread(source, requests, chunk):
        items = np.asarray(write(batch).items)[:chunk]
        probability, _ = bench.judge(batch['host/event'], items)
        here = slice(count)
        alive = items[here].min(-1) > 0
        judged.append(probability[here])
        lives.append(alive)
        if bench.audience is not None:
            users = np.repeat(batch['host/group'][here, None], items.shape[1], 1)
            true = np.zeros(probability[here].shape)
            true[alive] = bench.true_rewards(users[alive], items[here][alive])
            truth.append(true)
    return summarise(
        np.concatenate(judged), np.concatenate(lives), bench.weights, np.concatenate(truth) if truth else None
    )


def rank_named(
    name: Callable[[Any], Written | Recommended],
    source: SessionSource,
    requests: int,
    chunk: int,
) -> dict[str, float]:
    """Where the first item of the target stands among those that a model names first.

    Args:
      name: host batch of histories -> sessions of one item, or of whose first item is meant, best first.
      source: a `SessionSource` whose targets begin with what the user liked.
      requests, chunk: as of `judge_written`.

    Returns:
      'recall@10' and 'ndcg@10'.
    """
    evaluator = RankingEvaluator(cuts=(CUT,))
    for batch, count in spread(source, requests, chunk):
        items = np.asarray(name(batch).items)[:count, :, 0]
        target = batch['target/item'][:count, :1]
        hit = items == target
        rank = np.where(hit.any(1), hit.argmax(1) + 1.0, np.inf)
        evaluator.add({'target/item': target, 'valid': np.ones(target.shape)}, {'rank': rank, 'items': items})
    found = evaluator.compute()
    return {key: found[key] for key in (f'recall@{CUT}', f'ndcg@{CUT}')}


def spread(source: SessionSource, requests: int, chunk: int) -> Iterator[tuple[HostBatch, int]]:
    """Requests that are evenly spread over a source's examples.

    Args:
      source: the source.
      requests: how many, at most all.
      chunk: B.

    Yields:
      Batches of B requests, and how many of them count: the others of the last only fill it up.
    """
    places = np.unique(np.linspace(0, source.examples - 1, min(requests, source.examples)).astype(np.int64))
    for first in range(0, len(places), chunk):
        index = places[first : first + chunk]
        yield source.at(np.concatenate([index, np.repeat(index[:1], chunk - len(index))])), len(index)


def to_text(report: Mapping[str, Any]) -> str:
    """Lays out what `fit_reward` found: a line a head that was learned, and those it could not evaluate."""
    lines = ['head    AUC  of truth  logloss  calibrated   PCOC  calibrated']
    raw, ours = report['raw'], report['calibrated']
    for head in (head for head in HEADS if f'auc_{head}' in ours):
        best = report.get('truth', {}).get(f'auc_{head}', float('nan'))
        lines.append(
            f'{head:4} {ours[f"auc_{head}"]:6.4f}  {best:8.4f}  {raw[f"logloss_{head}"]:7.4f}  '
            f'{ours[f"logloss_{head}"]:10.4f}  {raw[f"pcoc_{head}"]:5.3f}  {ours[f"pcoc_{head}"]:10.3f}'
        )
    if gaps := told_gaps(report):
        lines.append(f'It is not to judge: {gaps}.')
    return '\n'.join(lines)
