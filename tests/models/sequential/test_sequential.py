"""SASRec, BERT4Rec and FDSA against loops over places, and what each may see."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrec.configurable import resolve
from jaxrec.data.logs.schema import Column
from jaxrec.models.sequential.task import draw_items, shifted
from tests.conftest import slow_but_for
from tests.oracles import onerec as oracle

ROWS = 9
SCHEMA = {
    'item': Column('categorical', 'item', ROWS, 1),
    'category': Column('categorical', 'category', 5, 1),
    'tags': Column('multi', 'tags', 6, 3),
    'price': Column('numeric', None, 0, 1),
}
SMALL = {'width': 6, 'heads': 2, 'layers': 2, 'hidden': 7, 'length': 5, 'init_std': 0.5}
LENGTHS = np.array([4, 0, 2], np.int32)
TAGS = np.array([[2, 3, 0], [4, 0, 0], [0, 0, 0], [5, 2, 3]])  # of a history's items, up to three each
NAMES = ('sasrec', 'bert4rec', 'fdsa')


def make(name, **options):
    config = {**SMALL, 'dropout': 0.0, **({'columns': ('category',)} if name == 'fdsa' else {}), **options}
    task = resolve(f'jaxrec.models.sequential.{name}:make_task', 'task')(config, SCHEMA)
    rng = np.random.default_rng(0)
    real = np.arange(4) < LENGTHS[:, None]  # padding is 0, as sources have it
    batch = {
        'history/item': (rng.integers(2, ROWS, (3, 4)) * real).astype(np.int32),
        'history/category': (rng.integers(1, 5, (3, 4)) * real).astype(np.int32),
        'history/tags': (TAGS * real[..., None]).astype(np.int32),
        'history/length': LENGTHS,
        'target/item': rng.integers(2, ROWS, (3, 1)).astype(np.int32),
        'valid': np.ones((3, 1), np.float32),
    }
    params, state = jax.jit(task.init)(jax.random.key(0), batch)
    shake = lambda x: x + 0.2 * jax.random.normal(jax.random.key(x.size), x.shape)
    return task, jax.tree.map(shake, params), state, batch


def encode(params, xs, causal):
    """The places of one sequence, float64."""
    places = np.asarray(params['positions'], np.float64)[5 - len(xs) :]
    xs = [x + place for x, place in zip(xs, places, strict=True)]
    for i in range(2):
        w = oracle.layers(params['layers'], i)
        normed = [oracle.norm(x, w['self_norm']) for x in xs]
        seen = [normed[: at + 1] if causal else normed for at in range(len(xs))]
        xs = [x + y for x, y in zip(xs, oracle.attend(w['self'], normed, seen), strict=True)]
        xs = [x + oracle.feed(w['feed'], oracle.norm(x, w['feed_norm']), 'relu') for x in xs]
    return [oracle.norm(x, np.asarray(params['norm'], np.float64)) for x in xs]


def slow_last(name, params, batch, b):
    """What the latest place of a request is, float64 [X]."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    scale, items = np.sqrt(6), batch['history/item'][b, : LENGTHS[b]]
    xs = [p['items'][i] * scale for i in items]
    if name == 'bert4rec':
        last = encode(params['encoder'], [*xs, p['mask'] * scale], False)[-1]
        return np.asarray(jax.nn.gelu(last @ p['project']['kernel'] + p['project']['bias']), np.float64)
    if not len(xs):
        return np.zeros(6)
    if name == 'sasrec':
        return encode(params['encoder'], xs, True)[-1]
    features = [p['feature_category'][c] * scale for c in batch['history/category'][b, : LENGTHS[b]]]
    both = [encode(params['of_items'], xs, True)[-1], encode(params['of_features'], features, True)[-1]]
    return np.concatenate(both) @ p['join']['kernel'] + p['join']['bias']


@pytest.mark.parametrize('name', slow_but_for(('sasrec', 'fdsa'), NAMES))
def test_items_are_ranked_as_the_loops_score_them(name):
    task, params, state, batch = make(name)
    got = jax.jit(dataclasses.replace(task, best=3).predict)(params, state, {}, batch)
    vectors = np.asarray(params['items'], np.float64)[2:]
    for b in range(3):
        scores = vectors @ slow_last(name, params, batch, b)
        own = scores[batch['target/item'][b, 0] - 2]
        if LENGTHS[b] or name == 'bert4rec':
            order = np.argsort(-scores)
            np.testing.assert_array_equal(got['items'][b], order[:3] + 2)
            np.testing.assert_allclose(got['scores'][b], scores[order[:3]], rtol=1e-3, atol=1e-3)
            assert got['rank'][b] == (scores > own).sum() + 1
        else:  # nothing is known, so all items are equal
            assert got['rank'][b] == (len(scores) + 1) / 2


@pytest.mark.parametrize('name', slow_but_for(('sasrec', 'fdsa'), NAMES))
def test_padding_is_not_seen(name):
    task, params, state, batch = make(name)
    other = {key: value.copy() for key, value in batch.items()}
    for key in ('history/item', 'history/category'):
        other[key][1], other[key][2, 2:] = 3, 3
    one, two = (jax.jit(task.predict)(params, state, {}, x)['scores'] for x in (batch, other))
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name', slow_but_for(('sasrec',), NAMES))
def test_training_learns_a_handful_by_heart(name):
    task, params, state, batch = make(name)
    batch['target/item'][1] = 2
    optimizer = optax.adam(0.02)

    @jax.jit
    def step(params, opt, i):
        loss = lambda p: task.loss(p, state, {}, batch, jax.random.fold_in(jax.random.key(0), i))[0]
        value, grads = jax.value_and_grad(loss)(params)
        updates, opt = optimizer.update(grads, opt)
        return optax.apply_updates(params, updates), opt, value

    opt = optimizer.init(params)
    for i in range(150):
        params, opt, _ = step(params, opt, i)
    got = np.asarray(task.predict(params, state, {}, batch)['rank'])
    assert (got[LENGTHS > 0] == 1).all()


