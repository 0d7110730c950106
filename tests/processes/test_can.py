"""CAN over two processes of four devices: the numbers of one process, which goes on from their checkpoint."""

import functools
import json
import shutil

import pytest

from jaxrec.runs import fit as running
from jaxrec.runs.build import build
from jaxrec.training.writers import read_metrics
from tests.processes.compare import same
from tests.processes.launch import run, write_config
from tests.runs.worlds import tiny

TRAIN = {'epochs': 2, 'keep': 2, 'evals_per_epoch': 1, 'log_every': 1, 'batch_size': 64}


@pytest.fixture(scope='module')
def of_two(tmp_path_factory):
    """A folder with the workdir `two` of two processes, and what they printed."""
    folder = tmp_path_factory.mktemp('can')
    config = write_config(folder / 'can.py', 'runs.worlds', 'tiny', 'CAN-DNN', folder / 'logs', TRAIN)
    command = ['-m', 'jaxrec', 'train', f'--config={config}', f'--workdir={folder}/two', '--mesh=8,1']
    return folder, run(command)


@functools.cache
def experiment(folder, mesh):
    return build(tiny('CAN-DNN', folder / 'logs', TRAIN), mesh_shape=mesh)


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one_and_one_goes_on_from_theirs(of_two):
    folder, _ = of_two
    running.fit(experiment(folder, (1, 1)), folder / 'one')
    assert len(read_metrics(folder / 'one' / 'metrics.jsonl')) == 34 + 2
    same(folder / 'two', folder / 'one')

    shutil.copytree(folder / 'two', folder / 'back')
    shutil.rmtree(folder / 'back' / 'checkpoints' / '34')  # as if it had been stopped after the first epoch
    running.fit(experiment(folder, (1, 1)), folder / 'back')
    same(folder / 'back', folder / 'one')


@pytest.mark.slow
def test_the_first_process_speaks_for_all(of_two):
    folder, (first, second) = of_two
    assert 'best validation auc' in first.out and 'step 34 validation' in first.err
    assert 'best validation' not in second.out and 'validation' not in second.err
    assert 'process 1 of 2' in second.err
    written = {path.name for path in (folder / 'two').iterdir()}
    assert written == {'.lock', 'checkpoints', 'config.json', 'curves.png', 'metrics.jsonl'}
    assert json.loads((folder / 'two' / 'config.json').read_text())['train']['epochs'] == 2
