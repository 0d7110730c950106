"""Exact click metrics against scikit-learn and against the sum over all pairs."""

import numpy as np
import pytest
import sklearn.metrics

from jaxrec import evaluation
from jaxrec.evaluation import metrics


def auc_over_pairs(labels, scores, weights):
    ordered = total = 0.0
    for i in np.flatnonzero(labels == 1):
        for j in np.flatnonzero(labels == 0):
            pair = weights[i] * weights[j]
            total += pair
            ordered += pair * (1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0)
    return ordered / total if total else None


def examples(seed, n=300, levels=20):
    """Labels, scores with many ties, weights among which a quarter is 0, and user ids far from 0..G-1."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    scores = rng.integers(0, levels, n) / levels
    weights = rng.integers(0, 4, n) * rng.uniform(0.5, 2, n)
    groups = rng.integers(0, 12, n) * 10**12 - 5
    return labels, scores, weights, groups


@pytest.mark.parametrize('seed', range(3))
def test_auc_equals_scikit_learn_and_the_pairs_with_ties_and_weights(seed):
    labels, scores, weights, _ = examples(seed)
    assert evaluation.auc(labels, scores) == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores), abs=1e-14)
    weighted = evaluation.auc(labels, scores, weights)
    assert weighted == pytest.approx(auc_over_pairs(labels, scores, weights), abs=1e-12)
    assert weighted == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12)


@pytest.mark.parametrize(
    ('labels', 'scores', 'expected'),
    [
        ([0, 1], [0.1, 0.9], 1.0),
        ([0, 1], [0.9, 0.1], 0.0),
        ([0, 1, 1, 0], [0.5, 0.5, 0.5, 0.5], 0.5),
        ([0, 1, 1], [0.0, -0.0, 1.0], 0.75),
        ([0, 0, 1, 1], [-np.inf, np.inf, np.inf, 0.0], 0.625),
    ],
)
def test_auc_of_small_cases(labels, scores, expected):
    assert evaluation.auc(labels, scores) == expected


def test_auc_ignores_what_padding_holds():
    labels, scores, _, _ = examples(0)
    padded = np.concatenate([labels, [7, 0]]), np.concatenate([scores, [np.nan, 2.0]])
    weights = np.concatenate([np.ones(labels.size), [0, 0]])
    assert evaluation.auc(*padded, weights) == evaluation.auc(labels, scores)


def test_auc_is_exact_beyond_float32():
    # In float32 the two negative weights are equal, and so are their sum and twice one of them.
    assert evaluation.auc([0, 1, 0], [0.1, 0.2, 0.3], [2**25, 1, 2**25 + 1]) == 2**25 / (2**26 + 1) != 0.5


@pytest.mark.parametrize('seed', range(3))
def test_gauc_equals_a_loop_over_users(seed):
    labels, scores, weights, groups = examples(seed, n=60)
    areas = {
        group: auc_over_pairs(labels[groups == group], scores[groups == group], weights[groups == group])
        for group in np.unique(groups[weights > 0])
    }
    impressions = {group: weights[groups == group].sum() for group in areas}
    both = [group for group, area in areas.items() if area is not None]
    share = sum(impressions[group] for group in both)
    result = evaluation.gauc(labels, scores, groups, weights)
    assert result.value == pytest.approx(sum(areas[g] * impressions[g] for g in both) / share, abs=1e-12)
    assert (result.groups, result.dropped) == (len(both), len(areas) - len(both))
    assert result.coverage == pytest.approx(share / sum(impressions.values()))


def test_gauc_weights_users_by_impressions_and_drops_single_class_users():
    labels = [1, 0, 1, 0, 0, 0, 1, 1]
    scores = [0.9, 0.1, 0.2, 0.8, 0.1, 0.1, 0.3, 0.4]
    groups = [7, 7, 3, 3, 3, 3, 9, 9]  # user 7: AUC 1; user 3: 2 of 3 pairs; user 9: clicks only
    result = evaluation.gauc(labels, scores, groups)
    assert result.value == pytest.approx((2 * 1 + 4 * 2 / 3) / 6)
    assert result[1:] == (2, 1, 0.75)


def test_gauc_of_one_user_is_auc():
    labels, scores, weights, _ = examples(1)
    one = evaluation.gauc(labels, scores, np.full(labels.size, 2**60), weights)
    assert one.value == pytest.approx(evaluation.auc(labels, scores, weights), abs=1e-14)
    assert one[1:] == (1, 0, 1.0)


def test_log_loss_equals_scikit_learn():
    labels, scores, weights, _ = examples(2)
    probabilities = scores * 0.98 + 0.01
    assert evaluation.log_loss(labels, probabilities) == pytest.approx(
        sklearn.metrics.log_loss(labels, probabilities), rel=1e-13
    )
    assert evaluation.log_loss(labels, probabilities, weights) == pytest.approx(
        sklearn.metrics.log_loss(labels, probabilities, sample_weight=weights), rel=1e-13
    )


def test_log_loss_floors_a_confident_miss_and_counts_it():
    labels, probabilities = [1, 0, 1], np.array([0.0, 0.5, 1.0], np.float32)
    bounded = (24 * np.log(2) + np.log(2) + 0) / 3
    assert evaluation.log_loss(labels, probabilities) == pytest.approx(bounded)
    assert evaluation.log_loss(labels, probabilities, eps=0) == np.inf
    assert metrics.count_floored(labels, probabilities) == 1
    assert metrics.count_floored(labels, probabilities, weights=[0, 1, 1]) == 0


def test_pcoc_is_predicted_over_observed():
    assert evaluation.pcoc([1, 0, 0, 1], [0.6, 0.3, 0.3, 0.3]) == pytest.approx(0.75)
    assert evaluation.pcoc([1, 0, 0, 1], [0.6, 0.3, 0.3, 0.3], [1, 0, 0, 1]) == pytest.approx(0.45)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: evaluation.auc([1, 1, 1], [0.1, 0.2, 0.3]), r'both classes: 3 of 3 .* larger or less filtered'),
        (lambda: evaluation.auc([], []), r'both classes: 0 of 0'),
        (lambda: evaluation.auc([0, 1], [0.1, 0.2], [1, 0]), r'both classes: 0 of 1'),
        (lambda: evaluation.auc([0, 1], [0.1, np.nan]), r'scores\[1\] is nan .*diverged'),
        (lambda: evaluation.auc([0, 3.5, 4], [0.1, 0.2, 0.3]), r'labels\[1\] is 3.5 \(and 1 more.*ratings'),
        (lambda: evaluation.auc([0, 1], [0.1]), r'\(2,\), \(1,\)'),
        (lambda: evaluation.auc([[0], [1]], [[0.1], [0.2]]), r'flat and of one length.*Ravel'),
        (lambda: evaluation.auc([0, 1], [0.1, 0.2], [1, -1]), r'weights\[1\] is -1.0.*>= 0'),
        (lambda: evaluation.auc([0, 1], [0.1, 0.2], [1, np.nan]), r'weights\[1\] is nan'),
        (lambda: evaluation.gauc([0, 1], [0.1, 0.2], [1, 2]), r'each of the 2 groups holds one class'),
        (lambda: evaluation.gauc([], [], np.zeros(0, int)), r'each of the 0 groups'),
        (lambda: evaluation.gauc([0, 1], [0.1, 0.2], [1]), r'groups has shape \(1,\)'),
        (lambda: evaluation.gauc([0, 1], [0.1, 0.2], [1.0, 1.0]), r'float64; give integer keys'),
        (lambda: evaluation.log_loss([0, 1], [0.1, 1.2]), r'probabilities\[1\] is 1.2.*sigmoid'),
        (lambda: evaluation.log_loss([0, 1], [np.nan, 0.5]), r'probabilities\[0\] is nan'),
        (lambda: evaluation.log_loss([0, 1], [0.5, 0.5], [0, 0]), r'of no examples'),
        (lambda: evaluation.pcoc([0, 0], [0.1, 0.2]), r'none of 2 examples .* label 1'),
    ],
)
def test_bad_input_is_refused_by_name_and_remedy(call, message):
    with pytest.raises(ValueError, match=message):
        call()
