"""A log that is changed between a stop and the next start, or while a run reads it, as its user meets it."""

import os
import signal

import numpy as np
import pytest

from jaxrec.runs import fit as running
from jaxrec.runs import workdir as workdirs
from jaxrec.runs.build import build
from tests.runs.worlds import tiny

OPTIONS = {'epochs': 1, 'evals_per_epoch': 1, 'checkpoint_every': 5}


def change(log):
    """Moves every item of the training events by one row, in place."""
    path = log.folder / 'events' / 'item.npy'
    items = np.load(path, mmap_mode='r+')
    items[:] = np.where(items > 2, items - 1, items)
    items.flush()
    os.utime(path)
    return path


def test_a_log_that_changes_ends_a_run_and_keeps_another_from_starting(tmp_path, monkeypatch):
    run, workdir = build(tiny('LR', tmp_path / 'logs', OPTIONS)), tmp_path / 'run'
    step_fn = running.make_train_step(run.setup)
    actions = {12: lambda: os.kill(os.getpid(), signal.SIGTERM), 18: lambda: change(run.log)}

    def watched(state, batch):
        at = int(state.step) + 1
        actions.pop(at, lambda: None)()
        return step_fn(state, batch)

    monkeypatch.setattr(running, 'make_train_step', lambda setup: watched)
    with pytest.raises(SystemExit) as stopped:
        running.fit(run, workdir)
    assert stopped.value.code == 0

    message = r'logs/\S+/events/item\.npy was rewritten while a run was reading it; no checkpoint was written'
    with pytest.raises(ValueError, match=message):  # restored at 12, changed in 18, to be saved at 20
        running.fit(run, workdir)
    with workdirs.open_checkpoints(run, workdir, read_only=True) as checkpoints:
        assert checkpoints.steps == [12, 15]

    message = r'events/item\.npy has other content than when the checkpoint was written\. Put the log back'
    with pytest.raises(ValueError, match=message):
        running.fit(run, workdir)
