"""The Cartesian baseline from config to test metrics: pair ids of training alone reach the model's table."""

import math

import numpy as np
import pytest

from jaxrec.evaluation.slices import unseen_pairs
from jaxrec.runs import restore as restoring
from jaxrec.runs.build import build
from jaxrec.runs.comparison.cells import Cell, run_cell
from tests.runs.worlds import tiny

EPOCH = {'epochs': 1, 'evals_per_epoch': 1}


def test_the_table_has_a_row_for_every_pair_of_training(tmp_path):
    run = build(tiny('CAN+Cartesian', tmp_path))
    source = run.source('train')
    batches = [source[i] for i in range(len(source))]
    met = set()
    for batch in batches:
        met |= {
            (int(item), int(other))
            for item, history in zip(batch['candidate/item'][:, 0], batch['history/item'], strict=True)
            for other in history[history > 0]
        }
    assert run.setup.task.tables['itemxitem'].rows == 2 + len(met) > 100
    # What training has shown has an id; a test example of new pairs alone has none.
    assert not any((batch['cartesian/itemxitem'] == 1).any() for batch in batches)
    test = run.source('test')
    batches_of_test = [test[i] for i in range(len(test))]
    marks = unseen_pairs(batches, batches_of_test)
    ids = np.concatenate([b['cartesian/itemxitem'][b['valid'][:, 0] > 0] for b in batches_of_test])[:, 0]
    np.testing.assert_array_equal(marks, (ids == 1).any(1) & ~(ids > 1).any(1))


@pytest.mark.slow
@pytest.mark.parametrize('row', ['Cartesian', 'CAN+Cartesian'])
def test_a_cell_is_trained_and_tested(row, tmp_path):
    base, whole = tiny('LR', tmp_path / 'logs', EPOCH), tiny(row, tmp_path / 'logs', EPOCH)
    own = {'task': whole.task, 'model': whole.model, 'data': {'cartesian': whole.data.cartesian}}
    cell = Cell(tmp_path / row, base, type(base)(own), 0, {'train.row_learning_rate': 0.1})
    result = run_cell(cell, None, ('unseen_pairs',))
    assert all(math.isfinite(value) for value in result['test'].values())
    full, fewer = result['parameters'], result['parameters_candidates']
    assert fewer == full if row == 'Cartesian' else fewer <= full
    # The row added its pairs to the column's data, and left the rest.
    data = cell.config().data
    assert data.label == base.data.label and data.cartesian.pairs == (('item', 'history/item'),)
    # Another process, which meets the vocabulary in the cache, scores alike.
    again, _ = restoring.score(build(cell.config()), cell.folder)
    assert again.compute()['auc'] == result['test']['auc']


def test_a_cell_counts_the_candidates_of_training(tmp_path):
    config = tiny('CAN-DNN', tmp_path / 'logs', EPOCH)
    config.data.arguments.items = 400  # more than 80 users are shown in training
    cell = Cell(tmp_path / 'cell', config, type(config)({'model': config.model}), 0, {}, test=False)
    result, run = run_cell(cell, None), build(cell.config())
    source = run.source('train')
    shown = np.unique(np.concatenate([source[i]['candidate/item'] for i in range(source.steps)]))
    table = run.setup.task.tables['item_induction']
    unused = table.rows - 2 - len(shown[shown > 1])
    assert unused > 0
    assert result['parameters'] - result['parameters_candidates'] == unused * table.dim
