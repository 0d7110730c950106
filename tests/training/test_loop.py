"""The loop: when it reports, evaluates, saves and stops; what a signal and a spoiled loss do."""

import os
import signal

import jax
import numpy as np
import pytest

from jaxrec.parallel import put_batch
from jaxrec.training.checkpoints import Checkpoints
from jaxrec.training.loop import train
from jaxrec.training.progress import LoopOptions, Progress
from jaxrec.training.state import abstract_state, init_state
from jaxrec.training.step import make_train_step
from jaxrec.training.writers import MetricWriter, read_metrics
from tests.training.worlds import ROWS, Loader, make_batch, make_setup

V = {'item': ROWS}


@pytest.fixture(scope='module')
def parts():
    """A setup, its step and its first state, made once for all tests."""
    setup = make_setup()
    return setup, make_train_step(setup), init_state(setup, put_batch(make_batch()), 0)


def run(parts, workdir, options, scores=None, on_step=None, spoil=None, resume=False, on_evaluate=None, watch=None):
    """Runs the loop with scripted validation scores {step: value}; returns what it returns and its lines."""
    setup, step_fn, first = parts

    def watched(state, batch):
        at = int(state.step) + 1
        state, metrics = step_fn(state, batch)
        if on_step is not None:
            on_step(at)
        return state, metrics

    def evaluate(state):
        if on_evaluate is not None:
            on_evaluate(int(state.step))
        return {'auc': (scores or {}).get(int(state.step), 0.5)}

    loader = Loader(spoil)
    with Checkpoints(workdir / 'checkpoints', keep=2, monitor='auc') as checkpoints:
        writer_step, state, progress = 0, jax.tree.map(lambda x: x.copy(), first), Progress()
        if resume:
            restored = checkpoints.restore(abstract_state(setup, put_batch(make_batch())), table_rows=V)
            state, progress = restored.state, Progress(**restored.progress)
            loader.position = writer_step = int(state.step)
        writer = MetricWriter(workdir, writer_step)
        saver = _WithoutData(checkpoints)
        try:
            result = train(setup, watched, state, progress, loader, evaluate, saver, writer, options, watch=watch)
        finally:
            writer.close()
        return result, read_metrics(workdir / 'metrics.jsonl'), checkpoints.steps


class _WithoutData:
    """Checkpoints that leave the position of this file's loader out: it is the step."""

    def __init__(self, checkpoints):
        self.checkpoints = checkpoints

    def save(self, *arguments, data=None, **options):
        self.checkpoints.save(*arguments, **options)


def steps_of(lines, part):
    return [line['step'] for line in lines if line['part'] == part]


def test_reports_evaluations_and_checkpoints_come_when_they_should(parts, tmp_path):
    options = LoopOptions(steps=10, log_every=4, eval_every=3, checkpoint_every=5)
    (state, progress, stopped), lines, kept = run(parts, tmp_path, options, scores={6: 0.9})
    assert steps_of(lines, 'train') == [4, 8, 10]
    assert steps_of(lines, 'validation') == [3, 6, 9, 10]
    assert kept == [6, 9, 10]  # the best and the latest two
    assert int(state.step) == 10 and not stopped
    assert (progress.best, progress.best_step, progress.bad) == (0.9, 6, 2)


def test_a_report_is_the_mean_since_the_last(parts, tmp_path):
    each = run(parts, tmp_path / 'each', LoopOptions(steps=4, log_every=1))[1]
    both = run(parts, tmp_path / 'both', LoopOptions(steps=4, log_every=2))[1]
    losses = [line['loss'] for line in each if line['part'] == 'train']
    means = [line['loss'] for line in both if line['part'] == 'train']
    np.testing.assert_allclose(means, np.reshape(losses, (2, 2)).mean(1), rtol=1e-12)


@pytest.mark.parametrize(('patience', 'last'), [(0, 4), (1, 6), (2, 12), (None, 12)])
def test_patience(parts, tmp_path, patience, last):
    scores = {2: 0.6, 4: 0.6, 6: 0.55, 8: 0.7, 10: 0.65, 12: 0.6}  # an equal value is no new best
    options = LoopOptions(steps=12, eval_every=2, patience=patience)
    (state, progress, _), lines, _ = run(parts, tmp_path, options, scores)
    assert int(state.step) == last == steps_of(lines, 'validation')[-1]
    assert progress.done == (patience in (0, 1))
    if progress.done:  # the same command has nothing left to do
        (state, _, _), again, _ = run(parts, tmp_path, options, scores, resume=True)
        assert int(state.step) == last and again == lines


def test_a_smaller_metric_may_be_better(parts, tmp_path):
    options = LoopOptions(steps=6, eval_every=2, maximize=False, patience=0)
    (_, progress, _), _, _ = run(parts, tmp_path, options, {2: 0.6, 4: 0.5, 6: 0.7})
    assert (progress.best, progress.best_step, progress.done) == (0.5, 4, True)


