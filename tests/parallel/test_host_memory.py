"""Freed memory stays: a second step of the same size touches no fresh page."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from jaxrec.parallel import host_memory, make_mesh

PROGRAM = """
import resource, sys
from jaxrec.parallel.host_memory import keep_freed_memory
import numpy as np
kept = keep_freed_memory() if sys.argv[1] == 'keep' else None
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(8_000_000).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(kept, faults())
"""

ARENAS = """
import ctypes, sys
import experiments.benchmark
import jax, jax.numpy as jnp
jax.block_until_ready(jax.jit(lambda x: x @ x)(jnp.ones((500, 500))))
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
out = libc.fopen(sys.argv[1].encode(), b'w')
libc.malloc_info(0, ctypes.c_void_p(out))
libc.fclose(ctypes.c_void_p(out))
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='asks glibc, which only Linux has')
def test_a_main_has_one_arena_whatever_threads_its_imports_start(tmp_path):
    told = tmp_path / 'arenas.xml'
    subprocess.run([sys.executable, '-c', ARENAS, told], check=True)
    assert told.read_text().count('<heap nr=') == 1


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='asks glibc, which only Linux has')
def test_the_second_time_costs_no_pages():
    def run(how):
        command = [sys.executable, '-c', PROGRAM, how]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    kept, faults = run('keep')
    assert kept == 'True'
    assert int(faults) < int(run('default')[1]) / 10


def huge_bytes():
    """Of this process, on huge pages."""
    lines = Path('/proc/self/smaps_rollup').read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith('AnonHugePages')).split()[1])


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='asks the kernel, as Linux alone lets one')
def test_large_arrays_move_to_huge_pages_and_keep_their_numbers(eight_devices):
    mesh = make_mesh((2, 1), eight_devices[:2])
    there = jax.NamedSharding(mesh, jax.P('data'))
    large = jax.jit(lambda: jnp.arange(2 * host_memory.LARGE // 4, dtype=jnp.int32), out_shardings=there)()
    before, total = huge_bytes(), int(large.sum())
    moved = host_memory.use_huge_pages({'large': large, 'small': jnp.ones(1000)})
    if not moved:
        pytest.skip('this kernel gives no huge pages')
    assert large.nbytes - 4 * host_memory.HUGE <= moved <= large.nbytes
    assert huge_bytes() - before >= 0.9 * moved
    assert int(large.sum()) == total
    assert int(large[-1]) == large.size - 1


def test_an_array_that_is_shorter_than_a_page_asks_for_nothing():
    refuse = SimpleNamespace(madvise=lambda *_: pytest.fail('asked'))
    assert host_memory._collapse(refuse, 5, host_memory.HUGE) == 0


def test_a_kernel_that_refuses_is_told_of():
    answers = iter([0, -1])
    libc = SimpleNamespace(madvise=lambda *_: next(answers))
    assert host_memory._collapse(libc, 0, 3 * host_memory.HUGE + 7) == 0


@pytest.mark.parametrize('seconds', [0.001, 0.5])
def test_a_long_step_is_given_time_to_free_what_it_used(monkeypatch, seconds):
    clock, slept = iter([10.0, 10.0 + seconds]), []
    monkeypatch.setattr(host_memory.time, 'perf_counter', lambda: next(clock))
    monkeypatch.setattr(host_memory.time, 'sleep', slept.append)
    host_memory.await_on_cpu(jnp.zeros(3))
    monkeypatch.undo()
    assert slept == ([] if seconds < host_memory.LONG_STEP_S else [pytest.approx(seconds / 100)])


def test_what_is_awaited_is_there():
    x = jax.jit(lambda x: jax.lax.fori_loop(0, 60, lambda _, x: jnp.tanh(x @ x), x))(jnp.ones((300, 300)))
    host_memory.await_on_cpu({'state': x})
    assert x.is_ready()
