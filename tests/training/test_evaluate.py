"""Evaluation fills the evaluator with every valid example once, on any mesh."""

import numpy as np
import pytest

from jaxrec.parallel import put_batch
from jaxrec.training.evaluate import evaluate
from jaxrec.training.state import init_state
from jaxrec.training.step import make_predict_step
from tests.training.worlds import ROWS, make_batch, make_setup


def evaluated(mesh, size):
    setup = make_setup(mesh)
    batches = [make_batch(seed, size) for seed in range(3)]
    state = init_state(setup, put_batch(batches[0], setup.mesh), 0)
    return evaluate(setup, make_predict_step(setup), state, batches), batches


def test_every_valid_example_counts_once():
    evaluator, batches = evaluated((1, 1), 16)
    columns = evaluator.columns()
    valid = [batch['valid'][:, 0] > 0 for batch in batches]
    for key, name in (('host/event', 'event'), ('host/group', 'group'), ('label', 'label')):
        want = np.concatenate([batch[key].reshape(-1)[mask] for batch, mask in zip(batches, valid, strict=True)])
        np.testing.assert_array_equal(columns[name], want)


@pytest.mark.parametrize('size', [16, 13])  # 8 devices do not divide 13
def test_a_mesh_evaluates_alike(size):
    one, cut = evaluated((1, 1), size)[0], evaluated((8, 1), size)[0]
    np.testing.assert_allclose(one.columns()['probability'], cut.columns()['probability'], rtol=1e-6)
    assert one.compute()['examples'] == cut.compute()['examples'] == 3 * (size - 1)
    assert abs(one.compute()['auc'] - cut.compute()['auc']) < 1e-6


def test_an_id_out_of_range_is_refused():
    setup = make_setup()
    batch = make_batch(rows=ROWS + 50)
    state = init_state(setup, put_batch(batch), 0)
    with pytest.raises(ValueError, match=r"table 'item' holds id \d+, outside \[0, 19\)"):
        evaluate(setup, make_predict_step(setup), state, [batch])
