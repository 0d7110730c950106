"""Optimizers by name: what decays, and what Muon does to which parameters."""

import jax
import numpy as np
import optax
import pytest

from jaxrec.runs.build import build
from jaxrec.runs.fit import fit
from jaxrec.runs.optimizers import make_optimizer, matrices, without_schedule
from jaxrec.training.writers import read_metrics
from tests.runs.worlds import tiny

RATE = 0.1


def one_step(name, gradient, **options):
    optimizer = make_optimizer(name, RATE, **options)
    params = jax.tree.map(lambda x: np.full(x.shape, 2.0, np.float32), gradient)
    updates, _ = jax.jit(lambda g, p: optimizer.update(g, optimizer.init(p), p))(gradient, params)
    return updates


def test_decay_is_of_adamw_and_of_matrices():
    none = {'dense': {'kernel': np.zeros((2, 3), np.float32), 'bias': np.zeros(3, np.float32)}}
    decayed = lambda name, decay: {
        key: float(np.ravel(x)[0]) for key, x in one_step(name, none, weight_decay=decay)['dense'].items()
    }
    assert decayed('adamw', None) == pytest.approx(dict.fromkeys(('kernel', 'bias'), -RATE * 1e-4 * 2), rel=1e-4)
    assert decayed('adamw', 0.5) == pytest.approx(dict.fromkeys(('kernel', 'bias'), -RATE), rel=1e-4)
    assert decayed('muon', None) == {'kernel': 0, 'bias': 0}
    assert decayed('muon', 0.5) == pytest.approx({'kernel': -RATE, 'bias': 0}, rel=1e-4)


@pytest.mark.parametrize(('name', 'decay'), [('adam', 0.1), ('adamw', -0.1), ('muon', -1.0)])
def test_decay_of_others_is_refused(name, decay):
    with pytest.raises(ValueError, match=rf'train.weight_decay = {decay} of {name!r}: give a number from 0'):
        make_optimizer(name, RATE, weight_decay=decay)


def test_no_other_name_is_taken():
    with pytest.raises(ValueError, match=r"train\.optimizer = 'lion' does not exist; choose one of .*'muon'"):
        make_optimizer('lion', RATE)


@pytest.mark.parametrize(
    ('path', 'shape', 'flat'),
    [
        (('dense', 'kernel'), (6, 4), (1, 6, 4)),
        (('conv', 'kernel'), (3, 3, 2, 5), (1, 18, 5)),  # window and channels are one side
        (('experts', 'up'), (2, 3, 4, 6), (6, 4, 6)),  # each layer's and expert's own
        (('self', 'key'), (2, 8, 3, 4), (2, 8, 12)),  # all heads of a layer are one side
        (('self', 'out'), (2, 3, 4, 8), (2, 12, 8)),
    ],
)
def test_a_step_of_muon_turns_and_does_not_stretch(path, shape, flat):
    """Its matrix is that of the gradient with singular values of about one, scaled to the size of Adam's."""
    gradient = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = one_step('muon', {path[0]: {path[1]: gradient}})[path[0]][path[1]]
    for before, step in zip(gradient.reshape(flat), np.asarray(found).reshape(flat), strict=True):
        u, _, v = np.linalg.svd(before, full_matrices=False)
        turned = u.T @ step @ v.T / (-RATE * 0.2 * max(flat[1:]) ** 0.5)
        assert (np.diag(turned) > 0.6).all() and (np.diag(turned) < 1.3).all()
        np.testing.assert_allclose(turned, np.diag(np.diag(turned)), atol=0.02)


def test_what_is_no_matrix_takes_steps_of_adam():
    shapes = {'bias': (3,), 'codes': (7, 4), 'norm': (2, 3), 'up_1': {'kernel': (4, 4, 5)}}
    rng = np.random.default_rng(0)
    draw = lambda shape: rng.normal(size=shape).astype(np.float32)
    gradient = jax.tree.map(draw, shapes, is_leaf=lambda x: isinstance(x, tuple))
    assert jax.tree.leaves(matrices(gradient)) == []
    adam = optax.nadam(RATE)
    want, _ = adam.update(gradient, adam.init(gradient))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4), one_step('muon', gradient), want)


def test_a_run_learns_by_it_and_leaves_its_schedule_behind(tmp_path):
    run = build(tiny('DNN', tmp_path, {'optimizer': 'muon', 'schedule': {'kind': 'cosine'}, 'log_every': 1}))
    fit(run, tmp_path / 'run')
    lines = read_metrics(tmp_path / 'run' / 'metrics.jsonl')
    losses = [line['loss'] for line in lines if line['part'] == 'train']
    assert len(losses) >= 6 and np.mean(losses[-3:]) < np.mean(losses[:3])
    params = jax.eval_shape(run.setup.task.init, jax.random.key(0), run.example(run.source('train', True)))[0]
    shapes = lambda optimizer: jax.eval_shape(optimizer.init, params)
    plain = make_optimizer('muon', RATE)
    assert jax.tree.structure(without_schedule(shapes(run.setup.optimizer))) == jax.tree.structure(shapes(plain))