def test_labels_are_the_items_that_follow():
    _, _, _, batch = make('sasrec')
    batch['history/item'] = np.array([[2, 3, 1, 4], [5, 5, 5, 5], [6, 7, 0, 0]], np.int32)
    batch['target/item'] = np.array([[8], [8], [3]], np.int32)
    labels, counts = (np.asarray(x) for x in shifted({k: jnp.asarray(v) for k, v in batch.items()}))
    np.testing.assert_array_equal(counts, [[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]])
    np.testing.assert_array_equal(labels[0, [0, 2, 3]], [3, 4, 8])
    np.testing.assert_array_equal(labels[2, :2], [7, 3])


def test_a_causal_place_does_not_see_what_follows():
    task, params, _, batch = make('sasrec')
    other = {**batch, 'history/item': batch['history/item'].copy()}
    other['history/item'][0, 3] = 2 + (other['history/item'][0, 3] - 1) % (ROWS - 2)
    hidden = [
        np.asarray(task.module.apply({'params': params}, x, jax.random.key(0), method='places')[0])
        for x in (batch, other)
    ]
    np.testing.assert_array_equal(hidden[0][0, :3], hidden[1][0, :3])
    assert (hidden[0][0, 3] != hidden[1][0, 3]).any()


def test_hidden_places_follow_the_key_and_hold_the_target():
    task, params, _, batch = make('bert4rec', hide=0.5)
    places = lambda key: task.module.apply({'params': params}, batch, jax.random.key(key), method='places')
    _, items, counts = places(1)
    np.testing.assert_array_equal(np.asarray(items)[np.arange(3), LENGTHS], batch['target/item'][:, 0])
    counts = np.asarray(counts)
    assert (counts[np.arange(3), LENGTHS] == 1).all() and not counts[1, 1:].any()
    np.testing.assert_array_equal(counts, places(1)[2])
    assert any((counts != np.asarray(places(key)[2])).any() for key in range(2, 6))


def test_several_features_of_an_item_are_weighed_against_each_other():
    task, params, _, batch = make('fdsa', columns=('category', 'tags'))
    hidden = jax.jit(lambda p, b: task.module.apply({'params': p}, b, method='last'))
    got = hidden(params, batch)
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    for b in (0, 2):
        features = []
        for at in range(LENGTHS[b]):
            found = [p['feature_category'][batch['history/category'][b, at]]]
            found += [p['feature_tags'][tag] for tag in TAGS[at] if tag]
            logits = np.stack([x @ p['weigh']['kernel'] + p['weigh']['bias'] for x in found])
            shares = np.exp(logits) / np.exp(logits).sum(0)
            features.append((shares * np.stack(found)).sum(0) * np.sqrt(6))
        items = [p['items'][i] * np.sqrt(6) for i in batch['history/item'][b, : LENGTHS[b]]]
        both = [encode(p['of_items'], items, True)[-1], encode(p['of_features'], features, True)[-1]]
        want = np.concatenate(both) @ p['join']['kernel'] + p['join']['bias']
        np.testing.assert_allclose(got[b], want, rtol=1e-3, atol=1e-3)
    other = batch['history/tags'].copy()
    other[0, 3, 2] = 4
    assert np.abs(hidden(params, {**batch, 'history/tags': other})[0] - got[0]).max() > 1e-3


def test_negatives_are_drawn_evenly_from_the_items():
    drawn = np.asarray(draw_items(jax.random.key(0), 70_000, ROWS))
    counts = np.bincount(drawn, minlength=ROWS)
    assert not counts[:2].any() and len(counts) == ROWS
    np.testing.assert_allclose(counts[2:] / 10_000, 1, atol=0.05)
    assert (drawn[:50] != np.asarray(draw_items(jax.random.key(1), 50, ROWS))).any()


@pytest.mark.slow
def test_sampled_softmax_trains_too():
    task, params, state, batch = make('sasrec', negatives=64)
    whole = make('sasrec')[0]
    key = jax.random.key(3)
    sampled, full = (float(t.loss(params, state, {}, batch, key)[0]) for t in (task, whole))
    assert np.isfinite(sampled) and sampled != full


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('sasrec', {'width': 7}, r'model\.width = 7 is no multiple of model\.heads = 2'),
        ('sasrec', {'layers': 0}, r'model\.layers = 0: give at least 1'),
        ('sasrec', {'activation': 'tanh'}, r"model\.activation = 'tanh' does not exist"),
        ('sasrec', {'dropout': 1.0}, r'model\.dropout = 1\.0 is outside'),
        ('sasrec', {'best': 9}, r'model\.best = 9: give at least 10, of which coverage is told'),
        ('bert4rec', {'hide': 1.0}, r'model\.hide = 1\.0 is outside'),
        ('fdsa', {'columns': ('price',)}, r"model\.columns = \('price',\): FDSA reads at least one column"),
        ('fdsa', {'columns': ()}, r"categorical or multi-valued; the log has \['category', 'item', 'tags'\]"),
    ],
)
def test_models_that_cannot_be(name, options, message):
    with pytest.raises(ValueError, match=message):
        make(name, **options)
