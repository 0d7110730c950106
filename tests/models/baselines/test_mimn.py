"""MIMN against numpy from the same parameters and tables; its windows, its loss and its options."""

import chex
import jax
import numpy as np
import pytest

from tests.models import worlds
from tests.oracles import ctr as oracle
from tests.oracles.memory import utilisation_loss


def make(batch, features=worlds.FEATURES, **options):
    return worlds.make_model('MIMN', batch, features, **options)


def cut(batch, older, sizes):
    """The batch with the first `older` [B] behaviours of each history in a window of their own."""
    length, (long, short) = batch['history/length'], sizes
    older = np.minimum(older, length)
    parted = {**batch, 'long/length': older.astype(np.int32), 'history/length': (length - older).astype(np.int32)}
    for key in [key for key in batch if key.startswith('history/') and key != 'history/length']:
        windows = {'long': (np.zeros_like(older), older, long), 'history': (older, length, short)}
        for side, (first, last, size) in windows.items():
            # Behind each length stand ids that only the mask hides.
            window = np.full((len(length), size, *batch[key].shape[2:]), 3, batch[key].dtype)
            for b in range(len(length)):
                window[b, : last[b] - first[b]] = batch[key][b, first[b] : last[b]]
            parted[key.replace('history', side)] = window
    return parted


@pytest.mark.parametrize('channels', [1, 2, 0])
def test_mimn_is_the_loop(channels):
    batch = worlds.make_batch(features=worlds.FEATURES)
    model = make(batch, channels=channels)
    want, _ = oracle.mimn(model.params, model.tables, batch, channels)
    np.testing.assert_allclose(model.logits(batch), want, rtol=1e-4, atol=1e-5)
    assert ('attention' in model.params['base']) == (channels > 0)


@pytest.mark.slow
@pytest.mark.parametrize('pooling', ('sum', 'mean'))
def test_both_windows_read_as_one(pooling):
    batch = worlds.make_batch(length=7)
    whole = worlds.make_model('MIMN', batch, history_pooling=pooling)
    parted = cut(batch, older=np.array([0, 4, 9, 2, 0, 3]), sizes=(5, 8))
    both = worlds.make_model('MIMN', parted, history_pooling=pooling, window='full')
    jax.tree.map(np.testing.assert_array_equal, both.params, whole.params)
    np.testing.assert_allclose(both.logits(parted), whole.logits(batch), rtol=1e-4, atol=1e-5)
    assert {key for ids in both.task.ids(parted).values() for key in ids if key.startswith('long/')} == {
        f'long/{name}'
        for name in ('item', 'category', 'tags')  # prices have no table
    }
    (_, (_, of_rows)), _ = both.loss(parted)
    for features in of_rows.values():
        for key, gradient in features.items():
            side = key.partition('/')[0]
            if side in ('long', 'history'):
                real = np.arange(gradient.shape[1]) < parted[f'{side}/length'][:, None]
                assert gradient[real].any() and not gradient[~real].any()


def test_the_short_window_needs_no_other():
    batch = worlds.make_batch()
    parted = cut(batch, older=np.full(6, 2), sizes=(3, 5))
    model = worlds.make_model('MIMN', batch)
    without = {key: value for key, value in parted.items() if not key.startswith('long/')}
    np.testing.assert_array_equal(model.logits(parted), model.logits(without))
    assert not any(key.startswith('long/') for ids in model.task.ids(parted).values() for key in ids)
    with pytest.raises(ValueError, match="lacks 'long/item', which the model reads"):
        worlds.make_task('MIMN', window='full').ids(without)


