"""What every click model owes: candidates apart, padding unseen, empty histories, tables that train."""

import functools

import chex
import jax
import numpy as np
import pytest

from jaxrec.parallel import make_mesh, put_batch
from jaxrec.training.state import init_state
from jaxrec.training.step import make_train_step
from tests.conftest import slow_but_for
from tests.models import worlds

MODELS = list(worlds.MODELS)
KINDS = slow_but_for(('LR', 'DNN', 'DIN', 'CAN-DNN', 'CAN+Cartesian', 'FFM', 'PNN', 'SIM-soft'), MODELS)
# Each module's own gradient; those of DIEN, MIMN and further searches are in tests of theirs.
MODULES = slow_but_for(
    (
        'LR', 'DNN', 'DIN', 'CAN-DNN', 'CAN+Cartesian', 'FFM', 'DeepFM', 'DeepFFM', 'xDeepFM', 'PNN', 'NCF',
        'ONN', 'SIM-hard', 'SIM-soft',
    ),
    MODELS,
)  # fmt: skip
# Learning by heart compiles a whole step. All parts of DeepFM and PNN are in others.
DEEP = slow_but_for(('DNN', 'SIM-soft'), [n for n in MODELS if n not in ('LR', 'FFM', 'DeepFM', 'PNN')])
SHARDED = slow_but_for(('FFM', 'SIM-soft'), ('FFM', 'xDeepFM', 'PNN', 'SIM-hard', 'SIM-soft'))
# What a model adds to the cross-entropy.
LOSSES = {'DIEN': {'auxiliary'}, 'CAN-DIEN': {'auxiliary'}, 'SIM-soft': {'search'}, 'MIMN': {'utilisation'}}


@functools.cache
def made(name):
    """A model of rich features, a batch and its predictions."""
    batch = worlds.make_batch()
    model = worlds.make_model(name, batch, std=0.5)
    return model, batch, model.predict(batch)


