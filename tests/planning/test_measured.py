"""What a plan says of memory, beside what the same step takes on simulated devices."""

import json
import os
import re
import subprocess
import sys

import pytest

from jaxrec.parallel import peak_memory as memory
from jaxrec.planning.chips import parse_topology
from jaxrec.planning.measured import check_measurable, describe_measured
from tests.conftest import REPOSITORY

ROWS = [f'--rows={name}=200000' for name in ('user', 'item', 'category')]
CASES = {
    'can': ['--config={repository}/configs/can/simulated.py:CAN-DNN', *ROWS],
    'onerec': ['--config={repository}/configs/onerec/simulated.py:OneRec', '--batch=512'],
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
@pytest.mark.parametrize('name', CASES)
def test_the_planned_peak_is_within_a_tenth_of_the_measured_one(name, tmp_path):
    given = [text.format(repository=REPOSITORY) for text in CASES[name]]
    command = [sys.executable, '-m', 'jaxrec', 'plan', *given, '--topology=cpu:8', '--mesh=4,2', '--measure']
    environment = os.environ | {'PYTHONPATH': str(REPOSITORY), 'JAX_PLATFORMS': 'cpu'}
    run = subprocess.run(
        [*command, '--output=plan.json'], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-3000:]
    (plan,) = json.loads((tmp_path / 'plan.json').read_text())['plans']
    planned = plan['memory']['peak'] * plan['devices']
    assert planned > 300 * 2**20  # else what the runtime itself takes would count
    assert plan['measured_peak'] == pytest.approx(planned, rel=0.1)
    assert re.search(r'measured +[\d,]+ MiB on all devices while 4 steps ran, planned', run.stdout)


@pytest.mark.parametrize(('topologies', 'step'), [(('cpu:8', 'v5e:2x4'), 'train'), (('cpu:8',), 'predict')])
def test_what_cannot_be_run_here_is_not_measured(topologies, step):
    with pytest.raises(ValueError, match=r'--measure runs what it plans: give --topology=cpu:8'):
        check_measurable([parse_topology(name) for name in topologies], step)


def test_a_system_that_tells_no_peaks_is_not_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, 'CLEAR', tmp_path / 'missing' / 'clear_refs')
    with pytest.raises(ValueError, match=r'--measure needs /proc/self/statm and'):
        check_measurable([parse_topology('cpu:8')], 'train')


def test_a_measured_peak_stands_beside_the_planned_one():
    line = describe_measured({'memory': {'peak': 50 * 2**20}, 'devices': 8}, 420 * 2**20)
    assert line.endswith('420 MiB on all devices while 4 steps ran, planned 400: +5.0 %')
