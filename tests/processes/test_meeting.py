"""Processes find each other, by flags or by what Slurm says; when one goes the others go too, and say why."""

import json
import os
import signal
import socket
import time

import pytest

from tests.processes.launch import DEVICES, finish, run, shown, start

MEET = ['-m', 'tests.processes.meet']
# What srun tells each of two tasks on one node.
SLURM = {
    'SLURM_JOB_ID': '7', 'SLURM_STEP_NODELIST': 'localhost', 'SLURM_NTASKS': '2', 'SLURM_PROCID': '{id}',
    'SLURM_LOCALID': '{id}', 'JAX_COORDINATOR_PORT': '{port}',
}  # fmt: skip


def beating(act, *flags):
    """Two processes that exchange something every few milliseconds."""
    processes = start([*MEET, f'--act={act}', *flags])
    for process in processes:
        while 'beating' not in process.printed()[1]:
            assert process.poll() is None, shown(finish(processes))
            time.sleep(0.05)
    return processes


@pytest.mark.parametrize('environment', [None, pytest.param(SLURM, marks=pytest.mark.together)])
def test_two_processes_meet(environment):
    ended = run([*MEET, '--act=meet'], environment=environment)
    for number, each in enumerate(ended):
        found = json.loads(next(line for line in each.err.splitlines() if line.startswith('{')))
        assert (found['number'], found['count'], found['total']) == (number, 2, 40 * 39 // 2)
        assert found['told'] == [{'number': i, 'big': 2**40 + i} for i in (0, 1)]
        assert f'2 processes share a mesh of all their {2 * DEVICES} devices' in found['refused']
        assert ('only the first' in each.out) == (number == 0)


@pytest.mark.together
@pytest.mark.parametrize('gone', [0, 1])
def test_a_killed_process_ends_the_other(gone):
    processes = beating('beat')
    processes[gone].kill()
    since = time.monotonic()
    ended = finish(processes, within=120)
    assert time.monotonic() - since < 120
    assert ended[gone].status == -signal.SIGKILL
    left, err = ended[1 - gone].status, ended[1 - gone].err
    ours = f'error: process {1 - gone} of 2: another process of this run has died' in err
    # The service may be faster than the collective: it aborts the process and says so itself.
    assert (left == 3 and ours) or (left != 0 and 'another task died' in err), shown(ended)


@pytest.mark.together
def test_a_process_that_is_silent_counts_as_dead():
    processes = beating('beat', '--peer_timeout=10')
    os.kill(processes[1].pid, signal.SIGSTOP)
    try:
        first = finish(processes[:1], within=120)[0]
    finally:
        processes[1].kill()
    finish(processes[1:])
    assert first.status != 0
    assert 'has died' in first.err or 'another task died' in first.err, first.err[-3000:]


@pytest.mark.together
@pytest.mark.parametrize(
    ('act', 'number', 'status', 'says'),
    [
        ('refuse', 1, 2, 'error: process 1 of 2: this is wrong: make it right'),
        ('fail', 0, 1, 'error: process 0 of 2 failed, see above'),
    ],
)
def test_a_process_that_fails_does_not_wait_for_the_other(act, number, status, says):
    ended = finish(beating(act), within=120)
    assert ended[number].status == status and says in ended[number].err, shown(ended)
    assert ended[1 - number].status != 0
    if act == 'fail':
        assert "KeyError: 'nobody foresaw this'" in ended[0].err


@pytest.mark.together
def test_whoever_waits_in_vain_says_for_what():
    with socket.socket() as nobody:
        nobody.bind(('localhost', 0))  # a port that is taken, and at which nobody answers
        address = f'localhost:{nobody.getsockname()[1]}'
        flags = [f'--coordinator={address}', '--num_processes=2', '--process_id=1', '--join_timeout=5']
        (ended,) = finish(start([*MEET, *flags], count=1))
    assert ended.status == 2
    assert f'error: the processes of this run have not all joined at {address} within 5 s' in ended.err


@pytest.mark.together
@pytest.mark.parametrize('number', [0, None], ids=['taken', 'auto'])
def test_whoever_cannot_join_says_why(number):
    """Process 0 at a port that is taken, and a process that asks a cluster where there is none."""
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(('::', 0))
        taken.listen()
        address = f'localhost:{taken.getsockname()[1]}'
        flags = [f'--coordinator={address}', '--num_processes=2', '--process_id=0', '--join_timeout=20']
        (ended,) = finish(start([*MEET, *(['--coordinator=auto'] if number is None else flags)], count=1))
    assert ended.status == 2, shown([ended])
    where = 'the address that the cluster names' if number is None else address
    assert f'error: this process could not join the others at {where} (' in ended.err
    assert '--process_id, a port that is free, and start each process once' in ended.err
