"""Learning rates over a run, at the steps where they turn; what is refused."""

import jax
import numpy as np
import pytest

from jaxrec.runs.build import build
from jaxrec.runs.optimizers import make_optimizer, make_schedule
from tests.runs.worlds import tiny


def rates(described, steps=100):
    schedule = make_schedule(described, 0.2, steps)
    return np.asarray(jax.jit(jax.vmap(schedule))(np.arange(steps + 1)))


def test_cosine_falls_to_its_end():
    found = rates({'kind': 'cosine', 'end': 0.1})
    t = np.arange(101) / 100
    np.testing.assert_allclose(found, 0.2 * (0.9 * (1 + np.cos(np.pi * t)) / 2 + 0.1), rtol=1e-5)


def test_warmup_rises_in_a_line_and_shortens_the_rest():
    found = rates({'kind': 'cosine', 'warmup': 0.2})
    np.testing.assert_allclose(found[:21], 0.2 * np.arange(21) / 20, rtol=1e-5)
    np.testing.assert_allclose(found[[60, 100]], [0.1, 0.0], atol=1e-6)


def test_steps_are_shares_of_the_run():
    found = rates({'kind': 'steps', 'at': (0.5, 0.75), 'factor': 0.5, 'warmup': 0.1}, steps=40)
    np.testing.assert_allclose(found[[4, 19, 20, 29, 30, 40]], [0.2, 0.2, 0.1, 0.1, 0.05, 0.05], rtol=1e-5)


def test_an_optimizer_follows_its_schedule():
    sgd = make_optimizer('sgd', 0.2, {'kind': 'steps', 'at': (0.5,)}, 4)
    slots, seen = sgd.init({'w': np.ones(1, np.float32)}), []
    step = jax.jit(lambda slots: sgd.update({'w': np.ones(1, np.float32)}, slots))
    for _ in range(4):
        updates, slots = step(slots)
        seen.append(-float(updates['w'][0]))
    np.testing.assert_allclose(seen, [0.2, 0.2, 0.02, 0.02], rtol=1e-5)


def test_drops_of_one_step_multiply():
    rate = make_schedule({'kind': 'steps', 'at': (0.5, 0.6), 'factor': 0.1}, 1.0, 4)
    np.testing.assert_allclose([rate(step) for step in range(4)], [1, 1, 0.01, 0.01], rtol=1e-5)


def test_a_run_knows_its_steps(tmp_path):
    config = tiny('LR', tmp_path, {'schedule': {'kind': 'cosine'}, 'batch_size': 32})
    run = build(config)
    params = {'w': np.ones(3, np.float32)}
    count = len(run.source('train', shuffle=True))
    last = run.setup.optimizer.init(params)
    last = jax.tree.map(lambda x: np.full_like(x, count) if np.ndim(x) == 0 else x, last)
    updates, _ = jax.jit(run.setup.optimizer.update)(params, last)
    np.testing.assert_allclose(updates['w'], 0, atol=1e-9)  # after the last step the rate is zero


@pytest.mark.parametrize(
    ('described', 'message'),
    [
        ({'kind': 'linear'}, "train.schedule.kind = 'linear' does not exist; choose one of"),
        ({'warmup': 0.1}, "train.schedule.kind = '' does not exist"),
        ({'kind': 'cosine', 'at': (0.5,)}, "train.schedule.at is not of kind 'cosine': leave it out"),
        ({'kind': 'steps', 'end': 0.5}, "train.schedule.end is not of kind 'steps'"),
        ({'kind': 'cosine', 'end': 2.0}, r'train.schedule.end = 2.0 is outside \[0, 1\]'),
        ({'kind': 'steps', 'at': (0.6, 0.4)}, 'give rising shares of the run, after warmup and below 1'),
        ({'kind': 'steps', 'at': (0.1,), 'warmup': 0.2}, 'give rising shares of the run'),
        ({'kin': 'steps'}, "train.schedule.kin is not an option; did you mean 'kind'"),
    ],
)
def test_what_cannot_be_is_refused(described, message):
    with pytest.raises(ValueError, match=message):
        make_schedule(described, 0.1, 10)


def test_a_schedule_does_not_go_on_from_another_run(tmp_path):
    config = tiny('LR', tmp_path, {'schedule': {'kind': 'cosine'}, 'init_from': 'elsewhere'})
    with pytest.raises(ValueError, match=r'train\.schedule counts the steps of one run'):
        build(config)


def test_published_weights_are_not_laid_under_another_run(tmp_path):
    config = tiny('LR', tmp_path, {'init_from': 'elsewhere'})
    config.model.weights = 'resnet18.safetensors'
    with pytest.raises(ValueError, match=r'model\.weights .*--warm_start.*: give one of them'):
        build(config)
