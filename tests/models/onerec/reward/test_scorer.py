"""The reward model on sessions as sources give them: trained, calibrated, judging."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxrec import embeddings as emb
from jaxrec.models.onerec.reward import calibration
from jaxrec.models.onerec.reward.network import make_task
from jaxrec.models.onerec.reward.shown import HEADS, as_sessions
from jaxrec.training.state import new_scratch
from jaxrec.training.step import make_train_step
from tests.models.onerec import worlds


@pytest.fixture(scope='module')
def log():
    return worlds.world().log


def test_a_shown_session_is_the_one_session_of_its_request(log):
    batch = worlds.make_source(log, mode='reward', part='test', remainder='pad', batch_size=100)[0]
    real = batch['host/event'] >= 0
    assert 0 < real.sum() < 100
    found = as_sessions(batch)
    assert as_sessions(found) is found
    for column in worlds.COLUMNS:
        np.testing.assert_array_equal(found[f'session/{column}'][:, 0], batch[f'target/{column}'])
    np.testing.assert_array_equal(found['session/length'][:, 0], 2 * real)
    np.testing.assert_array_equal(found['valid'][:, 0], real)
    for head in HEADS:
        np.testing.assert_array_equal(found[f'label/{head}'][:, 0], batch[f'label/{head}'])


def test_shown_sessions_are_what_the_model_learns_from(log):
    task = make_task({**worlds.REWARD, 'features': worlds.FEATURES}, log.schema)
    assert task.module.columns == worlds.COLUMNS
    batch = worlds.sent(worlds.make_source(log, mode='reward')[0])
    assert sorted(task.given_ids(batch)['item']) == ['history/item', 'target/item']
    assert sorted(task.given_ids(as_sessions(batch))['item']) == ['history/item', 'session/item']
    setup = worlds.make_setup(task)
    state = worlds.drawn(setup, worlds.make_source(log, mode='reward'), 0.5)
    _, metrics = jax.eval_shape(make_train_step(setup), state.replace(scratch=new_scratch(setup, batch)), batch)
    assert {f'loss_{head}' for head in HEADS} <= metrics.keys()


def test_calibration_finds_the_line_that_labels_were_drawn_from():
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(40_000, 4)), np.array([[0.5, 0.3], [1.0, 0.0], [2.0, -2.0], [1.3, 1.0]])
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    labels = rng.random(logits.shape) < sigmoid(logits * truth[:, 0] + truth[:, 1])
    found = np.array(calibration.fit(labels, sigmoid(logits).astype(np.float32)))
    np.testing.assert_allclose(found, truth, atol=0.06)
    # What a likelihood with a free shift is known for: predictions sum to the labels.
    calibrated = sigmoid(logits * found[:, 0] + found[:, 1])
    np.testing.assert_allclose(calibrated.sum(0), labels.sum(0), rtol=1e-3)


def test_calibration_of_labels_that_are_all_alike_is_finite():
    found = calibration.fit(np.zeros((9, 4)), np.linspace(0, 1, 36).reshape(9, 4))
    assert np.isfinite(np.array(found)).all() and all(shift < 0 for _, shift in found)
    with pytest.raises(ValueError, match='no session to calibrate on'):
        calibration.fit(np.zeros((0, 4)), np.zeros((0, 4)))


def test_a_calibration_is_kept(tmp_path):
    path = tmp_path / 'calibration.npz'
    calibration.save(path, worlds.CALIBRATION, 7)
    assert calibration.load(path) == (worlds.CALIBRATION, 7)
    calibration.save(path, worlds.CALIBRATION[:3], 7)
    with pytest.raises(ValueError, match=r'calibration\.npz calibrates \(3, 2\), not a scale and a shift'):
        calibration.load(path)
    with pytest.raises(ValueError, match='is missing: run `jaxrec onerec reward`'):
        calibration.load(tmp_path / 'none.npz')


def test_a_judge_looks_up_what_the_source_would_have_read(log):
    judge, state = worlds.world().judge, worlds.world().judging
    source = worlds.make_source(log, mode='reward', part='validation', batch_size=worlds.CHUNK)
    batch = source[1]
    shown, other = batch['target/item'], np.roll(batch['target/item'], 1, 0)
    short, dead = shown * [1, 0], np.full_like(shown, -1)
    items = np.stack([shown, other, short, dead, shown[:, ::-1], other], 1)
    probability, reward = judge(batch['host/event'], items)
    size = (worlds.CHUNK, worlds.BEAMS)
    assert probability.shape == (*size, 4) and reward.shape == size and np.isfinite(reward).all()

    plain = dataclasses.replace(judge.task, calibration=((1.0, 0.0),) * 4)
    sent = worlds.sent(batch)
    rows = emb.lookup(plain.tables, state.tables, plain.ids(sent))
    raw = np.asarray(jax.jit(plain.predict)(state.params, {}, rows, sent)['probability'][:, 0], np.float64)
    scale, shift = np.array(worlds.CALIBRATION).T
    want = 1 / (1 + np.exp(-((np.log(raw) - np.log1p(-raw)) * scale + shift)))
    np.testing.assert_allclose(probability[:, 0], want, rtol=1e-4)
    np.testing.assert_allclose(reward, probability.sum(-1), rtol=1e-5)
    # What stands beside a session does not count.
    turned, _ = judge(batch['host/event'], items[:, ::-1])
    np.testing.assert_allclose(turned[:, ::-1], probability, rtol=1e-5)
    assert (probability[:, 2] != probability[:, 0]).any()


def test_devices_need_not_divide_the_requests_of_a_judge(log):
    items = np.array([[[2, 3], [4, 5]], [[6, 7], [2, -1]], [[9, 8], [3, 2]]])
    requests = worlds.make_source(log)[0]['host/event'][:3]
    judge, _ = worlds.make_judge(log, (4, 2))
    whole = judge(np.resize(requests, 8), np.resize(items, (8, 2, 2)))
    for want, got in zip(whole, judge(requests, items), strict=True):
        assert len(got) == 3
        np.testing.assert_allclose(got, want[:3], rtol=1e-5)
