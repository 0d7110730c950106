"""Parts of a test set on which the models of a table are evaluated apart, by the names that configs give them.

N test examples, S short window.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxrec.data.features.labels import history_bounds, make_label
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.sources.user_histories import training_interactions
from jaxrec.evaluation.ctr import CtrEvaluator
from jaxrec.evaluation.metrics import auc
from jaxrec.evaluation.ranking import RankingEvaluator
from jaxrec.evaluation.slices import unseen_pairs
from jaxrec.options import plain
from jaxrec.runs.build import Experiment, batches
from jaxrec.training.task import Evaluator

COLD = 5  # training interactions; items of fewer are cold


class Slice(NamedTuple):
    """A part of a test set: the suffix of its metrics, and (run, evaluator of the test part) -> bool [N]."""

    suffix: str
    mark: Callable[[Experiment, CtrEvaluator], np.ndarray]


def _of_unseen_pairs(run: Experiment, evaluator: CtrEvaluator) -> np.ndarray:
    return unseen_pairs(batches(run.source('train')), batches(run.source('test')))


def _of_long_histories(run: Experiment, evaluator: CtrEvaluator) -> np.ndarray:
    """Examples whose history exceeds the short window, whatever more of it a model reads."""
    if not isinstance(run.log, BehaviourLog):
        raise ValueError(f"slices names 'long_histories', but {run.log.folder} has no histories: take it out")
    positive = make_label(plain(run.data['label'])).positive(run.log)
    _, start, end = history_bounds(run.log, positive)
    return (end - start)[evaluator.columns()['event']] > run.data['history_length']


def cold_items(run: Experiment) -> np.ndarray:
    """Marks the items, bool [item rows], that occur in fewer than `COLD` training interactions."""
    data = run.data
    _, items = training_interactions(run.log, plain(data['label']), plain(data['split']), data['users'])
    return np.bincount(items, minlength=run.log.schema['item'].rows) < COLD


# By the names that a table's `slices` may hold.
SLICES = {'unseen_pairs': Slice('unseen', _of_unseen_pairs), 'long_histories': Slice('long', _of_long_histories)}

COLD_ITEMS = 'cold_items'  # of models that rank items


def judge_slice(name: str, run: Experiment, evaluator: Evaluator) -> tuple[dict[str, float], dict[str, float]]:
    """Evaluates one of `SLICES` or `COLD_ITEMS`: its metrics, and those of the true probabilities, if known.

    Raises:
      ValueError: no such slice, a model that predicts neither clicks nor ranks, or a slice of one class.
    """
    if name == COLD_ITEMS and isinstance(evaluator, RankingEvaluator):
        return evaluator.of_cold(cold_items(run)), {}
    if name not in SLICES or not isinstance(evaluator, CtrEvaluator):
        raise ValueError(
            f'slices names {name!r}; there are {sorted(SLICES)}, for CTR models, and {COLD_ITEMS!r}, for '
            'those that rank items'
        )
    suffix, mark = SLICES[name]
    mask, columns = mark(run, evaluator), evaluator.columns()
    score = lambda values: {
        f'auc_{suffix}': auc(columns['label'][mask], values),
        f'share_{suffix}': float(mask.mean()),
        f'examples_{suffix}': int(mask.sum()),
    }
    best = {}
    if 'true_ctr' in run.log.events.names:
        best = score(np.asarray(run.log.events['true_ctr'])[columns['event'][mask]])
    return score(columns['probability'][mask]), best
