"""How signals stop a run: the first ends it after a step, with a checkpoint; the second ends it at once.

Python runs no handler while XLA compiles, and two signals in that time look like one. So a thread reads the number of
each signal from a pipe, which the system writes at once.
"""

import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils

from jaxrec.parallel.processes import gather

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def stop_signal() -> Iterator[list[int]]:
    """Yields a list that fills when SIGTERM or SIGINT arrives; a second signal ends the process at once.

    Of several processes JAX heeds both signals, see `stop_agreed`, and the list is not used. Earlier handlers return.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may handle signals; a caller's thread stops in its own way
        return
    tell: Callable[[int], Any] = lambda number: None
    put_back: Callable[[], Any] = lambda: None
    if jax.process_count() > 1:
        service = _service()
        if service is None:  # JAX was started without it, so that nothing would be saved
            yield received
            return
        tell, put_back = service
    with contextlib.ExitStack() as stack:
        stack.enter_context(_listened_to(tell))
        stack.callback(put_back)  # right after Python's handlers are gone
        stack.enter_context(_handled(lambda number, frame: received.append(number)))
        yield received


@contextlib.contextmanager
def _handled(take: Callable[[int, Any], None]) -> Iterator[None]:
    """Has both signals handled in Python."""
    before = {number: signal.signal(number, take) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            # One that was not installed from Python cannot be put back by it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def _listened_to(tell: Callable[[int], Any]) -> Iterator[None]:
    """Has a thread hear of signals as they come: it tells of the first and ends the process at the second."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=_listen, args=(reading, tell), name='stop signals', daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)
        thread.join()
        os.close(reading)


def _listen(reading: int, tell: Callable[[int], Any]) -> None:
    heard = 0
    while arrived := os.read(reading, 1):
        number = arrived[0]
        if number not in SIGNALS:  # all that Python handles are written there
            continue
        heard += 1
        name = signal.Signals(number).name
        if heard > 1:
            print(
                f'error: {name} is the second signal: ended at once, without a checkpoint. The same command '
                'goes on from the last one',
                file=sys.stderr,
                flush=True,
            )
            os._exit(128 + number)  # as a shell has it
        log.warning('%s: saves and stops after a step or two; a second signal ends the run at once', name)
        tell(number)


def _service() -> tuple[Callable[[int], None], Callable[[], Any]] | None:
    """What tells JAX's service of a signal, and what puts its handler back; None where there is no service.

    Python does not see its handler of SIGTERM, which notes the signal, returns, and may be called by anyone.
    """
    system = ctypes.CDLL(None).signal
    system.argtypes, system.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    address = system(signal.SIGTERM, int(signal.SIG_IGN))
    put_back = lambda: system(signal.SIGTERM, address)
    put_back()
    if address in (None, int(signal.SIG_DFL), int(signal.SIG_IGN)):
        return None
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(address)
    return lambda number: handler(signal.SIGTERM), put_back


def stop_agreed(received: list[int], step: int) -> bool:
    """Whether the run ends after this step; to be asked once a step.

    With several processes: whether one has got SIGTERM and this is the step, a few later, at which all stop.
    """
    if jax.process_count() == 1:
        return bool(received)
    return bool(multihost_utils.reached_preemption_sync_point(step))


def stop_awaited(start: int) -> bool:
    """Whether SIGTERM came to any process before the loop; asked once, by all, at `start` steps.

    JAX counts the steps that it is asked for, and would name one long past.
    """
    if jax.process_count() == 1:
        return False
    asked = bool(multihost_utils.reached_preemption_sync_point(1)) if start > 1 else False
    stopped = any(gather(asked))
    if start > 1 and not stopped:
        stopped = any(gather(bool(multihost_utils.reached_preemption_sync_point(start))))
    return stopped
