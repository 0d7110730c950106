"""Both counts of a model's parameters, by hand."""

import numpy as np

from jaxrec.training.parameters import count_parameters
from tests.models import worlds


def test_both_counts_by_hand():
    """Two batches score items 2, 3, 3, 9 and category 5; rows 0 and 1 always exist."""
    task = worlds.make_task('CAN-DNN', {'candidate': worlds.IDS, 'history': worlds.IDS})
    batches = []
    for items in ([[2, 3]], [[3, 9]]):
        batch = worlds.make_batch(1, 2, 5, worlds.FEATURES)
        batch['candidate/item'][:], batch['candidate/category'][:] = items, 5
        batches.append(batch)
    params = {'kernel': np.zeros((3, 4)), 'bias': np.zeros(4)}
    got = count_parameters(task, params, batches)
    embeddings, feeds = (30 + 7) * 4, (30 + 7) * 4
    assert got.full == 16 + embeddings + feeds + (30 + 7) * 18
    assert got.candidates == 16 + embeddings + feeds + (2 + 3 + 2 + 1) * 18


def test_a_model_without_induction_rows_reads_no_batch():
    def none():
        raise AssertionError('a batch was read')
        yield

    got = count_parameters(worlds.make_task('DNN', worlds.FEATURES), {}, none())
    assert got.full == got.candidates == (20 + 30 + 7) * 4


def test_the_paper_s_sizes_of_amazon_books():
    """Induction rows for the whole vocabulary are about 5 times the DNN's numbers, not the 3.3 of table 2."""
    rows = {'user': 543_060, 'item': 367_982, 'category': 1_600}
    schema = {name: worlds.Column('categorical', name, count, 1) for name, count in rows.items()}
    tables = lambda name: worlds.resolve(worlds.MODELS[name][0], 'task')(
        {'features': worlds.FEATURES, 'dim': 18}, schema
    ).tables.values()
    size = {name: sum(table.rows * table.dim for table in tables(name)) for name in ('DNN', 'CAN-DNN')}
    assert size['DNN'] == 16_427_556 and 4.9 < size['CAN-DNN'] / size['DNN'] < 5.1
