"""A disk that is full: the error says so, what was saved before is intact, and the run goes on from it.

A limit of the size of files stands for the disk: the kernel refuses the same calls, with another number.
"""

import contextlib
import resource

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.parallel import put_batch
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
