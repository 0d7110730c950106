"""The model of one table: its batches, and the same table however duplicates are summed."""

import numpy as np

from jaxrec.embeddings import sgd
from jaxrec.models.ctr.one_table import make_batches, make_setup
from jaxrec.parallel import make_mesh
from jaxrec.training.step import take_steps


def test_batches_have_the_drawn_ids_and_differ():
    batches = make_batches(lambda rng, shape: rng.integers(2, 30, shape), 2, 6, 3)
    assert [batch['ids'].shape for batch in batches] == [(6, 3)] * 2 and batches[0]['ids'].dtype == np.int32
    assert (batches[0]['ids'] != batches[1]['ids']).any() and batches[0]['ids'].min() >= 2
    assert set(np.unique(batches[0]['label'])) <= {0, 1} and batches[0]['valid'].all()


def test_the_table_does_not_depend_on_how_duplicates_are_summed():
    batches, mesh = make_batches(lambda rng, shape: rng.integers(2, 9, shape), 3, 8, 4), make_mesh((8, 1))
    tables = {}
    for strategy in (None, 'dense', 'scratch', 'sort'):
        setup = make_setup(30, 4, sgd(0.5), mesh, strategy)
        state, metrics = take_steps(setup, batches)
        tables[strategy] = np.asarray(state.tables['table'])
        assert len(metrics) == 3 and tables[strategy].shape == (32, 4)
    for table in tables.values():
        np.testing.assert_allclose(table, tables['dense'], rtol=1e-5, atol=1e-8)
    start, _ = take_steps(make_setup(30, 4, sgd(0.0), mesh), batches)
    moved = (tables['dense'] != np.asarray(start.tables['table'])).any(1)
    assert moved[2:9].all() and not moved[9:].any() and not moved[:2].any()
