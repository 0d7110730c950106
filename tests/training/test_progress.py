"""What the loop remembers, when it may stop, and options it refuses."""

import dataclasses
import math
import os
import signal
import subprocess
import sys
import threading

import jax
import pytest
from jax.experimental import multihost_utils

from jaxrec.training.progress import (
    LoopOptions,
    Progress,
    progress_bar,
    stop_agreed,
    stop_awaited,
    stop_signal,
)


def test_a_report_is_the_mean_of_the_window_and_empties_it():
    progress = Progress()
    for loss, norm in ((1.0, 4.0), (2.0, 6.0), (6.0, 8.0)):
        progress.add({'loss': loss, 'grad_norm': norm})
    progress.add({'loss': 3.0})
    assert progress.report() == {'loss': 12.0 / 4, 'grad_norm': 18.0 / 3}
    assert progress.report() == {}
    progress.skip(7, most=1)
    assert progress.report() == {'skipped': 1} == progress.report()  # of the whole run
    with pytest.raises(ValueError, match=r'not finite in step 9, after 1 others .* or let more be skipped'):
        progress.skip(9, most=1)


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


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_kept_and_the_handler_comes_back(number):
    before = signal.getsignal(number)
    with stop_signal() as received:
        assert not received
        os.kill(os.getpid(), number)
        assert received == [number]
    assert signal.getsignal(number) is before


TWICE = """
import os, signal
from jaxrec.training.progress import stop_signal
with stop_signal() as received:
    os.kill(os.getpid(), signal.SIGINT)
    print('after the first', flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print('after the second', flush=True)
"""


def test_a_second_signal_ends_the_process(repository):
    ended = subprocess.run([sys.executable, '-c', TWICE], cwd=repository, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (-signal.SIGTERM, 'after the first\n'), ended.stderr


def test_one_process_stops_by_its_own_signal_and_several_when_all_do(monkeypatch):
    assert not stop_agreed([], 3) and stop_agreed([signal.SIGTERM], 3)
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    asked = []
    monkeypatch.setattr(
        multihost_utils, 'reached_preemption_sync_point', lambda at: asked.append(at) or at > 3
    )
    before = signal.getsignal(signal.SIGTERM)
    with stop_signal() as received:
        assert signal.getsignal(signal.SIGTERM) is before and received == []
    assert not stop_agreed([signal.SIGTERM], 3) and stop_agreed([], 4) and asked == [3, 4]


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


OPTIONS = ['steps', 'log_every', 'eval_every', 'checkpoint_every', 'patience', 'skip_not_finite']


@pytest.mark.parametrize('name', OPTIONS)
def test_bad_options(name):
    with pytest.raises(ValueError, match=rf'train\.{name} = -1: .*give '):
        LoopOptions(**({'steps': 10} | {name: -1}))


def test_a_value_that_is_none_is_worse_than_all():
    progress = Progress()
    for step, value in enumerate((math.nan, 0.5, math.nan, 0.6), 1):
        progress.judge(value, step, 1, patience=3)
    assert (progress.best, progress.best_step, progress.bad, progress.done) == (0.6, 4, 0, False)


@pytest.mark.parametrize(
    ('start', 'others', 'answers', 'asked', 'stops'),
    [
        (0, [False], {}, [], False),  # the loop asks for step 1 itself
        (500, [False], {}, [1, 500], False),
        (500, [False], {1: True}, [1], True),  # it came while the run was restored
        (500, [True], {}, [1], True),  # to another process
        (500, [False], {500: True}, [1, 500], True),
    ],
)
def test_a_signal_that_came_before_the_loop_is_heard(start, others, answers, asked, stops, monkeypatch):
    steps = []
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    monkeypatch.setattr('jaxrec.training.progress.gather', lambda mine: [mine, *others])
    reached = lambda step: steps.append(step) or answers.get(step, False)
    monkeypatch.setattr(multihost_utils, 'reached_preemption_sync_point', reached)
    assert stop_awaited(start) == stops and steps == asked


def test_one_process_hears_its_signals_itself():
    assert not stop_awaited(500)