def test_sigterm_saves_and_the_run_goes_on_as_if_nothing_had_happened(parts, tmp_path):
    options = LoopOptions(steps=9, log_every=4, eval_every=6)
    (want, _, _), unbroken, _ = run(parts, tmp_path / 'whole', options)
    before = signal.getsignal(signal.SIGTERM)
    kill = lambda at: os.kill(os.getpid(), signal.SIGTERM) if at == 3 else None
    (state, _, stopped), lines, kept = run(parts, tmp_path / 'cut', options, on_step=kill)
    assert stopped and int(state.step) == 3 and kept == [3] and lines == []
    assert signal.getsignal(signal.SIGTERM) is before
    (got, _, stopped), lines, _ = run(parts, tmp_path / 'cut', options, resume=True)
    assert not stopped and lines == unbroken
    np.testing.assert_array_equal(got.params['w'], want.params['w'])
    np.testing.assert_array_equal(got.tables['item'], want.tables['item'])


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize('moment', ['evaluation', 'save'])
def test_a_signal_in_the_midst_of_something_lets_it_finish(parts, tmp_path, monkeypatch, moment, number):
    stop = lambda *_: os.kill(os.getpid(), number)
    saving, save = {'on_evaluate': stop} if moment == 'evaluation' else {}, Checkpoints.save

    def stopped_save(*arguments, **options):
        if not os.listdir(tmp_path / 'checkpoints'):
            stop()
        save(*arguments, **options)

    if moment == 'save':
        monkeypatch.setattr(Checkpoints, 'save', stopped_save)
    (state, _, stopped), lines, kept = run(parts, tmp_path, LoopOptions(steps=9, eval_every=3), **saving)
    assert stopped and int(state.step) == 4 and kept == [3, 4] and steps_of(lines, 'validation') == [3]


def test_a_signal_in_the_last_evaluation_is_told(parts, tmp_path):
    """Whoever goes on from here, with another iteration or stage, must know of it."""
    stop = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    options = LoopOptions(steps=3, eval_every=3)
    (state, _, stopped), lines, kept = run(parts, tmp_path, options, on_evaluate=stop)
    assert stopped and int(state.step) == 3 and kept == [3] and steps_of(lines, 'validation') == [3]
    (_, _, stopped), _, _ = run(parts, tmp_path, options, resume=True)
    assert not stopped


class ChangingLog:
    """A log that has changed when it is looked at for the second time."""

    def __init__(self):
        self.looks = 0

    def check(self):
        self.looks += 1
        if self.looks > 1:
            raise ValueError('log/events/item.npy was cut')
        return {'fingerprint': 'f'}


def test_no_checkpoint_is_written_of_a_log_that_has_changed(parts, tmp_path):
    options = LoopOptions(steps=9, checkpoint_every=2)
    with pytest.raises(ValueError, match=r'item\.npy was cut'):
        run(parts, tmp_path, options, watch=ChangingLog())
    with Checkpoints(tmp_path / 'checkpoints') as checkpoints:
        assert checkpoints.steps == [2]
        restored = checkpoints.restore(abstract_state(parts[0], put_batch(make_batch())), table_rows=V)
    assert restored.trained_on == {'fingerprint': 'f'}


@pytest.fixture(scope='module')
def skipping():
    """The parts of a run that may skip steps."""
    setup = make_setup(skip_not_finite=True)
    return setup, make_train_step(setup), init_state(setup, put_batch(make_batch()), 0)


def test_steps_that_are_not_finite_are_skipped_and_counted(skipping, tmp_path):
    each, few = LoopOptions(steps=8, log_every=1), LoopOptions(steps=8, log_every=4, skip_not_finite=1)
    unspoiled = [line['loss'] for line in run(skipping, tmp_path / 'a', each)[1] if line['part'] == 'train']
    (state, progress, _), lines, _ = run(skipping, tmp_path / 'b', few, spoil=spoiled)
    assert int(state.step) == 8 and progress.skipped == 1 and np.isfinite(state.tables['item']).all()
    first, last = (line for line in lines if line['part'] == 'train')
    np.testing.assert_allclose(first['loss'], np.mean(unspoiled[:4]))
    assert 'skipped' not in first and last['skipped'] == 1 and np.isfinite(last['loss'])

    options = LoopOptions(steps=8, log_every=4, checkpoint_every=4, skip_not_finite=1)
    twice = lambda position, batch: spoiled(5 if position == 7 else position, batch)
    with pytest.raises(ValueError, match=r'loss or gradient not finite in step 7, after 1 others'):
        run(skipping, tmp_path / 'c', options, spoil=twice)
    with Checkpoints(tmp_path / 'c' / 'checkpoints') as checkpoints:
        assert checkpoints.steps == [4]


def spoiled(position, batch):
    """A label that is not finite in batch 5."""
    return batch | ({'label': batch['label'] * np.nan} if position == 5 else {})


@pytest.mark.parametrize('options', [{'log_every': 8}, {'eval_every': 6}, {'checkpoint_every': 3}])
def test_a_loss_that_is_not_finite_ends_the_run_at_its_step(parts, tmp_path, options):
    options = LoopOptions(steps=8, **({'checkpoint_every': 3, 'log_every': 100} | options))
    message = r'grad_norm, loss not finite in step 5; the checkpoints before it are intact\. With another config'
    with pytest.raises(ValueError, match=message):
        run(parts, tmp_path, options, spoil=spoiled)
    with Checkpoints(tmp_path / 'checkpoints', monitor='auc') as checkpoints:
        assert checkpoints.steps == [3]
        restored = checkpoints.restore(abstract_state(parts[0], put_batch(make_batch())), table_rows=V)
    assert np.isfinite(restored.state.tables['item']).all()


def test_an_unknown_monitor_is_named(parts, tmp_path):
    options = LoopOptions(steps=2, monitor='ndcg')
    with pytest.raises(ValueError, match=r"train\.monitor = 'ndcg' is not among the metrics \['auc'\]; name one"):
        run(parts, tmp_path, options)


def test_an_id_out_of_range_ends_the_run(parts, tmp_path):
    spoil = lambda position, batch: batch | {'candidate/item': batch['candidate/item'] + ROWS}
    with pytest.raises(ValueError, match=r"'candidate/item' of table 'item' holds id \d+, outside \[0, 19\)"):
        run(parts, tmp_path, LoopOptions(steps=2), spoil=spoil)