@pytest.mark.parametrize('name', MODULES)
def test_predictions_are_logits_and_their_probabilities(name):
    _, _, got = made(name)
    assert set(got) == {'logits', 'probability'}
    assert {x.shape for x in got.values()} == {(6, 3)} and {x.dtype for x in got.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(got['probability'], 1 / (1 + np.exp(-got['logits'].astype(np.float64))), rtol=1e-5)
    assert np.isfinite(got['logits']).all() and got['logits'].std() > 0.01  # row 0 has an empty history


@pytest.mark.parametrize('name', MODULES)
def test_candidates_are_scored_as_if_alone(name):
    model, batch, got = made(name)
    per_candidate = [key for key in batch if key.startswith(('candidate/', 'cartesian/', 'label', 'valid'))]
    for c in range(3):
        among_itself = {**batch, **{key: batch[key][:, [c] * 3] for key in per_candidate}}
        want = got['logits'][:, [c] * 3]
        np.testing.assert_allclose(model.logits(among_itself), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', KINDS)
def test_padding_changes_nothing(name):
    model, batch, got = made(name)
    padded = {}
    for key, value in batch.items():
        if key.startswith(('history/', 'history_negative/', 'long/')) and not key.endswith('/length'):
            # Stale ids behind the length must not count either.
            value = np.concatenate([value, np.full((6, 4, *value.shape[2:]), 3, value.dtype)], 1)
        if key.startswith('cartesian/') and value.ndim == 3:
            value = np.concatenate([value, np.full((6, 3, 4), 3, value.dtype)], 2)
        padded[key] = np.concatenate([value, np.zeros_like(value[:2])])
    np.testing.assert_allclose(model.logits(padded)[:6], got['logits'], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', MODULES)
def test_rows_of_absent_candidates_get_no_gradient(name):
    model, batch, _ = made(name)
    batch = {**batch, 'valid': np.repeat([[1, 0, 1], [1, 1, 0]], 3, 0).astype(np.float32)}
    ((value, (metrics, _)), (_, grads)), _ = model.loss(batch)
    logits = model.logits(batch).astype(np.float64)
    losses = np.logaddexp(0, logits) - batch['label'] * logits
    np.testing.assert_allclose(metrics['logloss'], losses[batch['valid'] > 0].mean(), rtol=1e-5)
    added = [metrics[own] for own in LOSSES.get(name, ())]
    np.testing.assert_allclose(value, metrics['logloss'] + sum(added), rtol=1e-6)
    clicks = (batch['label'] * batch['valid']).sum()
    np.testing.assert_allclose(metrics['pcoc'], (batch['valid'] / (1 + np.exp(-logits))).sum() / clicks, rtol=1e-5)
    for features in grads.values():
        for key, grad in features.items():
            assert np.isfinite(grad).all() and np.abs(grad).max() > 0
            if key.startswith(('candidate/', 'cartesian/', 'kept/')):
                assert not np.asarray(grad)[batch['valid'] == 0].any()
            if key.startswith('cartesian/'):
                assert not np.asarray(grad)[batch[key] < 2].any()  # an unseen pair has no row of its own
            if key.startswith(('history/', 'history_negative/', 'long/', 'kept/')):
                assert not np.asarray(grad)[0].any()  # an empty history


@pytest.mark.parametrize('name', DEEP)
def test_sixteen_examples_are_learnt_by_heart_in_one_trace(name):
    features = worlds.FEATURES
    task = worlds.make_task(name, features, widths=(16, 8))
    setup = worlds.make_setup(task, learning_rate=0.02, row_learning_rate=0.3)
    batches = [worlds.make_batch(8, 1, 5, features, seed=seed) for seed in (1, 2)]
    sent = [worlds.on_device(batch) for batch in batches]
    state = init_state(setup, sent[0], seed=0)
    chex.clear_trace_counter()
    step = jax.jit(chex.assert_max_traces(make_train_step(setup).__wrapped__, n=1), donate_argnums=0)
    losses = []
    for i in range(200):
        state, metrics = step(state, sent[i % 2])
        losses.append(metrics['logloss'])
    assert set(metrics) == {'logloss', 'pcoc', 'loss', 'grad_norm'} | LOSSES.get(name, set())
    assert {0.0, 1.0} == {label for batch in batches for label in batch['label'].ravel()}
    assert np.mean(losses[-2:]) < 0.05  # of both batches
    assert int(state.step) == 200


@pytest.mark.parametrize('name', SHARDED)
def test_a_batch_cut_over_devices_has_the_gradients_of_one(name, eight_devices):
    model, batch, _ = made(name)
    want, rows = model.loss(batch)
    mesh = make_mesh((3, 2))  # an example a device
    sent = jax.device_put(rows, jax.NamedSharding(mesh, jax.P(mesh.axis_names))), put_batch(batch, mesh)
    loss = lambda params, rows, batch: model.task.loss(params, model.model_state, rows, batch, None)
    grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    compiled = grads.lower(model.params, *sent).compile()
    got = compiled(model.params, *sent)
    one = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    jax.tree.map(one, jax.device_get(got), want)
    of_rows = jax.tree.leaves(got[1][1])
    assert {shard.data.shape[0] for x in of_rows for shard in x.addressable_shards} == {1}
    # Sums over the batch alone travel.
    assert 'all-reduce' in compiled.as_text() and 'all-gather' not in compiled.as_text()


@pytest.mark.parametrize('name', MODELS)
def test_a_batch_without_a_feature_is_refused_by_name(name):
    task, batch = worlds.make_task(name), worlds.make_batch()
    with pytest.raises(ValueError, match=r"lacks 'candidate/category', which the model reads; it has"):
        task.ids({key: value for key, value in batch.items() if key != 'candidate/category'})


@pytest.mark.parametrize('name', MODELS)
def test_a_misspelt_option_is_refused_with_a_hint(name):
    with pytest.raises(ValueError, match=r"model\.row_l1 is not an option; did you mean 'row_l2'"):
        worlds.make_task(name, row_l1=0.1)
