"""Training by two processes that is told to stop, goes on, and loses one of them."""

import re
import signal
import time

import pytest

from jaxrec.training.writers import read_metrics
from tests.processes.launch import finish, shown, start, write_config

pytestmark = pytest.mark.together


def training(command, workdir, beyond):
    """Two processes that have reported a step beyond the given one."""
    processes = start(command)
    while not any(line['step'] > beyond for line in read_metrics(workdir / 'metrics.jsonl')):
        assert all(process.poll() is None for process in processes), shown(finish(processes))
        time.sleep(0.1)
    return processes


def test_all_stop_after_one_step_and_a_lost_process_is_told(tmp_path):
    train = {'epochs': 400, 'log_every': 1, 'checkpoint_every': 10, 'keep': 2}
    config = write_config(tmp_path / 'can.py', 'runs.worlds', 'tiny', 'LR', tmp_path / 'logs', train)
    workdir = tmp_path / 'run'
    command = ['-m', 'jaxrec', 'train', f'--config={config}', f'--workdir={workdir}', '--mesh=4,2']

    saved = 0
    for number, told in ((signal.SIGTERM, 1), (signal.SIGINT, 0)):  # Ctrl-C, of one of them
        processes = training(command, workdir, saved + 3)
        processes[told].send_signal(number)
        ended = finish(processes)
        assert [each.status for each in ended] == [0, 0], shown(ended)
        assert f'{number.name}: saves and stops after a step or two' in ended[told].err
        saved = int(re.search(r'stopped by a signal; step (\d+) is saved', ended[0].err).group(1))
        assert read_metrics(workdir / 'metrics.jsonl')[-1]['step'] == saved
        assert (workdir / 'checkpoints' / str(saved)).is_dir()

    processes = training(command, workdir, saved + 3)
    processes[1].kill()
    since = time.monotonic()
    first, _ = ended = finish(processes, within=120)
    assert time.monotonic() - since < 120 and first.status != 0
    assert f'restored step {saved} of' in first.err, shown(ended)
    ours = 'error: process 0 of 2: another process of this run has died'
    assert ours in first.err or 'another task died' in first.err, shown(ended)
