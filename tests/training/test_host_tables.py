"""Tables in the host's memory: the same training as with tables on the devices, on any mesh of theirs."""

import dataclasses

import chex
import jax
import numpy as np
import optax
import pytest

from jaxrec import embeddings as emb
from jaxrec.parallel import host_mesh, put_batch
from jaxrec.training import host_tables
from jaxrec.training.checkpoints import Checkpoints
from jaxrec.training.state import abstract_state, init_state, new_scratch
from jaxrec.training.step import make_predict_step, make_train_step
from tests.training.worlds import ROWS, make_batch, make_setup

V, STEPS = {'item': ROWS}, 3


def train(mesh, tables_on, **options):
    """(setup, state, metrics) after some steps of Adam."""
    options = {'rows': emb.lazy_adam(0.1), **options}
    setup = make_setup(mesh, tables_on=tables_on, **options)._replace(optimizer=optax.adam(0.1))
    state, told = init_state(setup, put_batch(make_batch(), setup.mesh), 0), []
    step = make_train_step(setup)
    for t in range(STEPS):
        state, metrics = step(state, put_batch(make_batch(t), setup.mesh))
        told.append({key: float(value) for key, value in metrics.items()})
    return setup, state, told


OPTIONS = [
    ((1, 1), {'clip_norm': 0.1}),
    pytest.param((1, 1), {'strategies': {'item': 'scratch'}}, marks=pytest.mark.slow),
    pytest.param((4, 2), {'clip_norm': 0.1, 'strategies': {'item': 'sort'}}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(('mesh', 'options'), OPTIONS)
def test_training_is_that_of_tables_on_the_device(mesh, options):
    _, want, told = train((1, 1), 'device', **options)
    setup, got, ours = train(mesh, 'host', **options)
    for mine, theirs in zip(ours, told, strict=True):
        assert mine.keys() == theirs.keys()
        np.testing.assert_allclose([mine[key] for key in theirs], list(theirs.values()), rtol=1e-5)
    for field in ('step', 'params', 'model_state', 'tables', 'row_opt_state', 'opt_state'):
        for mine, theirs in zip(
            jax.tree.leaves(getattr(got, field)), jax.tree.leaves(getattr(want, field)), strict=True
        ):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5, err_msg=field)
    for leaf in jax.tree.leaves((got.tables, got.row_opt_state, got.scratch)):
        assert leaf.devices() == set(host_mesh().devices.flat)
    assert len(got.params['w'].devices()) == mesh[0] * mesh[1]
    sent = put_batch(make_batch(9), setup.mesh)
    scores = make_predict_step(setup)(got, sent)['probability']
    alone = make_predict_step(make_setup((1, 1)))(want, put_batch(make_batch(9)))['probability']
    np.testing.assert_allclose(scores, alone, rtol=1e-4)


def test_every_program_is_traced_once(monkeypatch):
    jit = jax.jit
    monkeypatch.setattr(host_tables.jax, 'jit', lambda f, **options: jit(chex.assert_max_traces(f, n=1), **options))
    chex.clear_trace_counter()
    train((1, 1), 'host')


def test_the_host_runs_few_steps_ahead(monkeypatch):
    """Before a step is queued, that three before it must have ended, whatever the devices do meanwhile."""
    setup = make_setup(tables_on='host', skip_not_finite=True)
    batch = put_batch(make_batch(), setup.mesh)
    state, step, awaited, last = init_state(setup, batch, 0), make_train_step(setup), [], []
    monkeypatch.setattr(jax, 'block_until_ready', awaited.append)
    for number in range(1, 7):
        state, metrics = step(state, batch)
        last.append(metrics['skipped'])
        ended = max(0, number - 1 - host_tables.AHEAD)
        assert [id(x) for x in awaited] == [id(x) for x in last[:ended]]


def test_a_checkpoint_moves_between_host_and_devices(tmp_path):
    setup, state, _ = train((4, 2), 'host')
    batch = put_batch(make_batch(), setup.mesh)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, {}, table_rows=V)
        for where in ('device', 'host'):
            moved = setup._replace(tables_on=where)
            restored = checkpoints.restore(abstract_state(moved, batch), table_rows=V).state
            assert len(restored.tables['item'].devices()) == (8 if where == 'device' else 1)
            np.testing.assert_array_equal(np.asarray(restored.tables['item'])[:ROWS], np.asarray(state.tables['item']))
            again = dataclasses.replace(restored, scratch=new_scratch(moved, batch))
            _, metrics = make_train_step(moved)(again, put_batch(make_batch(5), setup.mesh))
            assert np.isfinite(metrics['loss'])


def test_what_looks_rows_up_itself_is_refused():
    setup = make_setup(tables_on='host')
    with pytest.raises(ValueError, match=r"exploration looks rows up on the device.*set it to 'device'"):
        setup.require_tables_on_device('exploration')


def test_several_processes_and_no_cpu_are_refused(monkeypatch):
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    with pytest.raises(ValueError, match=r"of one process and this run has 2.*tables_on = 'device'"):
        host_mesh.__wrapped__()
    monkeypatch.setattr(jax, 'process_count', lambda: 1)

    def absent(platform):
        raise RuntimeError(f'Unknown backend {platform}')

    monkeypatch.setattr(jax, 'devices', absent)
    with pytest.raises(ValueError, match=r'Unknown backend cpu.*JAX_PLATFORMS=cpu,cpu'):
        host_mesh.__wrapped__()
