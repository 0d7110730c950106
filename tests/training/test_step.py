"""One step against numpy: gradients, duplicates, one norm over dense and summed rows, two updates."""

import jax
import numpy as np
import pytest

from jaxrec.parallel import put_batch
from jaxrec.training import step
from jaxrec.training.state import init_state
from jaxrec.training.step import make_predict_step, make_train_step
from tests.training.worlds import ROWS, make_batch, make_setup


def slow_step(w, table, batch, rate, clip):
    """The step in float64, one example at a time; returns w, table, loss and the norm before clipping."""
    grad_w, grad_table, loss = np.zeros_like(w), np.zeros_like(table), 0.0
    count = batch['valid'].sum()
    for b in np.flatnonzero(batch['valid'][:, 0]):
        ids = [batch['candidate/item'][b, 0], *batch['history/item'][b]]
        rows = sum(table[i] for i in ids)
        error = rows @ w - batch['label'][b, 0]
        loss += error**2 / count
        grad_w += 2 * error * rows / count
        for i in ids:
            if i != 0:
                grad_table[i] += 2 * error * w / count
    norm = np.sqrt((grad_w**2).sum() + (grad_table**2).sum())
    scale = 1.0 if clip is None else min(1.0, clip / norm)
    return w - rate * scale * grad_w, table - rate * scale * grad_table, loss, norm


def test_steps_are_taken_from_the_state_of_a_seed():
    setup, batches = make_setup((8, 1)), [make_batch(t) for t in range(3)]
    taken, metrics = step.take_steps(setup, batches, seed=1)
    state, by_hand = init_state(setup, put_batch(batches[0], setup.mesh), 1), make_train_step(setup)
    for batch, found in zip(batches, metrics, strict=True):
        state, wanted = by_hand(state, put_batch(batch, setup.mesh))
        assert float(found['loss']) == float(wanted['loss'])
    np.testing.assert_array_equal(taken.tables['item'], state.tables['item'])
    assert int(taken.step) == 3


CASES = [((1, 1), None, None), ((1, 1), None, 0.5), ((8, 1), 'gather_ids', 0.5), ((4, 2), 'all_to_all', 0.5)]


@pytest.mark.parametrize(('mesh', 'exchange', 'clip'), CASES)
def test_steps_equal_numpy(mesh, exchange, clip, caplog):
    setup = make_setup(mesh, clip_norm=clip, exchange=exchange)
    state = init_state(setup, put_batch(make_batch(), setup.mesh), 0)
    w = np.asarray(state.params['w'], np.float64)
    table = np.asarray(state.tables['item'], np.float64)[:ROWS]
    step, clipped = make_train_step(setup), 0
    for t in range(3):
        batch = make_batch(t)
        with jax.log_compiles():
            state, metrics = step(state, put_batch(batch, setup.mesh))
        w, table, loss, norm = slow_step(w, table, batch, 0.1, clip)
        clipped += clip is not None and norm > clip
        np.testing.assert_allclose(metrics['loss'], loss, rtol=1e-5)
        np.testing.assert_allclose(metrics['grad_norm'], norm, rtol=1e-5)
        np.testing.assert_allclose(state.params['w'], w, rtol=1e-5)
        np.testing.assert_allclose(np.asarray(state.tables['item'])[:ROWS], table, rtol=1e-5, atol=1e-6)
        assert set(metrics) == {'loss', 'grad_norm', 'noise'} | (
            {'exchange_rounds'} if exchange == 'all_to_all' else set()
        )
    assert clip is None or clipped
    # What comes out goes in again without another compilation.
    assert caplog.text.count('Finished XLA compilation of jit(step)') == 1
    assert int(state.step) == 3 and float(state.model_state['seen']) == 3 * 15
    assert not np.asarray(state.tables['item'])[0].any()


def test_each_step_draws_from_its_own_key():
    setup = make_setup()
    batch = put_batch(make_batch())
    state = init_state(setup, batch, 0)
    key, step, drawn = state.rng, make_train_step(setup), []
    for t in range(2):
        expected = jax.random.uniform(jax.random.fold_in(key, t))
        state, metrics = step(state, batch)
        key = state.rng
        drawn.append(float(metrics['noise']))
        assert drawn[-1] == float(expected)
    assert drawn[0] != drawn[1]


def test_the_old_state_is_given_away():
    setup = make_setup()
    batch = put_batch(make_batch())
    old = init_state(setup, batch, 0)
    make_train_step(setup)(old, batch)
    assert old.tables['item'].is_deleted()


@pytest.mark.parametrize('limit', [1 << 25, 1])
def test_prediction_reads_the_same_rows(limit, monkeypatch):
    monkeypatch.setattr(step, 'ROWS_AT_ONCE', limit)  # the batch whole, or an example at a time
    setup, batch = make_setup(), make_batch()
    state = init_state(setup, put_batch(batch), 0)
    table, w = np.asarray(state.tables['item']), np.asarray(state.params['w'])
    rows = table[batch['candidate/item'][:, 0]] + table[batch['history/item']].sum(1)
    got = make_predict_step(setup)(state, put_batch(batch))['probability']
    np.testing.assert_allclose(got[:, 0], 1 / (1 + np.exp(-rows @ w)), rtol=1e-5)
    assert not state.tables['item'].is_deleted()
