"""What the loop remembers, when it may stop, and options it refuses."""

import dataclasses
import os
import signal
import threading

import pytest

from jaxrec.training.progress import LoopOptions, Progress, progress_bar, stop_signal


def test_a_report_is_the_mean_of_the_window_and_empties_it():
    progress = Progress()
    for loss, norm in ((1.0, 4.0), (2.0, 6.0), (6.0, 8.0)):
        progress.add({'loss': loss, 'grad_norm': norm})
    progress.add({'loss': 3.0})
    assert progress.report() == {'loss': 12.0 / 4, 'grad_norm': 18.0 / 3}
    assert progress.report() == {}


@pytest.mark.parametrize(('sign', 'best'), [(1, (0.7, 3, 2)), (-1, (0.4, 4, 1))])
def test_the_first_of_equal_values_is_the_best(sign, best):
    progress = Progress()
    for step, value in enumerate([0.5, 0.6, 0.7, 0.4, 0.7], 1):
        progress.judge(value, step, sign, patience=None)
    assert (progress.best, progress.best_step, progress.bad) == best and not progress.done


def test_progress_survives_a_checkpoint():
    progress = Progress(best=0.5, best_step=2, bad=1)
    progress.add({'loss': 1.0})
    assert Progress(**dataclasses.asdict(progress)) == progress


def test_a_signal_is_kept_and_the_handler_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_signal() as received:
        assert not received
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_keeps_its_own_way_of_stopping():
    seen: list = []

    def work():
        before = signal.getsignal(signal.SIGTERM)
        with stop_signal() as received:
            seen.append((received, signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [([], True)]


def test_the_bar_is_for_terminals(capsys):
    with progress_bar(9, 4) as bar:
        bar.update()
    assert bar.disable and capsys.readouterr().err == ''


@pytest.mark.parametrize('name', ['steps', 'log_every', 'eval_every', 'checkpoint_every', 'patience'])
def test_bad_options(name):
    with pytest.raises(ValueError, match=rf'train\.{name} = -1: .*give '):
        LoopOptions(**({'steps': 10} | {name: -1}))
