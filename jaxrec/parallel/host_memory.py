"""Keeping freed host memory in the process, for steps on the CPU.

XLA's CPU backend takes the temporaries of every step from malloc and gives them back. glibc returns blocks of
that size to the kernel at once, so each step pays for fresh pages again, which can take half of its time.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # malloc.h


def keep_freed_memory() -> bool:
    """Asks glibc to keep freed memory for the next step instead of returning it to the kernel.

    Call it at the start of a program, before JAX makes arrays. The process holds its peak memory until it
    ends.

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
    return all(taken)
