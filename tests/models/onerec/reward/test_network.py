"""OneRec's reward model against loops, and what it reports."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrec import embeddings as emb
from jaxrec.data.logs.schema import Column
from jaxrec.models.onerec.reward import calibration
from jaxrec.models.onerec.reward.network import make_task
from jaxrec.models.onerec.reward.shown import HEADS, RewardEvaluator
from tests.oracles import onerec as oracle

SCHEMA = {
    'item': Column('categorical', 'item', 12, 1),
    'category': Column('categorical', 'category', 5, 1),
    'price': Column('numeric', None, 0, 1),
}
CONFIG = {
    'columns': ('item', 'category'), 'dim': 3, 'width': 8, 'heads': 2, 'attention': (4,), 'towers': (5,),
    'init_std': 0.5,
}  # fmt: skip


def make_batch(requests=3, sessions=2, items=3, history=4, seed=0):
    rng = np.random.default_rng(seed)
    ids = lambda high, *shape: rng.integers(1, high, shape).astype(np.int32)
    batch = {
        'history/item': ids(12, requests, history),
        'history/category': ids(5, requests, history),
        'history/length': np.array([history, 0, 2], np.int32)[:requests],
        'session/item': ids(12, requests, sessions, items),
        'session/category': ids(5, requests, sessions, items),
        'session/length': np.full((requests, sessions), items, np.int32),
        'valid': np.ones((requests, sessions), np.float32),
    }
    batch['session/length'][0, 1] = 2
    labels = {f'label/{head}': rng.integers(0, 2, (requests, sessions)).astype(np.float32) for head in HEADS}
    return batch | labels


def make(**options):
    task, batch = make_task({**CONFIG, **options}, SCHEMA), make_batch()
    tables = emb.init_tables(task.tables, jax.random.key(0))
    rows = emb.lookup(task.tables, tables, task.ids(batch))
    params, _ = jax.jit(task.init)(jax.random.key(1), batch)
    return task, params, rows, batch


def by_hand(params, history, session, seen_ids, ids):
    """The four logits of one session: vectors [n, D] and [m, D], and of each column the ids of both sides."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))

    def interest(c):
        net = p['interest']
        logits = []
        for h in history:
            x = sigmoid(c @ net['candidate'] + h @ net['history'] + (c * h) @ net['product'] + net['bias'])
            logits.append((x @ net['score']['dense_0']['kernel'] + net['score']['dense_0']['bias'])[0])
        weights = oracle.softmax(np.asarray(logits)) if logits else []
        return sum((w * h for w, h in zip(weights, history, strict=True)), np.zeros(len(c)))

    items = []
    for place, c in enumerate(session):
        seen = interest(c)
        told = []
        for column, values in enumerate(seen_ids):
            own = ids[column][place]
            count = sum(value == own for value in values) if own >= 2 else 0
            told += [np.log(1 + count), count / max(len(values), 1)]
        x = np.concatenate([c, seen, c * seen, told]) @ p['item']['kernel'] + p['item']['bias']
        items.append(x + p['positions'][place])
    weights = {name: p[name]['kernel'] for name in ('query', 'key', 'value')}
    weights['out'] = p['out']['kernel'].reshape(2, 4, 8)
    pooled = sum(x + y for x, y in zip(items, oracle.attend(weights, items, [items] * len(items)), strict=True))
    logits = []
    for head in HEADS:
        tower = p[f'tower_{head}']
        x = pooled @ tower['dense_0']['kernel'] + tower['dense_0']['bias']
        x = np.where(x >= 0, x, tower['slope_0'] * x)
        logits.append((x @ tower['dense_1']['kernel'] + tower['dense_1']['bias'])[0])
    return np.asarray(logits)


