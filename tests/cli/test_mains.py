"""The mains as their user starts them: train, stop, go on, evaluate; and a mistake in one line."""

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from absl.testing import flagsaver

from jaxrec.cli.flags import friendly, friendly_together
from tests.conftest import REPOSITORY

TINY = [
    '--config.data.arguments.users=80',
    '--config.data.arguments.impressions=40',
    '--config.data.history_length=6',
    '--config.train.batch_size=32',
    '--config.train.evals_per_epoch=1',
    '--config.train.log_every=20',
    '--config.train.epochs=6',
    '--config.train.patience=20',
]


STEPS = 6 * 70  # 80 users, 28 training impressions each


def command(main, *arguments, cwd, devices=1):
    environment = os.environ | {'PYTHONPATH': str(REPOSITORY), 'JAX_NUM_CPU_DEVICES': str(devices)}
    return subprocess.Popen(
        [sys.executable, '-m', f'experiments.{main}', *arguments],
        cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err[-3000:]
    return out, err


def steps_of(workdir):
    path = workdir / 'metrics.jsonl'
    return [json.loads(line)['step'] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.slow
def test_train_stop_go_on_and_evaluate(tmp_path):
    workdir = tmp_path / 'run'
    train = [f'--config={REPOSITORY}/configs/can/simulated.py:LR', f'--workdir={workdir}', *TINY]
    first = command('train', *train, cwd=tmp_path)
    while first.poll() is None and not steps_of(workdir):
        time.sleep(0.02)
    first.send_signal(signal.SIGTERM)
    _, err = finish(first)
    saved = int(re.search(r'stopped by a signal; step (\d+) is saved', err).group(1))
    assert 20 <= saved < STEPS

    out, err = finish(command('train', *train, cwd=tmp_path))
    assert f'restored step {saved} of' in err
    assert re.search(r'best validation auc 0\.\d{4} at step \d+', out)
    steps = steps_of(workdir)
    assert steps == sorted(steps) and steps[-1] == STEPS and steps.count(20) == 1
    for name in ('checkpoints', 'metrics.jsonl', 'curves.png', 'config.json'):
        assert name in out and (workdir / name).exists()

    out, _ = finish(command('evaluate', f'--workdir={workdir}', '--mesh=2,1', cwd=tmp_path, devices=2))
    written = json.loads((workdir / 'evaluation_test.json').read_text())
    assert f'{written["auc"]:.4f}' in out and 'true probabilities' in out
    assert written['examples'] == 80 * 8 and f'{workdir} (step {written["step"]})' in out


def test_a_mistake_is_one_line_and_status_2(capsys):
    @friendly
    def main(_):
        raise ValueError('train.batch_size = 0: give at least 1')

    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 2
    assert capsys.readouterr().err == 'error: train.batch_size = 0: give at least 1\n'


@pytest.mark.parametrize('kind', [errno.EACCES, errno.EROFS])
def test_a_place_where_nothing_may_be_written_is_told_in_a_line(kind, capsys):
    @friendly
    def main(_):
        raise OSError(kind, os.strerror(kind), '/there/found')

    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 2
    told = f'/there/found: {os.strerror(kind)}: give yourself leave, or name another place'
    assert capsys.readouterr().err == f'error: {told}\n'


@pytest.mark.parametrize('flag', ['coordinator', 'num_processes', 'process_id'])
def test_a_main_of_one_process_refuses_the_flags_of_several(flag, capsys):
    @friendly
    def main(_):
        raise AssertionError('started')

    value = 'host0:1234' if flag == 'coordinator' else 1
    with flagsaver.flagsaver(**{flag: value}), pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 2
    assert f'error: --{flag}: this command is one process, and takes all devices' in capsys.readouterr().err


def test_a_main_of_several_reports_what_is_given_by_halves(capsys):
    @friendly_together(may_stop=False)
    def main(_):
        raise AssertionError('started')

    with flagsaver.flagsaver(num_processes=2), pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 2 and 'give all three in each process' in capsys.readouterr().err


@pytest.mark.parametrize('mistake', [True, False])
def test_a_main_of_several_runs_alone_as_any_other(mistake, capsys):
    ran = []

    @friendly_together(may_stop=False)
    def main(_):
        ran.append(1)
        if mistake:
            raise ValueError('train.batch_size = 0: give at least 1')

    with pytest.raises(SystemExit) if mistake else contextlib.nullcontext():
        main([])
    assert ran == [1]
    assert capsys.readouterr().err == ('error: train.batch_size = 0: give at least 1\n' if mistake else '')
