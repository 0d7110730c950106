"""Calibration of the reward model, so that its probabilities are frequencies.

Each head's logit z becomes a z + b, which keeps the order of sessions by one head, unless it orders them worse than
chance, when a is negative, reverses it, and is reported. It may change the order by a sum of heads, where an
overconfident head outvotes the others. It is fitted on sessions that the model did not learn from.

N sessions, 4 heads.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxrec.data.logs.array_files import Described, load_arrays, save_arrays
from jaxrec.models.onerec.reward.shown import HEADS

KIND, VERSION = 'jaxrec.onerec.calibration', 1
_ARRAYS: Described = {'calibration': ('f', 2), 'step': ('i', 0)}
_REMEDY = 'run `jaxrec onerec reward` on that workdir again'
STEPS = 50
SURE = 1e-7  # probabilities are kept this far from 0 and 1

Calibration = tuple[tuple[float, float], ...]  # (scale, shift) of each head


def fit(labels: np.ndarray, probability: np.ndarray, heads: Sequence[str] = HEADS) -> Calibration:
    """Fits scale and shift of each of the four heads by their likelihood (Platt scaling).

    A prior with the weight of one session draws both to (1, 0), so that they exist whatever the labels are. Labels [N,
    heads] are in [0, 1], probabilities before calibration; heads that are not learned are not calibrated. Raises a
    ValueError without sessions.
    """
    if not len(labels):
        raise ValueError('no session to calibrate on: the validation part of the log is empty')
    p = np.clip(probability.astype(np.float64), SURE, 1 - SURE)
    logits = np.log(p) - np.log1p(-p)
    of_head = lambda at: _fit_head(labels[:, at].astype(np.float64), logits[:, at])
    return tuple(of_head(heads.index(head)) if head in heads else (1.0, 0.0) for head in HEADS)


def _fit_head(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """Newton's method, with steps halved until they lead downhill."""
    inputs, prior = np.stack([logits, np.ones_like(logits)], -1), np.array([1.0, 0.0])

    def cost(at: np.ndarray) -> float:
        z = inputs @ at
        return float(np.sum(np.logaddexp(0, z) - labels * z) + 0.5 * np.sum((at - prior) ** 2))

    found = prior
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-(inputs @ found)))
        slope = inputs.T @ (p - labels) + found - prior
        bend = (inputs * (p * (1 - p))[:, None]).T @ inputs + np.eye(2)
        step = np.linalg.solve(bend, slope)
        while cost(found - step) > cost(found) and np.abs(step).max() > 1e-12:
            step = step / 2
        found = found - step
        if np.abs(step).max() < 1e-9:
            break
    return float(found[0]), float(found[1])


def save(path: str | Path, calibration: Calibration, step: int) -> None:
    """Writes a calibration, and the step of its checkpoint."""
    save_arrays(path, KIND, VERSION, {'calibration': np.array(calibration), 'step': np.array(step)})


def load(path: str | Path) -> tuple[Calibration, int]:
    """Reads a calibration and the step of its checkpoint; a ValueError refuses a damaged file or other heads."""
    found = load_arrays(path, KIND, VERSION, _ARRAYS, _REMEDY)
    pairs = found['calibration']
    if pairs.shape != (len(HEADS), 2) or not np.isfinite(pairs).all():
        raise ValueError(f'{path} calibrates {pairs.shape}, not a scale and a shift of each head: {_REMEDY}')
    return tuple((float(scale), float(shift)) for scale, shift in pairs), int(found['step'])
