"""Ranking metrics by hand."""

import numpy as np
import pytest

from jaxrec.evaluation.ranking import RankingEvaluator


def add(evaluator, ranks, targets, items, valid=None):
    valid = np.ones((len(ranks), 1)) if valid is None else np.asarray(valid)[:, None]
    batch = {'target/item': np.asarray(targets)[:, None], 'valid': valid}
    evaluator.add(batch, {'rank': np.asarray(ranks), 'items': np.asarray(items)})


def test_metrics_by_hand():
    evaluator = RankingEvaluator(cuts=(1, 2), catalogue=4)
    add(evaluator, [1.0, 2.0, 9.0], [2, 3, 3], [[2, 3, 5], [2, -1, 5], [7, 7, 7]], [1, 1, 0])
    add(evaluator, [np.inf], [3], [[4, 2, 9]])
    got = evaluator.compute() | evaluator.of_cold(np.array([0, 0, 0, 1], bool))
    want = {
        'users': 3.0, 'mrr': (1 + 0.5) / 3, 'named': 3.0, 'coverage': 3 / 4, 'recall@1': 1 / 3,
        'recall@2': 2 / 3,
        'ndcg@1': 1 / 3, 'ndcg@2': (1 + 1 / np.log2(3)) / 3, 'cold_users': 2.0, 'cold_recall@1': 0.0,
        'cold_recall@2': 0.5,
    }  # fmt: skip
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, err_msg=name)


def test_cold_items_may_be_named_afterwards():
    evaluator = RankingEvaluator(cuts=(2,))
    add(evaluator, [1.0, 2.0, 9.0], [2, 3, 3], [[2, 3], [2, 3], [7, 7]])
    assert not {'coverage', 'cold_users'} & evaluator.compute().keys()
    assert evaluator.of_cold(np.array([0, 0, 0, 1], bool)) == {'cold_users': 2.0, 'cold_recall@2': 0.5}
    assert RankingEvaluator().of_cold(np.zeros(4, bool))['cold_users'] == 0


def test_ranks_that_are_none_are_refused():
    evaluator = RankingEvaluator()
    add(evaluator, [1.0, np.nan, 0.0], [2, 2, 2], [[2], [2], [2]])
    with pytest.raises(ValueError, match='2 of 3 ranks are below 1 or NaN: they count from 1'):
        evaluator.compute()


def test_no_cold_target_is_no_number():
    evaluator = RankingEvaluator()
    add(evaluator, [1.0], [2], [[2]])
    assert np.isnan(evaluator.of_cold(np.zeros(4, bool))['cold_recall@5'])


def test_an_empty_part_is_refused():
    evaluator = RankingEvaluator()
    add(evaluator, [1.0], [2], [[2]], [0])
    with pytest.raises(ValueError, match='no valid target was evaluated'):
        evaluator.compute()
