"""The shared layers against numpy: MLP, the two modes of batch norm, target attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.models.ctr.layers import Dice, Mlp, TargetAttention, over_candidates
from tests.conftest import slow_but_for
from tests.models import worlds
from tests.oracles import ctr as oracle


def test_mlp_is_dense_layers_with_a_learnt_slope_between():
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    module = Mlp((4, 2))
    params = module.init(jax.random.key(0), x)['params']
    params['slope_0'] = jnp.array([0.0, 0.5, 1.0, -1.0])
    np.testing.assert_allclose(module.apply({'params': params}, x), oracle.mlp(params, x), rtol=1e-5, atol=1e-6)


def test_batch_norm_counts_valid_rows_in_training_and_remembers_them_for_evaluation():
    rng = np.random.default_rng(1)
    x, valid = 3 + 2 * rng.normal(size=(64, 2, 5)).astype(np.float32), np.ones((64, 2), np.float32)
    valid[40:] = 0
    x[40:] = 1e3  # must not be seen
    module = Mlp((1,), batch_norm=True)
    variables = jax.jit(module.init)(jax.random.key(0), x)
    train, new = module.apply(variables, x, True, valid, mutable=['batch_stats'])
    mean, var = x[:40].mean((0, 1)), x[:40].var((0, 1))
    params = variables['params']
    normal = lambda x, mean, var: oracle.mlp({'dense_0': params['dense_0']}, (x - mean) / np.sqrt(var + 1e-5))
    np.testing.assert_allclose(train[:40], normal(x[:40], mean, var), rtol=1e-3, atol=1e-3)
    held = new['batch_stats']['norm']
    np.testing.assert_allclose(held['mean'], 0.01 * mean, rtol=1e-4)
    np.testing.assert_allclose(held['var'], 0.99 + 0.01 * var, rtol=1e-4)
    evaluated = module.apply({'params': params, **new}, x[:40], False)
    np.testing.assert_allclose(evaluated, normal(x[:40], 0.01 * mean, 0.99 + 0.01 * var), rtol=1e-3, atol=1e-3)
    assert np.abs(evaluated - train[:40]).max() > 0.1


def test_dice_bends_where_the_data_is():
    rng = np.random.default_rng(3)
    x, valid = 3 + 2 * rng.normal(size=(64, 5)).astype(np.float32), np.ones(64, np.float32)
    valid[40:] = 0
    x[40:] = 1e3  # must not be seen
    slope = np.array([0.0, 0.25, 1.0, -1.0, 2.0], np.float32)

    def dice(x, mean, var):
        p = oracle.sigmoid((x - mean) / np.sqrt(var + 1e-5))
        return p * x + (1 - p) * slope * x

    variables = jax.jit(Dice().init)(jax.random.key(0), x)
    np.testing.assert_array_equal(variables['params'].pop('slope'), np.full(5, 0.25))
    variables['params']['slope'] = slope
    train, new = Dice().apply(variables, x, True, valid, mutable=['batch_stats'])
    mean, var = x[:40].mean(0), x[:40].var(0)
    np.testing.assert_allclose(train[:40], dice(x[:40], mean, var), rtol=1e-3, atol=1e-3)
    evaluated = Dice().apply({'params': {'slope': slope}, **new}, x[:40])
    np.testing.assert_allclose(evaluated, dice(x[:40], 0.01 * mean, 0.99 + 0.01 * var), rtol=1e-3, atol=1e-3)
    assert np.abs(evaluated - train[:40]).max() > 0.1


def test_an_mlp_with_dice_keeps_statistics_of_each_layer():
    x, valid = np.random.default_rng(4).normal(size=(6, 3, 5)).astype(np.float32), np.ones((6, 3), np.float32)
    module = Mlp((4, 3, 1), activation='dice')
    variables = jax.jit(module.init)(jax.random.key(0), x)
    assert set(variables['batch_stats']) == {'dice_0', 'dice_1'}
    assert {name for name in variables['params'] if not name.startswith('dense')} == {'dice_0', 'dice_1'}
    out, _ = module.apply(variables, x, True, valid, mutable=['batch_stats'])
    assert out.shape == (6, 3, 1)


@pytest.mark.parametrize('name', slow_but_for(('DNN', 'CAN-DNN'), ('DNN', 'DIN', 'DIEN', 'CAN-DNN')))
def test_a_model_with_batch_norm_trains_and_evaluates_in_its_two_modes(name):
    features = {'candidate': ('item',), 'history': ('item',)}
    batch = worlds.make_batch(features=features)
    model = worlds.make_model(name, batch, features, batch_norm=True)
    assert set(model.model_state) == {'batch_stats'}
    ((loss, (_, new_state)), _), _ = model.loss(batch)
    before, model.model_state = model.logits(batch), new_state
    assert np.isfinite(loss) and np.abs(model.logits(batch) - before).max() > 1e-4


def test_target_attention_scores_behaviour_and_candidate_side_by_side():
    rng = np.random.default_rng(2)
    candidate, history = rng.normal(size=(3, 2, 4)), rng.normal(size=(3, 5, 4))
    lengths = [5, 0, 2]
    mask = (np.arange(5) < np.array(lengths)[:, None]).astype(np.float32)
    candidate, history = candidate.astype(np.float32), history.astype(np.float32)
    for softmax in (True, False):
        module = TargetAttention((6, 3), softmax)
        params = jax.jit(module.init)(jax.random.key(0), candidate, history, mask)['params']
        got = jax.jit(module.apply)({'params': params}, candidate, history, mask)
        want = oracle.target_attention(params, candidate, history, lengths, softmax)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_every_candidate_sees_the_request():
    x = jnp.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(over_candidates(x, 4), np.stack([x] * 4, 1))
