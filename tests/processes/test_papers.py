"""A hundred steps of CAN, SIM and OneRec on one device, on eight of one process and on four of each of two.

Each goes on from the others' checkpoints, so a run may move between machines as it is.
"""

import functools
import json
import shutil

import pytest

from jaxrec.runs import fit as running
from jaxrec.runs import restore as restoring
from jaxrec.runs.build import build
from jaxrec.training.writers import read_metrics
from tests.processes import worlds
from tests.processes.compare import same
from tests.processes.launch import run, write_config

pytestmark = pytest.mark.together
# OneRec's experts, one a device, lie on both processes.
MESHES = {'can': (8, 1), 'sim': (8, 1), 'onerec': (1, 8)}
PAPERS = {'can': worlds.can, 'sim': worlds.sim, 'onerec': worlds.onerec}


@functools.cache
def experiment(name, folder, mesh):
    return build(PAPERS[name](folder / 'logs'), mesh_shape=mesh)


def on_two(name, folder, workdir, main='train', mesh=None):
    """Trains, goes on, or evaluates with two processes of four devices."""
    config = write_config(folder / f'{name}.py', 'processes.worlds', name, folder / 'logs')
    flags = [f'--config={config}'] if main == 'train' else []
    data, model = mesh or MESHES[name]
    return run(['-m', f'experiments.{main}', *flags, f'--workdir={workdir}', f'--mesh={data},{model}'])


def cut(folder, workdir, name):
    """A copy of a workdir that lacks its last checkpoint."""
    shutil.copytree(workdir, folder / name)
    steps = sorted(int(path.name) for path in (folder / name / 'checkpoints').iterdir() if path.name.isdigit())
    assert len(steps) == 2
    shutil.rmtree(folder / name / 'checkpoints' / str(steps[-1]))
    return folder / name


# One test a paper: what it trains on three layouts is the dearest part.
@pytest.mark.parametrize('name', PAPERS)
def test_a_paper_is_the_same_on_every_layout(name, tmp_path):
    one, eight, two = (tmp_path / layout for layout in ('one', 'eight', 'two'))
    running.fit(experiment(name, tmp_path, (1, 1)), one)
    running.fit(experiment(name, tmp_path, MESHES[name]), eight)
    on_two(name, tmp_path, two)
    lines = read_metrics(one / 'metrics.jsonl')
    losses = [line['loss'] for line in lines if line['part'] == 'train']
    assert len(losses) >= 100 and losses[-1] < losses[0] and len(lines) == len(losses) + 2
    same(eight, one)
    same(two, one)

    for mesh in ((1, 1), (4, 2)):
        workdir = cut(tmp_path, two, f'from_two_on_{mesh[0]}')
        running.fit(experiment(name, tmp_path, mesh), workdir)
        same(workdir, one)
    workdir = cut(tmp_path, one, 'from_one_on_two')
    on_two(name, tmp_path, workdir, mesh=(2, 4))
    same(workdir, one)

    first, second = on_two(name, tmp_path, two, 'evaluate')
    written = json.loads((two / 'evaluation_test.json').read_text())
    evaluator, step = restoring.score(experiment(name, tmp_path, (1, 1)), two)
    wanted = evaluator.compute()
    assert written.pop('step') == step and written.pop('part') == 'test'
    assert written == pytest.approx(wanted, rel=1e-4)
    assert all(abs(written[metric] - wanted[metric]) < 1e-6 for metric in ('auc', 'gauc') if metric in wanted)
    assert 'evaluation_test.json' in first.out and 'wrote' not in second.out
