"""Keeping freed host memory in the process, for steps on the CPU.

XLA's CPU backend takes the temporaries of every step from malloc and gives them back. glibc returns blocks of
that size to the kernel at once, so each step pays for fresh pages again, which can take half of its time.

The compiler takes as much again, in small pieces that no step's temporaries fit between: what it has freed
is given back when it is done.
"""

import ctypes
import functools
import sys
import time
from typing import Any

import jax

# Of a compilation, from which on what it has freed is worth to be looked for.
LONG_S = 0.3
# Of a step, from which on its temporaries matter more than the hundredth of its time spent waiting for them.
LONG_STEP_S = 0.05

_COMPILED = '/jax/core/compile/backend_compile_duration'
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # malloc.h


def keep_freed_memory() -> bool:
    """Asks glibc to keep freed memory for the next step instead of returning it to the kernel.

    Call it at the start of a program, before it imports more than JAX: a thread that took memory earlier, as
    some packages start one when they are imported, has an arena of its own, which threads of later steps may
    be given; of it nothing is kept, and a step's temporaries are taken beside those that are. Until it ends
    the process holds what its steps took at their peak.

    Returns:
      Whether this platform's allocator took the request; False, and nothing changed, elsewhere than on glibc.
    """
    if not sys.platform.startswith('linux'):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, 'gnu_get_libc_version'):  # musl has no mallopt
        return False
    # One arena: those of further threads are heaps of 64 MiB, which cannot hold a step's temporaries.
    settings = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26))
    taken = [
        libc.mallopt(name, value) == 1 for name, value in settings
    ]  # each is asked, whatever the last said
    jax.monitoring.register_event_duration_secs_listener(functools.partial(_give_back, libc))
    return all(taken)


def _give_back(libc: ctypes.CDLL, event: str, seconds: float, **_: Any) -> None:
    """Returns free pages to the kernel after a long compilation."""
    if event == _COMPILED and seconds > LONG_S:
        libc.malloc_trim(0)


def await_on_cpu(x: Any) -> None:
    """Waits, on the CPU, for what a step returns, before anything is done for the next one.

    A step keeps all cores busy, so the next batch is no sooner there for being made beside it; but what is
    taken from malloc meanwhile comes to lie behind the step's temporaries, and those of the next step no
    longer fit where these were: a process held three of them. The worker that ends a step frees them just
    after it has said so, which a long step is given time for. Accelerators run behind their host and are left
    to.

    Args:
      x: arrays, such as the state.
    """
    if jax.default_backend() != 'cpu':
        return
    start = time.perf_counter()
    jax.block_until_ready(x)
    if (waited := time.perf_counter() - start) > LONG_STEP_S:
        time.sleep(waited / 100)
