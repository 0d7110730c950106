"""Steps whose loss or gradient is not finite: nothing moves but their count, whatever sums the rows."""

import chex
import jax
import numpy as np
import optax
import pytest

from jaxrec import embeddings as emb
from jaxrec.parallel import put_batch
from jaxrec.training.state import init_state
from jaxrec.training.step import make_train_step
from tests.training.worlds import Bilinear, make_batch, make_setup

# All ids lie in the first shard of eight, more of each device than a buffer of the all-to-all holds.
ROWS, LOW, SIZE = 160, 20, 64


def batch_of(seed):
    return make_batch(seed, SIZE, LOW)


def not_a_number(batch):
    return batch | {'label': batch['label'] * np.nan}


def overflowing_norm(batch):
    """One example whose loss is finite and whose gradient's square is not."""
    valid = np.zeros_like(batch['valid'])
    valid[3] = 1
    return batch | {'label': np.full_like(batch['label'], 1.8e19), 'valid': valid}


def held(state):
    """{path: bytes} of all that a step may change, its count apart."""
    state = state.replace(step=0, scratch={}, rng=jax.random.key_data(state.rng))
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}


CASES = [
    ((1, 1), None, 'dense', None),
    ((1, 1), None, 'scratch', 0.5),
    ((8, 1), 'gather_ids', None, 0.5),
    ((4, 2), 'all_to_all', 'sort', None),
    ((1, 1), None, 'host', 0.5),
]


@pytest.mark.parametrize(('mesh', 'exchange', 'strategy', 'clip'), CASES)
def test_a_skipped_step_leaves_every_bit(mesh, exchange, strategy, clip):
    setup = make_setup(
        mesh, Bilinear(ROWS), rows=emb.lazy_adam(0.1), exchange=exchange, clip_norm=clip,
        skip_not_finite=True, tables_on='host' if strategy == 'host' else 'device',
        strategies={'item': strategy} if strategy in ('dense', 'scratch', 'sort') else {},
    )._replace(optimizer=optax.adam(0.1))  # fmt: skip
    put = lambda batch: put_batch(batch, setup.mesh)
    state = init_state(setup, put(batch_of(0)), 0)
    step = make_train_step(setup)
    if strategy != 'host':  # whose step is several
        chex.clear_trace_counter()  # it counts by name, and this is another step
        step = jax.jit(chex.assert_max_traces(step.__wrapped__, n=1), donate_argnums=0)
    state, metrics = step(state, put(batch_of(1)))
    assert metrics['skipped'] == 0
    if exchange == 'all_to_all':  # rows of later rounds move by another path
        assert metrics['exchange_rounds'] > 1
    for at, spoil in enumerate((not_a_number, overflowing_norm), 2):
        before = held(state)
        assert any('square' in name for name in before) and any('nu' in name for name in before)
        state, metrics = step(state, put(spoil(batch_of(at))))
        assert metrics['skipped'] == 1 and int(state.step) == at
        assert np.isfinite(metrics['loss']) == (spoil is overflowing_norm)
        assert not np.isfinite(metrics['grad_norm'])
        after = held(state)
        assert [name for name in before if before[name] != after[name]] == []
    state, metrics = step(state, put(batch_of(4)))
    assert metrics['skipped'] == 0
    still = {name for name, value in held(state).items() if value == before[name]}
    assert still == {'.step', '.rng'} and all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))


def test_steps_that_are_finite_are_as_without_the_option():
    ends = []
    for skip in (False, True):
        setup = make_setup(rows=emb.row_adagrad(0.1), skip_not_finite=skip)
        state, step = init_state(setup, put_batch(make_batch()), 0), make_train_step(setup)
        for t in range(3):
            state, metrics = step(state, put_batch(make_batch(t)))
        assert ('skipped' in metrics) == skip
        ends.append(state)
    for one, other in zip(*map(jax.tree.leaves, (e.replace(rng=0, scratch={}) for e in ends)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
