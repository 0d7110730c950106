"""Freed memory stays: a second step of the same size touches no fresh page."""

import subprocess
import sys

import pytest

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


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='asks glibc, which only Linux has')
def test_the_second_time_costs_no_pages():
    def run(how):
        command = [sys.executable, '-c', PROGRAM, how]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    kept, faults = run('keep')
    assert kept == 'True'
    assert int(faults) < int(run('default')[1]) / 10
