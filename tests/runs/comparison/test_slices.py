"""Parts of a test set, by the names that a table gives them."""

import pytest

from jaxrec.evaluation.ctr import CtrEvaluator
from jaxrec.runs.build import batches, build
from jaxrec.runs.comparison.slices import SLICES, judge_slice
from tests.runs.worlds import tiny


def scored(run, probability=0.5):
    """An evaluator of the test part that was given one probability everywhere."""
    evaluator = CtrEvaluator()
    for batch in batches(run.source('test')):
        evaluator.add(batch, {'probability': 0 * batch['label'] + probability})
    return evaluator


def test_long_histories_are_those_beyond_the_short_window(tmp_path):
    config = tiny('DIN', tmp_path)
    config.data.history_length = 3
    run = build(config)
    evaluator = scored(run)
    found, best = judge_slice('long_histories', run, evaluator)
    events, mask = run.log.events, []
    for event in evaluator.columns()['event']:
        of_user = events['user'] == events['user'][event]
        earlier = of_user & (events['time'] < events['time'][event]) & (events['click'] == 1)
        mask.append(bool(earlier.sum() > 3))
    assert 0 < sum(mask) < len(mask) == 320
    assert found == {'auc_long': 0.5, 'share_long': pytest.approx(sum(mask) / len(mask)), 'examples_long': sum(mask)}
    assert best['examples_long'] == found['examples_long'] and best['auc_long'] > 0.6


def test_what_no_slice_is_called_is_refused(tmp_path):
    run = build(tiny('LR', tmp_path))
    with pytest.raises(ValueError, match=r"slices names 'no_such'; there are .*'long_histories'"):
        judge_slice('no_such', run, scored(run))
    assert set(SLICES) == {'unseen_pairs', 'long_histories'}