def test_sessions_are_scored_as_by_hand():
    task, params, rows, batch = make()
    got = jax.jit(task.predict)(params, {}, rows, batch)
    vector = lambda side: np.concatenate([rows['item'][f'{side}/item'], rows['category'][f'{side}/category']], -1)
    history, session = vector('history').astype(np.float64), vector('session').astype(np.float64)
    for b, c in np.ndindex(3, 2):
        seen = history[b, : batch['history/length'][b]]
        length, size = batch['history/length'][b], batch['session/length'][b, c]
        ids = (
            [batch[f'history/{name}'][b, :length] for name in CONFIG['columns']],
            [batch[f'session/{name}'][b, c, :size] for name in CONFIG['columns']],
        )
        want = by_hand(params, seen, session[b, c, :size], *ids)
        np.testing.assert_allclose(got['probability'][b, c], 1 / (1 + np.exp(-want)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got['reward'], np.asarray(got['probability']).sum(-1), rtol=1e-5)


def test_heads_weigh_as_told():
    weights = {'swt': 0.0, 'vtr': 2.0, 'wtr': 0.0, 'ltr': 0.0}
    task, params, rows, batch = make(head_weights=weights)
    got = task.predict(params, {}, rows, batch)
    np.testing.assert_allclose(got['reward'], 2 * got['probability'][..., 1], rtol=1e-6)


def test_without_positions_a_session_is_a_set():
    task, params, rows, batch = make(positions=0)
    whole = np.s_[1:]  # sessions of full length
    turned = {t: {k: x[:, :, ::-1] if k.startswith('session/') else x for k, x in f.items()} for t, f in rows.items()}
    one, two = (task.predict(params, {}, r, batch)['probability'][whole] for r in (rows, turned))
    np.testing.assert_allclose(one, two, rtol=1e-5)


def test_loss_is_the_sum_of_the_heads_over_valid_sessions():
    task, params, rows, batch = make(row_l2=0.0)
    batch['valid'][2] = 0
    loss, (metrics, _) = task.loss(params, {}, rows, batch, jax.random.key(0))
    p = np.asarray(task.predict(params, {}, rows, batch)['probability'], np.float64)[:2]
    total = 0.0
    for place, head in enumerate(HEADS):
        y = batch[f'label/{head}'][:2]
        want = -np.mean(y * np.log(p[..., place]) + (1 - y) * np.log(1 - p[..., place]))
        np.testing.assert_allclose(metrics[f'loss_{head}'], want, rtol=1e-5)
        total += want
    np.testing.assert_allclose(loss, total, rtol=1e-5)


def test_heads_without_weight_of_their_own_are_not_learned():
    """What a log does not know is neither asked for, nor weighed, nor reported."""
    task, params, rows, batch = make(head_weights={'ltr': 2.0, 'swt': 1.0})
    assert task.heads == ('swt', 'ltr') and task.weights == (1.0, 0.0, 0.0, 2.0)
    known = {key: x for key, x in batch.items() if key not in ('label/vtr', 'label/wtr')}
    of_two = jax.value_and_grad(lambda p: task.loss(p, {}, rows, known, jax.random.key(0)), has_aux=True)
    run = jax.jit(lambda p: (of_two(p), task.predict(p, {}, rows, known)))
    ((loss, (metrics, _)), slope), got = run(params)
    p = np.asarray(got['probability'])
    assert metrics.keys() == {'loss_swt', 'loss_ltr'}
    for head in task.heads:
        y, q = known[f'label/{head}'], p[..., HEADS.index(head)]
        entropy = -np.mean(y * np.log(q) + (1 - y) * np.log(1 - q))
        np.testing.assert_allclose(metrics[f'loss_{head}'], entropy, rtol=1e-5)
    np.testing.assert_allclose(loss, metrics['loss_swt'] + metrics['loss_ltr'], rtol=1e-6)
    for head in HEADS:
        moved = any(np.asarray(x).any() for x in jax.tree.leaves(slope[f'tower_{head}']))
        assert moved == (head in task.heads), head
    assert p.shape == (3, 2, 4)
    np.testing.assert_allclose(got['reward'], p[..., 0] + 2 * p[..., 3], rtol=1e-5)
    evaluator = task.evaluator()
    evaluator.add(known, {'probability': p})
    assert evaluator.collected()[0].shape == evaluator.collected()[1].shape == (6, 2)
    found = evaluator.merge(task.evaluator()).compute()
    assert found.keys() == {f'{what}_{head}' for what in ('auc', 'logloss', 'pcoc') for head in task.heads} | {
        'auc',
        'one_class',
    }
    np.testing.assert_array_equal(evaluator.collected()[1][:, 1], p[..., 3].reshape(-1))
    calibrated = calibration.fit(*evaluator.collected(), evaluator.heads)
    assert calibrated[1] == calibrated[2] == (1.0, 0.0)
    alone = calibration.fit(*(x[:, 1:] for x in evaluator.collected()), ('ltr',))
    assert calibrated[3] == alone[3] != (1.0, 0.0)


def test_a_handful_of_sessions_is_learnt_by_heart():
    task, params, rows, batch = make()
    optimizer = optax.adam(0.02)

    @jax.jit
    def step(params, state):
        loss, grads = jax.value_and_grad(lambda p: task.loss(p, {}, rows, batch, jax.random.key(0))[0])(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, loss

    state = optimizer.init(params)
    for _ in range(300):
        params, state, loss = step(params, state)
    assert loss < 0.1


def test_report_of_each_head():
    evaluator, rng = RewardEvaluator(), np.random.default_rng(0)
    labels, p, kept = rng.integers(0, 2, (40, 2, 4)), rng.random((40, 2, 4)), rng.random((40, 2)) < 0.8
    for half in (slice(0, 25), slice(25, 40)):
        batch = {f'label/{head}': labels[half, :, at] for at, head in enumerate(HEADS)} | {'valid': kept[half]}
        evaluator.add(batch, {'probability': p[half]})
    got = evaluator.compute()
    for at, head in enumerate(HEADS):
        y, q = labels[kept][:, at], p[kept][:, at]
        pairs = [(a > b) + 0.5 * (a == b) for a in q[y == 1] for b in q[y == 0]]
        np.testing.assert_allclose(got[f'auc_{head}'], np.mean(pairs))
        np.testing.assert_allclose(got[f'pcoc_{head}'], q.sum() / y.sum())
        np.testing.assert_allclose(got[f'logloss_{head}'], -np.mean(np.log(np.where(y, q, 1 - q))))
    np.testing.assert_allclose(got['auc'], np.mean([got[f'auc_{head}'] for head in HEADS]))
    assert got['one_class'] == 0 and evaluator.one_class() == ()


def test_heads_of_one_class_are_counted_and_named(caplog):
    evaluator, rng = RewardEvaluator(), np.random.default_rng(0)
    labels, p = rng.integers(0, 2, (40, 4)).astype(np.float32), rng.random((40, 1, 4))
    labels[:, 1], labels[:, 2] = 1, 0  # all were viewed, none was followed
    batch = {f'label/{head}': labels[:, at, None] for at, head in enumerate(HEADS)}
    evaluator.add(batch | {'valid': np.ones((40, 1))}, {'probability': p})
    got = evaluator.compute()
    assert evaluator.one_class() == ('vtr', 'wtr') and got['one_class'] == 2
    assert np.isnan([got['auc_vtr'], got['auc_wtr'], got['pcoc_wtr']]).all()
    np.testing.assert_allclose(got['auc'], (got['auc_swt'] + got['auc_ltr']) / 2)
    np.testing.assert_allclose(got['pcoc_vtr'], p[:, 0, 1].mean())
    np.testing.assert_allclose(got['logloss_wtr'], -np.log(1 - p[:, 0, 2]).mean())
    assert np.isfinite([got[f'logloss_{head}'] for head in HEADS]).all()
    assert 'no AUC of vtr, wtr: the label is the same in all 40 sessions' in caplog.text
    assert 'auc is the mean over 2 of 4 heads' in caplog.text
    none = RewardEvaluator(('wtr',))
    none.add({'label/wtr': np.zeros((3, 1)), 'valid': np.ones((3, 1))}, {'probability': p[:3]})
    assert np.isnan(none.compute()['auc'])


def test_shares_of_a_session_are_labels_too():
    """Where a follow is rare no session has most items followed; those with any stand above the others."""
    evaluator, rng = RewardEvaluator(), np.random.default_rng(1)
    labels, p = rng.choice([0, 0.2, 0.4], (50, 4)).astype(np.float32), rng.random((50, 1, 4))
    batch = {f'label/{head}': labels[:, at, None] for at, head in enumerate(HEADS)}
    evaluator.add(batch | {'valid': np.ones((50, 1))}, {'probability': p})
    got = evaluator.compute()
    assert evaluator.one_class() == () and got['one_class'] == 0
    for at, head in enumerate(HEADS):
        some, none = p[labels[:, at] > 0, 0, at], p[labels[:, at] == 0, 0, at]
        np.testing.assert_allclose(got[f'auc_{head}'], np.mean(some[:, None] > none))


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ({'columns': ('price',)}, r"model\.columns names 'price', which is no categorical column"),
        ({'width': 9}, r'model\.width = 9 is no multiple of model\.heads = 2'),
        ({'head_weights': {'cmt': 1.0, 'swt': 1.0}}, r"head_weights names \['cmt', 'swt'\]; give one for each"),
        ({'head_weights': {}}, r'model\.head_weights names \[\]; .* that is to be learned, at least one'),
        ({'positions': 2}, r'model\.positions = 2 of the reward model, and sessions have 3 items: raise it'),
    ],
)
def test_reward_models_that_cannot_be(config, message):
    with pytest.raises(ValueError, match=message):
        make(**config)


def test_missing_items_and_labels_are_named():
    task, params, rows, batch = make()
    with pytest.raises(ValueError, match=r"the batch lacks 'session/item'"):
        task.ids({key: x for key, x in batch.items() if key != 'session/item'})
    for label in (None, np.zeros(3, np.float32)):
        wrong = {key: x for key, x in {**batch, 'label/wtr': label}.items() if x is not None}
        with pytest.raises(ValueError, match=r"batch\['label/wtr'\] is .*, 'valid' is \(3, 2\).* leave wtr out of"):
            task.loss(params, {}, rows, wrong, jax.random.key(0))


def test_a_request_scores_all_its_sessions_in_one_trace():
    task, params, rows, batch = make()
    traces = []

    @jax.jit
    def run(params, rows, batch):
        traces.append(1)
        return task.predict(params, {}, rows, batch)['reward']

    one = run(params, rows, batch)
    assert one.shape == (3, 2) and run(params, rows, {**batch, 'valid': jnp.zeros((3, 2))}).shape == (3, 2)
    assert len(traces) == 1 and HEADS == ('swt', 'vtr', 'wtr', 'ltr')
