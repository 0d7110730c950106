"""The click evaluator: what it gathers from padded batches; its numbers are those of the exact metrics."""

import numpy as np
import pytest

from jaxrec import evaluation
from jaxrec.evaluation import CtrEvaluator


def requests(seed, rows=16, candidates=3):
    """A host batch with padding whose labels and predictions are nonsense, and its predictions."""
    rng = np.random.default_rng(seed)
    shape = (rows, candidates)
    valid = (rng.uniform(size=shape) < 0.8).astype(np.float32)
    batch = {
        'label': np.where(valid > 0, rng.integers(0, 2, shape), 9).astype(np.float32),
        'valid': valid,
        'host/group': rng.integers(2**40, 2**40 + 5, rows),
        'host/event': rng.integers(0, 10**9, shape),
    }
    probability = np.where(valid > 0, rng.uniform(size=shape), np.nan).astype(np.float32)
    return batch, {'probability': probability}


def evaluator_of(seeds):
    evaluator = CtrEvaluator()
    for seed in seeds:
        evaluator.add(*requests(seed))
    return evaluator


def test_compute_equals_the_exact_metrics_of_the_valid_examples():
    labels, probabilities, users = [], [], []
    for seed in range(3):
        batch, predictions = requests(seed)
        for b, c in zip(*np.nonzero(batch['valid']), strict=True):
            labels.append(batch['label'][b, c])
            probabilities.append(predictions['probability'][b, c])
            users.append(batch['host/group'][b])
    grouped = evaluation.gauc(labels, probabilities, users)
    assert evaluator_of(range(3)).compute() == {
        'auc': evaluation.auc(labels, probabilities),
        'logloss': evaluation.log_loss(labels, probabilities),
        'logloss_floored': 0,
        'pcoc': evaluation.pcoc(labels, probabilities),
        'examples': len(labels),
        'clicks': sum(labels),
        'gauc': grouped.value,
        'gauc_users': grouped.groups,
        'gauc_users_dropped': grouped.dropped,
        'gauc_coverage': grouped.coverage,
    }


def test_columns_keep_each_example_beside_its_event_and_user():
    batch, predictions = requests(0)
    evaluator = CtrEvaluator()
    evaluator.add(batch, predictions)
    columns = evaluator.columns()
    assert columns['event'].dtype == columns['group'].dtype == np.int64
    row = {event: (b, c) for (b, c), event in np.ndenumerate(batch['host/event'])}
    for event, user, label, probability in zip(
        columns['event'], columns['group'], columns['label'], columns['probability'], strict=True
    ):
        b, c = row[event]
        assert batch['valid'][b, c] == 1 and user == batch['host/group'][b]
        assert (label, probability) == (batch['label'][b, c], predictions['probability'][b, c])


def test_a_mask_evaluates_a_part():
    evaluator = evaluator_of(range(4))
    columns = evaluator.columns()
    part = columns['event'] % 2 == 0
    got = evaluator.compute(where=part)
    assert got['examples'] == part.sum() < columns['label'].size
    assert got['auc'] == evaluation.auc(columns['label'][part], columns['probability'][part])


def test_merge_is_the_evaluation_of_all_batches():
    merged = evaluator_of([0, 1]).merge(evaluator_of([2]))
    assert merged.compute() == evaluator_of([0, 1, 2]).compute()


def test_without_users_there_is_no_gauc():
    batch, predictions = requests(0)
    evaluator = CtrEvaluator()
    evaluator.add({key: batch[key] for key in ('label', 'valid')}, predictions)
    assert not [key for key in evaluator.compute() if key.startswith('gauc')]


def changed(batch=None, predictions=None, drop=()):
    base, predicted = requests(0)
    return {k: v for k, v in (base | (batch or {})).items() if k not in drop}, predicted | (predictions or {})


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (changed(drop=['label']), r"no 'label' in the batch; its keys are \['host/event'"),
        ((requests(0)[0], {'logit': np.zeros((16, 3))}), r"no 'probability' in the predictions"),
        (changed(predictions={'probability': np.zeros((24, 3))}), r'\(24, 3\).*\(16, 3\).*padded the batch'),
        (changed(batch={'label': np.zeros(16)}), r'must be \[B, C\]'),
        (changed(batch={'valid': np.ones(16)}), r"'valid' of the batch has shape \(16,\)"),
        (changed(batch={'host/group': np.zeros((16, 3), int)}), r"'host/group' of the batch"),
    ],
)
def test_bad_batches_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CtrEvaluator().add(*arguments)


def test_batches_must_agree_on_their_host_keys():
    evaluator = evaluator_of([0])
    with pytest.raises(ValueError, match='with every batch or with none'):
        evaluator.add(*changed(drop=['host/group']))


def test_diverged_predictions_are_refused():
    evaluator = CtrEvaluator()
    batch, predictions = requests(0)
    evaluator.add(batch, {'probability': predictions['probability'] * np.nan})
    with pytest.raises(ValueError, match='diverged'):
        evaluator.compute()


def test_masks_must_fit_and_something_must_have_been_added():
    with pytest.raises(ValueError, match='Nothing was added'):
        CtrEvaluator().compute()
    with pytest.raises(ValueError, match='it must be bool'):
        evaluator_of([0]).compute(where=np.ones(3))
