"""Peaks of memory are this process's own, and can be begun anew."""

import mmap
import os
import subprocess
import sys

import pytest

from jaxrec.parallel import peak_memory as memory
from tests.conftest import REPOSITORY

_LARGE = """
import mmap, subprocess, sys
block = mmap.mmap(-1, 2**30)  # not of malloc, which may keep what is freed
for _ in range(2**10):
    block.write(bytes(2**20))
subprocess.run([sys.executable, '-c', 'from jaxrec.parallel.peak_memory import peak_mb; print(peak_mb())'], check=True)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='as Linux counts')
def test_a_small_program_started_by_a_large_one_has_its_own_peak():
    environment = os.environ | {'PYTHONPATH': str(REPOSITORY), 'JAX_PLATFORMS': 'cpu'}
    run = subprocess.run([sys.executable, '-c', _LARGE], env=environment, capture_output=True, text=True, check=True)
    assert 5 < float(run.stdout) < 900


@pytest.mark.skipif(sys.platform != 'linux', reason='writes to /proc')
def test_a_forgotten_peak_counts_for_the_process_and_not_for_what_follows():
    with mmap.mmap(-1, 2**28) as block:
        for _ in range(2**8):
            block.write(bytes(2**20))
        whole = memory.peak_mb()
    if not memory.forget_peak():
        pytest.skip('this system lets no process forget its peak')
    assert memory.peak_since_mb() < whole - 150 and memory.peak_mb() > whole - 8
    assert memory.forgotten()


def test_where_the_system_tells_no_status_the_peak_is_that_of_its_resources(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, 'STATUS', tmp_path / 'missing')
    assert memory.peak_since_mb() > 5


def test_a_system_that_forgets_no_peaks_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, 'CLEAR', tmp_path / 'missing' / 'clear_refs')
    assert not memory.forget_peak()
