"""From a workdir to a judge: the reward model fitted, calibrated and evaluated; and the truth, if known.

B requests, K sessions of each, m items.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.building import Experiment, batches, build, read_config
from experiments.comparison.tables import write_json
from experiments.running import fit, restore_model
from jaxrec.data.log import Log
from jaxrec.data.sessions.labels import HEADS, SessionLabels
from jaxrec.data.sessions.log import SessionLog
from jaxrec.data.sessions.source import SessionSource
from jaxrec.data.simulators.sessions import Audience
from jaxrec.data.simulators.worlds import truth_folder
from jaxrec.models.onerec import calibration
from jaxrec.models.onerec.generate import Written
from jaxrec.models.onerec.judge import Judge
from jaxrec.models.onerec.judged import summarise
from jaxrec.models.onerec.reward import RewardEvaluator, RewardTask
from jaxrec.options import plain
from jaxrec.parallel import put_batch
from jaxrec.training.evaluate import evaluate
from jaxrec.training.state import TrainState
from jaxrec.training.step import make_predict_step

CALIBRATION, REPORT = 'calibration.npz', 'reward.json'


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """Who judges.

    Attributes:
      judge: the reward model.
      step: of its checkpoint.
      labels: how the labels that it learned are made.
      audience: the users behind a simulated log; None of a real one.
      weights: {head: weight} in the one number that ranks sessions, for the judge and the truth alike.
    """

    judge: Judge
    step: int
    labels: SessionLabels
    audience: Audience | None
    weights: dict[str, float]

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
      labels, where they are known}.

    Raises:
      ValueError: a config of another task, or what `fit` refuses.
    """
    run = build(config, data_dir, mesh)
    if not isinstance(run.setup.task, RewardTask):
        raise ValueError(f'config.task = {config.task!r} is no reward model: use a config of one')
    fit(run, workdir, data_dir)
    state, step = restore_model(run, workdir)
    found = calibration.fit(*_predict(run, run.setup.task, state, 'validation').collected())
    raw = _predict(run, run.setup.task, state, 'test')
    calibrated = _predict(run, dataclasses.replace(run.setup.task, calibration=found), state, 'test')
    report = {'raw': raw.compute(), 'calibrated': calibrated.compute()}
    audience = open_audience(run.log)
    if audience is not None:
        report['truth'] = _of_truth(run, audience).compute()
    write_json(workdir / REPORT, report | {'step': step, 'calibration': found})
    calibration.save(workdir / CALIBRATION, found, step)  # last: with it the model may judge
    return report


def _predict(run: Experiment, task: RewardTask, state: TrainState, part: str) -> RewardEvaluator:
    setup = run.setup._replace(task=task)
    filled = evaluate(setup, make_predict_step(setup), state, batches(run.source(part)))
    assert isinstance(filled, RewardEvaluator)
    return filled


def _of_truth(run: Experiment, audience: Audience) -> RewardEvaluator:
    """What the true expected labels of the test part reach: no model that knows less does better."""
    evaluator, source = RewardEvaluator(), run.source('test')
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
      ValueError: a reward model that is not calibrated and evaluated, or of another log.
    """
    if not (workdir / CALIBRATION).exists():
        raise ValueError(
            f'{workdir / CALIBRATION} is missing: a reward model is calibrated and evaluated before it '
            f'judges; run python -m experiments.onerec.reward --workdir={workdir}'
        )
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
    weights = dict(zip(HEADS, run.setup.task.weights, strict=True))
    return Bench(judge, step, source.labels, open_audience(run.log), weights)


def open_audience(log: Log) -> Audience | None:
    """The users behind a simulated log of sessions; None where there are none."""
    return Audience(log.folder) if (truth_folder(log.folder) / 'world.json').is_file() else None


def judge_written(
    write: Callable[[Mapping[str, jax.Array]], Written],
    source: Any,
    bench: Bench,
    requests: int,
    chunk: int,
    mesh: Any = None,
) -> dict[str, float]:
    """Lets a generator write sessions for some requests, and says what they are worth.

    Args:
      write: batch of histories -> sessions.
      source: a `SessionSource`; the requests are evenly spread over its examples.
      bench: who judges.
      requests: how many, at most all.
      chunk: written for at a time.
      mesh: where the generator lives.

    Returns:
      As `jaxrec.models.onerec.judged.summarise`.

    Raises:
      ValueError: no session was written.
    """
    places = np.unique(np.linspace(0, source.examples - 1, min(requests, source.examples)).astype(np.int64))
    judged, truth, lives = [], [], []
    for first in range(0, len(places), chunk):
        index = places[first : first + chunk]
        batch = source.at(np.concatenate([index, np.repeat(index[:1], chunk - len(index))]))
        items = np.asarray(write(put_batch(batch, mesh)).items)[:chunk]
        probability, _ = bench.judge(batch['host/event'], items)
        here = slice(len(index))
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


def to_text(report: Mapping[str, Mapping[str, float]]) -> str:
    """Lays out what `fit_reward` found: a line a head."""
    lines = ['head    AUC  of truth  logloss  calibrated   PCOC  calibrated']
    for head in HEADS:
        raw, ours = report['raw'], report['calibrated']
        best = report.get('truth', {}).get(f'auc_{head}', float('nan'))
        lines.append(
            f'{head:4} {ours[f"auc_{head}"]:6.4f}  {best:8.4f}  {raw[f"logloss_{head}"]:7.4f}  '
            f'{ours[f"logloss_{head}"]:10.4f}  {raw[f"pcoc_{head}"]:5.3f}  {ours[f"pcoc_{head}"]:10.3f}'
        )
    return '\n'.join(lines)
