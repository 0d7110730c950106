"""Fits, calibrates and evaluates a reward model."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxrec.data.sessions.labels import HEADS
from jaxrec.data.simulators.sessions import Audience
from jaxrec.data.sources.session_source import SessionSource
from jaxrec.models.onerec.reward import calibration
from jaxrec.models.onerec.reward.network import RewardTask
from jaxrec.models.onerec.reward.open_scorer import CALIBRATION, REPORT, open_audience, told_gaps
from jaxrec.models.onerec.reward.shown import RewardEvaluator
from jaxrec.runs.build import Experiment, batches, build
from jaxrec.runs.comparison.tables import write_json
from jaxrec.runs.fit import fit
from jaxrec.runs.restore import restore_model
from jaxrec.training.evaluate import evaluate
from jaxrec.training.state import TrainState
from jaxrec.training.step import make_predict_step

log = logging.getLogger(__name__)


def fit_reward(config: ConfigDict, workdir: Path, data_dir: str | None = None, mesh: Any = None) -> dict:
    """Trains a reward model, or resumes; calibrates its best checkpoint on validation, evaluates on test.

    Args:
      config: of a run whose task is the reward model.
      workdir: takes what a run writes, `calibration.npz` and `reward.json`.
      data_dir: the data root.
      mesh: (data, model), or None.

    Returns:
      {'raw': metrics on test before calibration, 'calibrated': after, 'truth': those of the true expected labels, where
      they are known, 'one_class': {part: heads whose label is the same in all its sessions}, with which the model is
      not to be used}.

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
    for head, (scale, _) in zip(HEADS, found, strict=True):
        if scale < 0:
            log.warning(
                '%s orders sessions of validation worse than chance; calibration turns it round (by %.3g): '
                'give it more sessions, or leave it out of model.head_weights', head, scale,
            )  # fmt: skip
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
    """Evaluates the true expected labels of the test part, an upper bound."""
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


def to_text(report: Mapping[str, Any]) -> str:
    """Lays out the report of `fit_reward`: a line a learned head, and those it could not evaluate."""
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
