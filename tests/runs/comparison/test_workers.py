"""Cells in processes side by side give what they give one after the other."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from ml_collections import ConfigDict

from jaxrec.runs.comparison.cells import Cell, time_cells
from jaxrec.runs.comparison.workers import available_cores, runner
from tests.runs.worlds import tiny


@pytest.fixture(scope='module')
def make_cells(tmp_path_factory):
    """Two cells of a tiny world in a folder, with one log between them."""
    cache = tmp_path_factory.mktemp('logs')

    def make(folder: pathlib.Path, model: str = 'LR') -> list[Cell]:
        config = tiny(model, cache, {'epochs': 1, 'evals_per_epoch': 1, 'eval_batch_size': 64})
        base = ConfigDict({key: config[key] for key in ('features', 'data', 'train', 'mesh')})
        row = ConfigDict({key: config[key] for key in ('task', 'model')})
        return [Cell(folder / f'seed{seed}', base, row, seed, {}) for seed in (0, 1)]

    return make


@pytest.mark.slow
@pytest.mark.skipif(len(available_cores()) < 2, reason='needs two cores')
def test_two_workers_give_what_one_gives(make_cells, tmp_path, monkeypatch):
    monkeypatch.setenv('XLA_FLAGS', '')  # a spawned worker has one device
    apart = dict.fromkeys(('seconds', 'config'))
    with runner(2, None, ('unseen_pairs',)) as run:
        both = run(make_cells(tmp_path / 'two'), 'cells')
    with runner(1, None, ('unseen_pairs',)) as run:
        alone = run(make_cells(tmp_path / 'one'), 'cells')
    assert len(both) == 2 and both[0]['test'] != both[1]['test']  # in the order of the cells
    for ours, theirs in zip(both, alone, strict=True):
        assert ours['test'] == pytest.approx(theirs['test'], rel=1e-4)
        assert ours['ceiling'] == theirs['ceiling'] and ours.keys() - apart == theirs.keys() - apart
    assert len(list((tmp_path / 'two').rglob('result.json'))) == 2
    with runner(2, None, ('no_such',)) as run, pytest.raises(ValueError, match=r"slices names 'no_such'"):
        run(make_cells(tmp_path / 'wrong'), 'cells')


SHARERS = """
import json, os, pathlib
import jax, jax.numpy as jnp
from jaxrec.configurable import allow_code
from jaxrec.runs.comparison.workers import runner

def use(cell, *_):
    folder = pathlib.Path(jax.config.jax_compilation_cache_dir)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    found = float(jax.jit(lambda x: jnp.sin(x).sum() + 7)(jnp.arange(99.0)))
    return {'folder': str(folder), 'kept': len(list(folder.iterdir())), 'found': found}

if __name__ == '__main__':
    with allow_code(['__main__']), runner(2, None, run='__main__:use') as run:
        first = run(range(1), 'cells')  # so that the second cells find what is there
        results = first + run(range(4), 'cells')
    print(json.dumps([{**result, 'left': os.path.exists(result['folder'])} for result in results]))
"""


@pytest.mark.slow
@pytest.mark.skipif(len(available_cores()) < 2, reason='needs two cores')
def test_workers_share_compiled_programs_until_the_runner_is_closed(tmp_path):
    (script := tmp_path / 'sharers.py').write_text(SHARERS)
    environment = {**os.environ, 'PYTHONPATH': os.getcwd(), 'XLA_FLAGS': '', 'JAX_NUM_CPU_DEVICES': '1'}
    environment['JAX_ENABLE_COMPILATION_CACHE'] = 'true'
    command = [sys.executable, script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    results = json.loads(done.stdout.splitlines()[-1])
    # Another worker adds no program to those that lie there: it has read them.
    assert len(results) == 5 and results[0]['kept'] > 0 and not results[0]['left']
    assert all(result == results[0] for result in results)


SLEEPERS = """
import os, pathlib, sys, time
from jaxrec.configurable import allow_code
from jaxrec.runs.comparison.workers import runner

