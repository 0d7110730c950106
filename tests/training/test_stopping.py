"""Signals: the first stops a run after a step, the second ends it at once, whatever it does meanwhile."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import jax
import pytest
from jax.experimental import multihost_utils

from jaxrec.training.stopping import stop_agreed, stop_awaited, stop_signal
from tests.conftest import slow_cases_but_for


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_kept_and_the_handler_comes_back(number):
    before = signal.getsignal(number)
    with stop_signal() as received:
        assert not received
        os.kill(os.getpid(), number)
        assert received == [number]
    assert signal.getsignal(number) is before


# Python's own work, and one call that lets no handler run before it ends, as a compilation does not.
BUSY = """
import hashlib, sys, threading, time
from jaxrec.training.stopping import stop_signal
with stop_signal() as received:
    print('busy', flush=True)
    if sys.argv[1] == 'call':
        hashlib.pbkdf2_hmac('sha256', b'a', b'b', 100_000_000)
    else:
        while True:
            time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ('second', 'kind'),
    slow_cases_but_for(
        ((signal.SIGTERM, 'python'), (signal.SIGINT, 'call')),
        [(second, kind) for second in (signal.SIGTERM, signal.SIGINT) for kind in ('python', 'call')],
    ),
)
def test_a_second_signal_ends_the_process_at_once(repository, second, kind):
    command = [sys.executable, '-c', BUSY, kind]
    process = subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == 'busy\n'
        process.send_signal(signal.SIGTERM)
        assert 'SIGTERM: saves and stops after a step or two' in process.stderr.readline()
        process.send_signal(second)
        told = process.stderr.read()
        assert process.wait(timeout=10) == 128 + second
        assert told.startswith(f'error: {second.name} is the second signal: ended at once'), told
    finally:
        process.kill()


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_with_others_both_signals_are_told_to_the_service(number, monkeypatch):
    """A handler of C stands for that of JAX's service, which is none of Python's."""
    told, kept = [], signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    system = ctypes.CDLL(None).signal
    system.argtypes, system.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(told.append)
    address = ctypes.cast(handler, ctypes.c_void_p).value
    before = system(signal.SIGTERM, address)
    try:
        with stop_signal():
            os.kill(os.getpid(), number)
            while not told:
                time.sleep(0.01)
        assert told == [signal.SIGTERM] and system(signal.SIGTERM, before) == address
        assert signal.getsignal(signal.SIGTERM) is kept
    finally:
        system(signal.SIGTERM, before)


def test_one_process_stops_by_its_own_signal_and_several_when_all_do(monkeypatch):
    assert not stop_agreed([], 3) and stop_agreed([signal.SIGTERM], 3)
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    asked = []
    monkeypatch.setattr(multihost_utils, 'reached_preemption_sync_point', lambda at: asked.append(at) or at > 3)
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
    monkeypatch.setattr('jaxrec.training.stopping.gather', lambda mine: [mine, *others])
    reached = lambda step: steps.append(step) or answers.get(step, False)
    monkeypatch.setattr(multihost_utils, 'reached_preemption_sync_point', reached)
    assert stop_awaited(start) == stops and steps == asked


def test_one_process_hears_its_signals_itself():
    assert not stop_awaited(500)
