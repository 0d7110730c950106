"""DIEN against numpy from the same parameters and tables; its auxiliary loss and what that needs."""

import jax
import numpy as np
import pytest

from tests.models import worlds
from tests.oracles import ctr as oracle
from tests.oracles.auxiliary import next_behaviour_loss


def make(batch, **options):
    return worlds.make_model('DIEN', batch, worlds.FEATURES, **options)


def without_negatives(batch):
    return {key: value for key, value in batch.items() if not key.startswith('history_negative/')}


@pytest.mark.parametrize('attention', [(6, 4), (6,), ()])
def test_dien_is_the_loop(attention):
    batch = worlds.make_batch(features=worlds.FEATURES)
    model = make(batch, attention=attention)
    want, _ = oracle.dien(model.params, model.tables, batch)
    np.testing.assert_allclose(model.logits(batch), want, rtol=1e-4, atol=1e-5)


def test_the_auxiliary_loss_is_the_loop():
    batch = worlds.make_batch(features=worlds.FEATURES)
    batch['valid'][3] = 0  # an example that is not there, with a history
    model = make(batch, auxiliary_weight=0.5)
    _, states = oracle.dien(model.params, model.tables, batch)
    ((_, (metrics, _)), _), rows = model.loss(batch)
    history, negative = (
        np.concatenate([rows[name][f'{side}/{name}'] for name in worlds.IDS], -1)
        for side in ('history', 'history_negative')
    )
    real = np.arange(5) < batch['history/length'][:, None]
    net = model.params['base']['auxiliary']
    layers = [(net[f'kernel_{depth}'], net[f'bias_{depth}']) for depth in range(3)]
    counts = real * batch['valid'].max(1, keepdims=True)
    auxiliary, _ = next_behaviour_loss(states, history, negative, counts, layers)
    np.testing.assert_allclose(metrics['auxiliary'], 0.5 * auxiliary, rtol=1e-5)


def test_the_auxiliary_loss_sees_neither_padding_nor_absent_examples():
    batch = worlds.make_batch(features=worlds.FEATURES)
    model = make(batch)
    ((loss, (metrics, _)), (of_params, _)), _ = model.loss(batch)
    longer = {}
    for key, value in batch.items():
        if key.startswith(('history/', 'history_negative/')) and value.ndim > 1:
            value = np.pad(value, ((0, 0), (0, 3)), constant_values=3)  # stale ids behind the length
        # Two examples more that are not there, though their histories are.
        absent = np.zeros_like(value[:2]) if key in ('valid', 'label') else value[1:3]
        longer[key] = np.concatenate([value, absent])
    ((again, (more, _)), (of_more, _)), _ = model.loss(longer)
    np.testing.assert_allclose([again, more['auxiliary']], [loss, metrics['auxiliary']], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), of_params, of_more)


def test_prediction_needs_no_negatives():
    batch = worlds.make_batch()
    model = worlds.make_model('DIEN', batch)
    bare = without_negatives(batch)
    np.testing.assert_array_equal(model.logits(batch), model.logits(bare))
    assert not any('history_negative' in key for ids in model.task.ids(bare).values() for key in ids)
    shapes = [jax.eval_shape(model.task.init, jax.random.key(0), worlds.on_device(b)) for b in (batch, bare)]
    assert shapes[0] == shapes[1] and 'auxiliary' in shapes[0][0]['base']


@pytest.mark.parametrize('missing', ['history_negative/', 'history_negative/category'])
def test_training_without_negatives_says_where_they_come_from(missing):
    batch = worlds.make_batch()
    model = worlds.make_model('DIEN', batch)
    batch = {key: value for key, value in batch.items() if not key.startswith(missing)}
    with pytest.raises(ValueError, match=r"lacks 'history_negative/<column>' of the history") as error:
        model.loss(batch)
    for remedy in ("data.history_negatives = 'uniform'", 'auxiliary_weight = 0'):
        assert remedy in str(error.value)


def test_without_the_auxiliary_loss_negatives_are_not_read():
    batch = worlds.make_batch()
    model = worlds.make_model('DIEN', batch, auxiliary_weight=0.0)
    assert 'auxiliary' not in model.params['base']
    assert not any('history_negative' in key for ids in model.task.ids(batch).values() for key in ids)
    ((loss, (metrics, _)), _), _ = model.loss(without_negatives(batch))
    assert loss == metrics['logloss'] and set(metrics) == {'logloss', 'pcoc'}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'hidden': 0}, r'hidden = 0: .* at least 1'),
        ({'auxiliary_weight': -1.0}, r'auxiliary_weight = -1.0: .* 0 to switch the loss off'),
        ({'activation': 'relu'}, r"model.activation = 'relu': choose one of \('prelu', 'dice'"),
        ({'atention': (3,)}, r"model.atention is not an option; did you mean 'attention'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        worlds.make_task('DIEN', **options)


@pytest.mark.parametrize('history', [('item',), ()])
def test_a_history_that_is_not_like_its_candidates_is_refused(history):
    with pytest.raises(ValueError, match=r'DIEN compares each behaviour .* must equal features.candidate'):
        worlds.make_task('DIEN', {**worlds.FEATURES, 'history': history})
