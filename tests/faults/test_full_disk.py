"""A disk that is full: the error says so, what was saved before is intact, and the run goes on from it.

A limit of the size of files stands for the disk: the kernel refuses the same calls, with another number.
"""

import contextlib
import json
import resource

import jax.numpy as jnp
import ml_collections
import numpy as np
import pyarrow as pa
import pytest

from jaxrec.cli.flags import friendly
from jaxrec.data.logs.array_files import save_arrays
from jaxrec.data.logs.columns import cached_array
from jaxrec.data.sources.from_config import open_log
from jaxrec.parallel import put_batch
from jaxrec.runs.artifacts import make_files
from jaxrec.runs.comparison.finished import pack
from jaxrec.runs.comparison.tables import draw, write_json
from jaxrec.runs.fit import draw_curves
from jaxrec.runs.row_files import RowWriter
from jaxrec.runs.workdir import claim, hold
from jaxrec.training.checkpoints import Checkpoints
from jaxrec.training.state import abstract_state, init_state
from jaxrec.training.writers import MetricWriter, read_metrics
from tests.training.worlds import Bilinear, make_batch, make_setup

ROWS = 60_000
V = {'item': ROWS}


@contextlib.contextmanager
def files_up_to(size):
    """Lets no file of this process grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path):
    setup, batch = make_setup(task=Bilinear(rows=ROWS)), put_batch(make_batch())
    state, abstract = init_state(setup, batch, 0), abstract_state(setup, batch)
    message = (
        rf'checkpoint {tmp_path}/2 could not be written \(File too large\): it takes about 0\.7 MB and has '
        rf'[\d,.]+ MB free in {tmp_path}\. What was saved before is intact: make room'
    )
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(state.replace(step=jnp.int32(1)), {}, table_rows=V)
        with files_up_to(300_000), pytest.raises(ValueError, match=message):
            checkpoints.save(state.replace(step=jnp.int32(2)), {}, table_rows=V)
    assert [path.name for path in tmp_path.iterdir()] == ['1']  # what was begun takes no room
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        restored = checkpoints.restore(abstract, table_rows=V)
        assert int(restored.state.step) == 1
        np.testing.assert_array_equal(restored.state.tables['item'], state.tables['item'])
        checkpoints.save(state.replace(step=jnp.int32(2)), {}, table_rows=V)
        assert checkpoints.steps == [2]


def test_another_error_of_a_save_is_not_called_a_full_disk(tmp_path, monkeypatch):
    setup = make_setup()
    state = init_state(setup, put_batch(make_batch()), 0)

    def fail(*arguments, **options):
        raise OSError(13, 'Permission denied')

    with Checkpoints(tmp_path) as checkpoints:
        monkeypatch.setattr(checkpoints._orbax, 'save_checkpointables', fail)
        with pytest.raises(OSError, match='Permission denied'):
            checkpoints.save(state, {}, table_rows={'item': 19})


def test_metrics_that_do_not_fit_leave_whole_lines(tmp_path):
    writer = MetricWriter(tmp_path)
    writer.write(1, 'train', {'loss': 0.5})
    size = writer.path.stat().st_size
    message = rf'{writer.path} could not be written \(File too large\): it has [\d,.]+ MB free in {tmp_path}'
    with files_up_to(size + 10), pytest.raises(ValueError, match=message):
        writer.write(2, 'train', {'loss': 0.25})
    writer.close()
    assert writer.path.stat().st_size == size
    assert read_metrics(writer.path) == [{'step': 1, 'part': 'train', 'loss': 0.5}]
    with files_up_to(size - 1), pytest.raises(ValueError, match=message):  # what a resumed run copies
        MetricWriter(tmp_path, step=1)
    writer = MetricWriter(tmp_path, step=1)
    writer.write(2, 'train', {'loss': 0.25})
    writer.close()
    assert [line['step'] for line in read_metrics(writer.path)] == [1, 2]


def write_rows(path):
    with RowWriter(path) as writer:
        writer.write(pa.RecordBatch.from_pydict({'a': np.arange(9000) % 1013}))


TABLE = ml_collections.ConfigDict({'title': 'a table', 'shown': ['auc']})
SUMMARY = {'A': {'auc': {'mean': 0.5, 'sd': 0.1, 'n': 2}}}
WRITTEN = {
    'config.json': lambda path: claim(path.parent, ml_collections.ConfigDict({'task': 'a' * 300})),
    'curves.png': lambda path: draw_curves(path.parent, 'auc'),
    'table.json': lambda path: write_json(path, SUMMARY),
    'table.png': lambda path: draw(TABLE, SUMMARY, path),
    'cells.jsonl.gz': lambda path: pack(path.parent),
    'rows.csv': write_rows,
    'rows.jsonl': write_rows,
    'rows.parquet': write_rows,
    'arrays.npz': lambda path: save_arrays(path, 'a', 1, {'x': np.arange(99)}),
    'array.npy': lambda path: cached_array(path, lambda partial: np.save(partial, np.arange(9999))),
}


@pytest.mark.parametrize('name', WRITTEN)
def test_what_does_not_fit_is_named_and_leaves_what_was_there(tmp_path, name):
    cell = tmp_path / 'main' / 'A' / 'seed0'
    cell.mkdir(parents=True)
    (cell / 'result.json').write_text(json.dumps({'test': list(range(999))}))
    (tmp_path / 'metrics.jsonl').write_text(json.dumps({'step': 1, 'part': 'train', 'loss': 0.5}) + '\n')
    path = tmp_path / name
    before, limit = sorted(tmp_path.iterdir()), 1000 if name == 'array.npy' else 40
    message = rf'{path} could not be written \(.*\): it has [\d,.]+ MB free in {tmp_path}\. What was saved'
    with files_up_to(limit), pytest.raises(ValueError, match=message):
        WRITTEN[name](path)
    assert sorted(tmp_path.iterdir()) == before
    WRITTEN[name](path)
    kept = path.read_bytes()
    if name not in ('config.json', 'array.npy'):  # which are written once
        with files_up_to(limit), pytest.raises(ValueError, match=message):
            WRITTEN[name](path)
    assert path.read_bytes() == kept


def test_a_log_that_does_not_fit_leaves_nothing_beside_it(tmp_path):
    world = {'users': 80, 'items': 49, 'impressions': 20, 'categories': 5, 'groups': 4, 'content_dim': 3}
    described = {'log': 'jaxrec.data.simulators.ctr:simulate', 'arguments': world}
    folder = tmp_path / 'logs' / 'ctr'
    message = rf'{folder} could not be written \(.*\): it has [\d,.]+ MB free in {tmp_path}'
    with files_up_to(4000), pytest.raises(ValueError, match=message):
        open_log(described, folder)
    assert not [path for path in folder.parent.iterdir() if path.suffix != '.lock']
    log = open_log(described, folder)

    def make(folder, log, data):
        np.save(folder / 'made.npy', np.arange(9999))
        return folder / 'made.npy'

    config = ml_collections.ConfigDict({'files': {'ids': {'make': f'{__name__}:make'}}})
    globals()['make'] = make
    data = {'cache': str(tmp_path / 'made'), 'label': {}, 'split': {}}
    with files_up_to(4000), pytest.raises(ValueError, match=r'made/make-\w+ could not be written \(.*\): it has'):
        make_files(config, log, data, {})
    assert not [path for path in (tmp_path / 'made').iterdir() if path.suffix != '.lock']


def test_a_workdir_whose_lock_does_not_fit_is_named(tmp_path):
    with files_up_to(0), pytest.raises(ValueError, match=rf'{tmp_path}/\.lock could not be written'):
        with hold(tmp_path):
            raise AssertionError('held')


def test_a_main_tells_of_a_full_disk_that_nothing_else_has_named(tmp_path, capsys):
    @friendly
    def main(_):
        (tmp_path / 'any').write_text('more than fits')

    with files_up_to(3), pytest.raises(SystemExit) as exit_:
        main([])
    told = capsys.readouterr().err
    assert exit_.value.code == 2 and told.startswith('error: a file could not be written (File too large): make')

    @friendly
    def fails(_):
        (tmp_path / 'absent' / 'any').write_text('')

    with pytest.raises(FileNotFoundError):  # other errors are shown whole
        fails([])