def test_the_utilisation_loss_is_the_loop():
    batch = worlds.make_batch(features=worlds.FEATURES)
    batch['valid'][3] = 0  # an example that is not there, with a history
    model = make(batch, utilisation_weight=0.5)
    _, memory = oracle.mimn(model.params, model.tables, batch, 2)
    want = 0.5 * utilisation_loss(memory[4], memory[5], batch['valid'].max(1))
    ((loss, (metrics, _)), (of_params, _)), _ = model.loss(batch)
    np.testing.assert_allclose(metrics['utilisation'], want, rtol=1e-4)
    assert want > 1e-4 and np.abs(of_params['base']['memory']['balance']).max() > 0
    np.testing.assert_allclose(loss, metrics['logloss'] + metrics['utilisation'], rtol=1e-6)


@pytest.mark.slow
def test_without_the_utilisation_loss_writes_are_not_balanced():
    batch = worlds.make_batch(features=worlds.FEATURES)
    model = make(batch, utilisation_weight=0.0)
    assert 'balance' not in model.params['base']['memory']
    np.testing.assert_allclose(
        model.logits(batch), oracle.mimn(model.params, model.tables, batch, 2)[0], rtol=1e-4, atol=1e-5
    )
    ((loss, (metrics, _)), _), _ = model.loss(batch)
    assert loss == metrics['logloss'] and set(metrics) == {'logloss', 'pcoc'}


def test_the_memory_is_written_once_whatever_the_candidates():
    """No array of the compiled program has both the candidates' and the histories' axis."""
    batch = worlds.make_batch(size=3, candidates=11, length=29, features=worlds.FEATURES)
    model = make(batch)
    rows = {
        table: {key: np.zeros((*x.shape, model.task.tables[table].dim), np.float32) for key, x in ids.items()}
        for table, ids in model.task.ids(batch).items()
    }
    predict = lambda rows: model.task.predict(model.params, model.model_state, rows, worlds.on_device(batch))
    shapes = set()

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            shapes.update(tuple(v.aval.shape) for v in equation.outvars)
            for inner in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda x: hasattr(x, 'eqns') or hasattr(x, 'jaxpr')
            ):
                if hasattr(inner, 'eqns') or hasattr(inner, 'jaxpr'):
                    visit(getattr(inner, 'jaxpr', inner))

    visit(jax.make_jaxpr(predict)(rows).jaxpr)
    assert any(29 in shape for shape in shapes) and any(11 in shape for shape in shapes)
    assert not [shape for shape in shapes if 29 in shape and 11 in shape]


def test_long_histories_train_in_one_trace():
    batch = worlds.make_batch(size=4, candidates=1, length=2000, features=worlds.FEATURES)
    model = make(batch)
    sent = worlds.on_device(batch)
    chex.clear_trace_counter()
    loss_of = chex.assert_max_traces(lambda *given: model.task.loss(*given), n=1)
    grads = jax.jit(jax.value_and_grad(loss_of, has_aux=True))
    look = {
        table: {key: model.tables[table][ids] for key, ids in features.items()}
        for table, features in model.task.ids(batch).items()
    }
    for _ in range(2):
        (loss, _), of = grads(model.params, model.model_state, look, sent, None)
    assert np.isfinite(loss) and all(np.isfinite(x).all() for x in jax.tree.leaves(of))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'window': 'long'}, r"window = 'long': choose one of \('short', 'full'\); .* data.lifelong"),
        ({'slots': 0, 'channels': 0}, r'slots = 0: .* at least 1'),
        ({'hidden': 0}, r'hidden = 0: .* at least 1'),
        ({'channels': 4}, r'channels = 4: .* at most as many channels as there are slots, 3; 0 does without'),
        ({'channels': -1}, r'channels = -1: .* 0 does without'),
        ({'utilisation_weight': -1.0}, r'utilisation_weight = -1.0: .* or 0 to leave'),
        ({'slot': 3}, r"model.slot is not an option; did you mean 'slots'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        worlds.make_task('MIMN', **options)


@pytest.mark.parametrize('history', [('item',), ()])
def test_a_history_that_is_not_like_its_candidates_is_refused(history):
    with pytest.raises(ValueError, match=r'MIMN compares each behaviour .* must equal features.candidate'):
        worlds.make_task('MIMN', {**worlds.FEATURES, 'history': history})
