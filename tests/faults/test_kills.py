"""Training that is killed again and again ends as if it never had been, bit for bit.

SIGKILL comes at random moments: while a process starts, while it trains, and within a save, where the folder
that Orbax was writing is seen before the kill and found after it. KILLS of the environment says how many.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from jaxrec.runs.build import build
from tests.conftest import REPOSITORY
from tests.models.onerec.run_worlds import tiny as tiny_onerec
from tests.runs.worlds import assert_saved_alike, saved, tiny

KILLS = int(os.environ.get('KILLS', '50'))
WITHIN = max(1, KILLS // 5)  # of them within a save
EVERY = 3  # steps from save to save
MOST = 2  # saves that a process is let do before it is killed amid or after the next
STEPS = EVERY * (2 * KILLS + 10)  # more than twice of what the processes reach together
PARTIAL = '*.orbax-checkpoint-tmp'
LIMIT = 300  # seconds that none takes to its next save

# A main's config file: what a user gives, shrunk.
CONFIG = """
from tests.faults.test_kills import CONFIGS

def get_config():
    return CONFIGS[{name!r}]({folder!r})
"""


def can(folder):
    """35 steps an epoch; all that could be forgotten: moments of rows, clipping, best values, windows."""
    options = {'row_optimizer': 'lazy_adam', 'row_learning_rate': 0.01, 'clip_norm': 1.0, 'log_every': 5}
    every = {'checkpoint_every': EVERY, 'evals_per_epoch': 1, 'epochs': -(-STEPS // 35)}
    return tiny('CAN-DNN', Path(folder) / 'logs', options | every)


def onerec(folder):
    """Experts, whose bias of the router is state of the model; 22 steps an epoch."""
    config = tiny_onerec('OneRec', Path(folder) / 'logs')
    config.model.experts = 4
    every = {'checkpoint_every': EVERY, 'evals_per_epoch': 1 / 3, 'epochs': -(-STEPS // 22), 'batch_size': 4}
    with config.train.ignore_type():
        config.train.update({'log_every': 5, 'clip_norm': 1.0, 'patience': None} | every)
    return config


CONFIGS = {'can': can, 'onerec': onerec}


class Life(NamedTuple):
    """One process, from its start to its end."""

    moment: str  # 'start', 'training', 'save', or 'end' for one that was not killed
    within: bool  # a folder that was being written was left behind
    seconds: float  # to the first save


class Run:
    """A command that is given again and again in one folder."""

    def __init__(self, folder: Path, name: str):
        folder.mkdir()
        self.folder, self.workdir, self.log = folder, folder / 'run', folder / 'err.txt'
        (folder / 'config.py').write_text(CONFIG.format(name=name, folder=str(folder)))

    def start(self) -> subprocess.Popen:
        # One device, so that compiled programs may be kept: a start then costs its imports.
        environment = os.environ | {
            'JAX_COMPILATION_CACHE_DIR': str(self.folder.parent / 'xla'),
            'JAX_ENABLE_COMPILATION_CACHE': 'true',
            'JAX_NUM_CPU_DEVICES': '1',
            'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
            'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
            'PYTHONPATH': str(REPOSITORY),
        }
        command = ['-m', 'jaxrec', 'train', f'--config={self.folder}/config.py', f'--workdir={self.workdir}']
        with self.log.open('a') as err:
            return subprocess.Popen([sys.executable, *command], cwd=REPOSITORY, env=environment, stdout=err, stderr=err)

    def finish(self) -> Life:
        """Lets a process run to its end."""
        begin, process = time.monotonic(), self.start()
        try:
            assert process.wait(10 * LIMIT) == 0, self.log.read_text()[-3000:]
        finally:
            process.kill()
        return Life('end', False, time.monotonic() - begin)

    def live(self, moment: str, rng: np.random.Generator, startup: float) -> Life:
        """Starts a process and kills it at a moment."""
        known, begin, process = self.newest(), time.monotonic(), self.start()
        first = 0.0
        try:
            if moment == 'start':
                self.sleep(process, rng.uniform(0, startup))
            else:
                saves = rng.integers(1, MOST + 1)
                for _ in range(saves):
                    self.until(process, lambda known=known: self.newest() > known)
                    known, first = self.newest(), first or time.monotonic() - begin
                period = 0.05 + (time.monotonic() - begin - first) / saves  # about that of saves
                if moment == 'training':
                    self.sleep(process, rng.uniform(0, period))
                else:
                    self.until(process, lambda: self.partial())
                    self.sleep(process, rng.uniform(0, period / 8))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(LIMIT)
        assert process.returncode == -signal.SIGKILL, self.log.read_text()[-3000:]
        # A process that had not yet begun may have found the folder of the one before it.
        return Life(moment, moment != 'start' and bool(self.partial()), first)

    def until(self, process, seen) -> None:
        end = time.monotonic() + LIMIT
        while not seen():
            assert process.poll() is None and time.monotonic() < end, self.log.read_text()[-3000:]
            time.sleep(0.001)

    def sleep(self, process, seconds: float) -> None:
        time.sleep(seconds)
        assert process.poll() is None, self.log.read_text()[-3000:]

    def newest(self) -> int:
        return max((int(p.name) for p in self.workdir.glob('checkpoints/*') if p.name.isdigit()), default=0)

    def partial(self) -> list[Path]:
        return list(self.workdir.glob(f'checkpoints/{PARTIAL}'))


def kill_again_and_again(run: Run, startup: float) -> Counter:
    """Kills as often as asked, within a save as often as that; returns how often at which moment."""
    rng, lives = np.random.default_rng(KILLS), Counter()
    while lives.total() < KILLS or lives['within a save'] < WITHIN:
        left, wanted = max(1, KILLS - lives.total()), WITHIN - lives['within a save']
        if wanted > 0 and rng.uniform() < wanted / left * 1.5:
            moment = 'save'
        else:
            moment = 'start' if rng.uniform() < 0.35 else 'training'
        life = run.live(moment, rng, startup)
        lives['within a save' if life.within else life.moment] += 1
    return lives


@pytest.mark.faults
@pytest.mark.parametrize('name', CONFIGS)
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_never_was(tmp_path, name):
    whole, broken = Run(tmp_path / 'whole', name), Run(tmp_path / 'broken', name)
    unbroken = whole.finish()
    startup = whole.finish().seconds  # has nothing left to do, and has compiled all that going on needs
    lives = kill_again_and_again(broken, startup)
    reached = broken.newest()
    broken.finish()
    print(f'{name}: {whole.newest()} steps in {unbroken.seconds:.0f} s unbroken; {dict(lives)} until {reached}')
    assert lives['within a save'] >= WITHIN and 0 < reached < whole.newest()

    build_in = lambda run: build(CONFIGS[name](str(run.folder)))
    assert_saved_alike(saved(build_in(broken), broken.workdir), saved(build_in(whole), whole.workdir))
    lines = [(run.workdir / 'metrics.jsonl').read_text() for run in (broken, whole)]
    assert lines[0] == lines[1] and len(lines[0].splitlines()) > STEPS // 5
    told = broken.log.read_text()
    assert 'is damaged' not in told and 'restored step' in told
    assert [p.name for p in (broken.workdir / 'checkpoints').iterdir() if not p.name.isdigit()] == []
