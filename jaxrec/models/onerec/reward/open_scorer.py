"""From a workdir to an evaluated reward model, and the true reward, if known.

m items of a session.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.logs.log import Log
from jaxrec.data.sessions.labels import HEADS, SessionLabels
from jaxrec.data.sessions.log import SessionLog
from jaxrec.data.simulators.sessions import Audience
from jaxrec.data.simulators.worlds import truth_folder
from jaxrec.data.sources.session_source import SessionSource, check_users
from jaxrec.models.onerec.reward import calibration
from jaxrec.models.onerec.reward.network import RewardTask
from jaxrec.models.onerec.reward.scorer import Judge
from jaxrec.options import plain
from jaxrec.runs.build import build
from jaxrec.runs.restore import restore_model
from jaxrec.runs.workdir import read_config

CALIBRATION, REPORT = 'calibration.npz', 'reward.json'


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """What evaluates sessions."""

    judge: Judge  # the reward model
    step: int  # of its checkpoint
    labels: SessionLabels  # how its labels are made
    audience: Audience | None  # the users behind a simulated log; None of a real one
    weights: dict[str, float]  # {head: weight} in the reward, predicted and true, of the heads that are learned
    users: tuple[float, float]  # (from, to) shares of the users that the reward model has learned from
    items: int  # of the sessions that it has learned from

    def true_rewards(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """float64 [sessions, 4]: the expected labels of sessions int [sessions, m], by the audience."""
        assert self.audience is not None
        found = self.audience.true_rewards(users, items, self.labels)
        return np.stack([found[head] for head in HEADS], -1)


def open_judge(workdir: Path, log: Log, data_dir: str | None = None, mesh: Any = None) -> Bench:
    """Opens a reward model that was calibrated and evaluated, and the true reward of a simulated log.

    Args:
      workdir: of `fit_reward`.
      log: the log whose requests are evaluated.
      data_dir: the data root.
      mesh: (data, model), or None.

    Raises:
      ValueError: a reward model that is not calibrated and evaluated, has a head that could not be, or is of another
        log.
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
    label, length = plain(run.data['label']), run.data['history_length']
    judge = Judge(run.setup, state, run.log, calibration=found, label=label, history_length=length)
    of_all = dict(zip(HEADS, run.setup.task.weights, strict=True))
    weights = {head: of_all[head] for head in run.setup.task.heads}
    learned = check_users(source.users)
    return Bench(judge, step, source.labels, open_audience(run.log), weights, learned, source.items)


def _require_evaluated(workdir: Path) -> None:
    if not (workdir / CALIBRATION).exists():
        raise ValueError(
            f'{workdir / CALIBRATION} is missing: a reward model is calibrated and evaluated before it '
            f'judges; run jaxrec onerec reward --workdir={workdir}'
        )
    try:
        report = json.loads((workdir / REPORT).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f'{workdir / REPORT} cannot be read ({error}): run the command that made it again, python -m '
            f'`jaxrec onerec reward` --workdir={workdir}'
        ) from None
    if gaps := told_gaps(report):
        raise ValueError(
            f'{workdir} is not to judge: {gaps}, so nobody knows what it makes of them; in another --workdir '
            'leave these heads out of model.head_weights, or give the part more sessions (data.split, '
            'data.users, a larger log)'
        )


def require_other_users(judge: Path, learned: Sequence[float], generator: Path, own: Sequence[float]) -> None:
    """Refuses a reward model that has learned from users for whom the generator is evaluated.

    The shares (first, end) of the users of both models must not overlap; the workdirs are for the message.
    """
    if max(learned[0], own[0]) < min(learned[1], own[1]):
        raise ValueError(
            f'{judge} has learned from the users {tuple(learned)} and would judge the users {tuple(own)} of '
            f'{generator}: train one of them on other users, as --config.data.users="(0.6, 1.0)" of the '
            'reward model beside "(0.0, 0.6)" of the generator'
        )


def require_same_length(judge: Path, learned: int, generator: Path, written: int) -> None:
    """Refuses a reward model of sessions of another length, whose sums and long watch times differ."""
    if learned != written:
        raise ValueError(
            f'{judge} has learned from sessions of {learned} items and would judge those of {written} that '
            f'{generator} writes: train one of them with the data.session of the other'
        )


def told_gaps(report: Mapping[str, Any]) -> str:
    """Names the heads that a report of `fit_reward` could not evaluate, by part; '' if there are none."""
    gaps = {part: heads for part, heads in report['one_class'].items() if heads}
    return '; '.join(
        f'all sessions of the {part} part have the same label of {", ".join(heads)}' for part, heads in gaps.items()
    )


def open_audience(log: Log) -> Audience | None:
    """The users behind a simulated log of sessions; None where there are none."""
    return Audience(log.folder) if (truth_folder(log.folder) / 'world.json').is_file() else None