def sleep(cell, *_):
    (pathlib.Path(sys.argv[1]) / f'{cell}-{os.getpid()}').touch()
    time.sleep(600)

if __name__ == '__main__':
    with allow_code(['__main__']), runner(2, None, run='__main__:sleep') as run:
        run(range(5), 'cells')
"""


@pytest.mark.slow
@pytest.mark.skipif(len(available_cores()) < 2, reason='needs two cores')
@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent_and_begin_no_other_cell(how, tmp_path):
    script, begun = tmp_path / 'sleepers.py', tmp_path / 'begun'
    begun.mkdir()
    script.write_text(SLEEPERS)
    environment = {**os.environ, 'PYTHONPATH': os.getcwd(), 'XLA_FLAGS': ''}
    parent = subprocess.Popen([sys.executable, str(script), str(begun)], env=environment)
    until(lambda: len(list(begun.iterdir())) == 2, 120)
    parent.send_signal(how)
    parent.wait(30)
    workers = [int(path.name.split('-')[1]) for path in begun.iterdir()]
    until(lambda: not any(pathlib.Path(f'/proc/{worker}').exists() for worker in workers), 30)
    assert len(list(begun.iterdir())) == 2


FAILING = """
import pathlib, sys, time
from jaxrec.configurable import allow_code
from jaxrec.runs.comparison.workers import runner

def fail(cell, *_):
    (pathlib.Path(sys.argv[1]) / str(cell)).touch()
    time.sleep(0 if cell == 0 else 2)
    if cell == 0:
        raise ValueError('the first cell')
    (pathlib.Path(sys.argv[1]) / f'{cell} finished').touch()

if __name__ == '__main__':
    with allow_code(['__main__']), runner(2, None, run='__main__:fail') as run:
        run(range(12), 'cells')
"""


@pytest.mark.slow
@pytest.mark.skipif(len(available_cores()) < 2, reason='needs two cores')
def test_a_cell_that_fails_is_told_when_those_that_run_are_finished_and_no_other_begins(tmp_path):
    script, begun = tmp_path / 'failing.py', tmp_path / 'begun'
    begun.mkdir()
    script.write_text(FAILING)
    environment = {**os.environ, 'PYTHONPATH': os.getcwd(), 'XLA_FLAGS': ''}
    command = [sys.executable, str(script), str(begun)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and 'ValueError: the first cell' in done.stderr
    names = {path.name for path in begun.iterdir()}
    started = {name for name in names if 'finished' not in name}
    assert '0' in started and len(started) <= 5  # the pool takes a few into its queue beforehand
    assert names - started == {f'{name} finished' for name in started - {'0'}}


def until(reached, seconds):
    """Waits until something is so."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f'not so after {seconds} s'
        time.sleep(0.1)


@pytest.mark.parametrize('workers', [0, 10_000])
def test_workers_need_a_core_each(workers):
    with (
        pytest.raises(ValueError, match=rf'--workers={workers}: give 1 to {len(available_cores())}'),
        runner(workers, None),
    ):
        pytest.fail('a runner was opened')


def test_the_steps_of_a_row_are_timed_once(make_cells, tmp_path, monkeypatch):
    monkeypatch.setattr('jaxrec.runs.timing.WINDOW_S', 0.01)
    cells, results = make_cells(tmp_path), [{}, {}]
    cells[0].folder.mkdir()
    time_cells(cells, results, None)
    assert results[0] == results[1] and 0 < results[0]['step_ms'] < 1e4
    (cells[0].folder / 'step_ms.json').write_text('12.5')
    time_cells(cells, results, None)
    assert results[0] == {'step_ms': 12.5}


def test_cores_are_those_of_this_process():
    assert 1 <= len(available_cores()) <= (os.cpu_count() or 1)
