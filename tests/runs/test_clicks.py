"""Runs on a log without users: the same mains, and no metric that needs users."""

import json

import pytest
from ml_collections import ConfigDict

from jaxrec.runs import fit as running
from jaxrec.runs import restore as restoring
from jaxrec.runs.build import build
from jaxrec.runs.comparison.tables import side_by_side
from tests.conftest import slow_but_for
from tests.runs.worlds import MODEL

TASKS = {'LR': 'jaxrec.models.baselines.lr:make_task', 'DNN': 'jaxrec.models.baselines.dnn:make_task'}


def clicks(row, cache, **data):
    """The config of a model of one candidate's columns, on 3,000 impressions of 99 pairs."""
    return ConfigDict(
        {
            'task': TASKS[row],
            'model': MODEL[row],
            'features': {'candidate': ('site', 'ad')},
            'data': {
                'log': 'tests.data.worlds:small_clicks',
                'arguments': {'events': 3000},
                'cache': str(cache),
                'label': {'kind': 'impressions'},
                'split': {'kind': 'days', 'held_out': 1, 'validation': 0.5},
                **data,
            },
            'train': {'batch_size': 128, 'eval_batch_size': 256, 'epochs': 8, 'row_learning_rate': 0.3},
            'seed': 0,
            'mesh': (1, 1),
        }
    )


@pytest.mark.parametrize('row', slow_but_for(('DNN',), TASKS))
def test_a_model_without_users_trains(row, tmp_path):
    run = build(clicks(row, tmp_path))
    progress = running.fit(run, tmp_path / 'run')
    assert progress.best > 0.6  # pairs decide, of which both models see what is additive
    evaluator, _ = restoring.score(run, tmp_path / 'run')
    metrics = evaluator.compute()
    assert metrics['examples'] == run.source('test').examples
    assert 'auc' in metrics and not [name for name in metrics if name.startswith('gauc')]
    lines = [json.loads(line) for line in (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()]
    assert not [key for line in lines for key in line if key.startswith('gauc')]
    shown = side_by_side({row: metrics}).splitlines()
    assert shown[0].split()[1] == 'gauc' and shown[1].split()[2] == '-'


def test_gauc_cannot_choose_the_best_step_without_users(tmp_path):
    config = clicks('LR', tmp_path)
    config.train.monitor = 'gauc'
    with pytest.raises(ValueError, match=r"train.monitor = 'gauc' is not among the metrics"):
        running.fit(build(config), tmp_path / 'run')


def test_a_history_is_asked_for_in_vain(tmp_path):
    run = build(clicks('LR', tmp_path, history_length=5))
    with pytest.raises(ValueError, match='is a click log, whose batches have no history_length'):
        run.source('train')
