"""What each explorer ranks by, against loops, closed forms and inverses in numpy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.models.age.policies.events import as_batch, shown_pairs
from jaxrec.models.age.policies.gaussian_process import last_hidden
from jaxrec.models.age.policies.stochastic import chances
from jaxrec.ops.dropout import drop_weights, fold_words, key_words
from tests.conftest import slow_but_for
from tests.models.age.policies import worlds

KEY = jax.random.key(4)


@functools.cache
def learnt(name, **options):
    policy, requests = worlds.make(name, **options), worlds.make_requests()
    state = policy.learn(policy.init(jax.random.key(0), requests), worlds.make_events(1, 12))
    return policy, state, jax.device_get(policy.rank(state, requests, KEY))


def model_of(policy, state, batch):
    batch = {key: jnp.asarray(x) for key, x in batch.items()}
    return policy._model(state.params, state.model_state['base'], state.tables, batch)


def pair_gradient(task):
    """The gradient of one pair's probability, compiled."""

    @jax.jit
    def grad(params, rows, batch):
        score = lambda params, rows: task.predict(params, {}, rows, batch)['probability'][0, 0]
        return jax.grad(score, (0, 1))(params, rows)

    return grad


def pair_gradients(policy, state, batch, grad=None):
    """{(b, c): (gradient of weights, {table: {id: gradient of its row}})}, by plain gradients of one pair."""
    model, found = model_of(policy, state, batch), {}
    grad = grad or pair_gradient(model.task)
    for b, c in np.ndindex(batch['valid'].shape):
        own = lambda k, x, b=b, c=c: x[b : b + 1] if k.startswith('user/') else x[b : b + 1, c : c + 1]
        one = lambda tree, own=own: {k: own(k, x) for k, x in tree.items()}
        of_weights, of_rows = grad(state.params, {t: one(f) for t, f in model.rows.items()}, one(dict(model.batch)))
        ids = {t: one(f) for t, f in model.ids.items()}
        rows = {
            (t, int(ids[t][k].reshape(-1)[0])): np.asarray(g).reshape(-1)
            for t, f in of_rows.items()
            for k, g in f.items()
        }
        found[b, c] = jax.device_get(of_weights), rows
    return found


@pytest.mark.parametrize(
    'name', slow_but_for(('gradient-UCB', 'UR-gradient-UCB'), ('gradient-UCB', 'norm-UCB', 'UR-gradient-UCB'))
)
def test_sigma_is_that_of_a_loop_over_pairs(name):
    policy, state, ranked = learnt(name, ridge=0.5, scale=2.0)
    memory, requests = jax.device_get(state.model_state['memory']), worlds.make_requests()
    precision = 'weights' in memory
    for (b, c), (of_weights, of_rows) in pair_gradients(policy, state, as_batch(requests)).items():
        if not requests['pool'][b, c]:
            continue
        ones = jax.tree.map(np.ones_like, of_weights)
        u = memory['weights'] if precision else ones
        total = sum(jax.tree.leaves(jax.tree.map(lambda g, u: (g * g / u).sum(), of_weights, u)))
        for (table, number), g in of_rows.items():
            total += (g * g / (memory['rows'][table][number] if precision else 1)).sum()
        sigma = np.sqrt(total * (0.5 if precision else 1))
        if 'clicks' in memory:
            item = requests['candidate/item'][b, c]
            sigma *= (memory['clicks'][item] + 1) / (memory['predicted'][item] + 1)
        want = ranked.probability[b, c] + 2 * sigma
        np.testing.assert_allclose(ranked.score[b, c], want, rtol=1e-3)


def test_a_diagonal_collects_the_squares_of_what_was_shown_before_it_is_learned():
    """Of each step of 8 pairs by the weights before that step, whatever is learned again later."""
    policy, events = worlds.make('UR-gradient-UCB', ridge=0.5, scale=2.0), worlds.make_events(1, 12)
    fresh = lambda: policy.init(jax.random.key(0), worlds.make_requests())
    eight = {**events, 'valid': events['valid'] & (events['valid'].cumsum() <= 8)}
    twice = dataclasses.replace(policy, epochs=2)
    twice.__dict__.update({name: getattr(policy, name) for name in ('_step', '_observe')})  # compiled once
    begin, between, state = fresh(), policy.learn(fresh(), eight), twice.learn(fresh(), events)
    state = policy.learn(state, {**events, 'seen': np.ones(12, bool)})
    pairs = shown_pairs(events)
    memory = jax.device_get(state.model_state['memory'])
    want = jax.tree.map(lambda x: np.full(x.shape, 0.5), state.params)
    rows = {name: np.full(x.shape, 0.5) for name, x in memory['rows'].items()}
    predicted, grad = np.zeros(30), pair_gradient(policy.task.base)
    for by, part in ((begin, slice(0, 8)), (between, slice(8, 11))):
        cut = {key: x[part] for key, x in pairs.items()}
        for of_weights, of_rows in pair_gradients(policy, by, cut, grad).values():
            want = jax.tree.map(lambda u, g: u + g * g, want, of_weights)
            for (table, number), g in of_rows.items():
                rows[table][number] += g * g
        probability = np.asarray(model_of(policy, by, cut).predict()['probability'])
        np.add.at(predicted, cut['candidate/item'][:, 0], probability[:, 0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3), memory['weights'], want)
    for name, table in rows.items():
        np.testing.assert_allclose(memory['rows'][name][1:], table[1:], rtol=1e-3)
    item, clicks = pairs['candidate/item'][:, 0], np.zeros(30)
    np.add.at(clicks, item, pairs['label'][:, 0])
    np.testing.assert_array_equal(memory['clicks'], clicks)
    np.testing.assert_allclose(memory['predicted'], predicted, rtol=1e-4)
    assert len(pairs['label']) == 11


def hidden_of(policy, state, batch):
    """phi by numpy: embeddings, dense, PReLU, twice."""
    model = model_of(policy, state, batch)
    rows = jax.device_get(model.rows)
    user = np.repeat(rows['user']['user/user'][:, None], batch['valid'].shape[1], 1)
    x = np.concatenate([user, rows['item']['candidate/item'], rows['category']['candidate/category']], -1)
    head = jax.device_get(state.params['head'])
    for depth in range(2):
        x = x @ head[f'dense_{depth}']['kernel'] + head[f'dense_{depth}']['bias']
        x = np.where(x >= 0, x, head[f'slope_{depth}'] * x)
    return x


def test_a_process_on_the_last_layer_has_the_variance_of_an_inverse():
    policy, state, ranked = learnt('GP-TS', form='ucb', ridge=0.3, scale=2.0)
    pairs, requests = shown_pairs(worlds.make_events(1, 12)), worlds.make_requests()
    model = model_of(policy, state, pairs)
    phi = hidden_of(policy, state, pairs)
    np.testing.assert_allclose(jax.jit(lambda: last_hidden(model))(), phi, rtol=1e-3, atol=1e-6)
    one = lambda x: np.concatenate([x, np.ones_like(x[..., :1])], -1)
    p = np.asarray(model.predict()['probability'])
    a = 0.3 * np.eye(5) + np.einsum('bc,bci,bcj->ij', p * (1 - p), one(phi), one(phi))
    tested = one(hidden_of(policy, state, as_batch(requests)))
    deviation = np.sqrt(np.einsum('bci,ij,bcj->bc', tested, np.linalg.inv(a), tested))
    logit = np.log(ranked.probability / (1 - ranked.probability)) + 2 * deviation
    pool = requests['pool']
    np.testing.assert_allclose(ranked.score[pool], 1 / (1 + np.exp(-logit[pool])), rtol=1e-3)


def test_draws_of_the_last_layer_have_its_variance():
    policy, state, _ = learnt('GP-TS')
    requests = worlds.make_requests()
    drawn = np.stack([policy.score(state, requests, jax.random.key(i)) for i in range(300)])
    probability = np.asarray(policy.rank(state, requests, KEY).probability)
    ucb = worlds.make('GP-TS', form='ucb')
    bound = np.asarray(ucb.score(state, requests, KEY))
    logit = lambda p: np.log(p / (1 - p))
    sigma = logit(bound[0]) - logit(probability[0])
    got = logit(drawn[:, 0]) - logit(probability[0])
    np.testing.assert_allclose(got.std(0), sigma, rtol=0.2)
    assert (np.abs(got.mean(0)) < 5 * sigma / np.sqrt(300)).all()


def test_an_ensemble_is_its_networks():
    policy, state, ranked = learnt('Ensemble-UCB', scale=2.0)
    requests, base = worlds.make_requests(), policy.task.base.base
    model = model_of(policy, state, as_batch(requests))
    own = [jax.tree.map(lambda x, m=m: x[m], state.params) for m in range(3)]
    networks = np.stack([base.predict(p, {}, model.rows, model.batch)['probability'] for p in own])
    pool = requests['pool']
    np.testing.assert_allclose(ranked.probability[pool], networks.mean(0)[pool], rtol=1e-4)
    want = networks.mean(0) + 2 * networks.std(0)
    np.testing.assert_allclose(ranked.score[pool], want[pool], rtol=1e-3)
    drawn = np.asarray(worlds.make('Ensemble-TS').score(state, requests, KEY))
    distance = np.abs(drawn[None] - networks)  # each request has one network for all its candidates
    assert all(distance[:, b][:, pool[b]].max(-1).min() < 1e-5 for b in range(worlds.B - 1))
    assert networks.std(0)[pool].min() > 1e-5


def test_dropout_alone_is_a_thinned_network_or_their_spread():
    policy, state, ranked = learnt('dropout-UCB', scale=2.0)
    requests, task = worlds.make_requests(), policy.task.base
    model = model_of(policy, state, as_batch(requests))
    thin = jax.jit(lambda words: task.predict(drop_weights(state.params, words, 0.2), {}, model.rows, model.batch))
    samples = np.zeros((3, worlds.B, worlds.C))
    for n, b in np.ndindex(3, worlds.B):
        samples[n, b] = thin(fold_words(fold_words(key_words(KEY), n), b))['probability'][b]
    spread = np.sqrt(((samples - ranked.probability) ** 2).mean(0))
    pool = requests['pool']
    want = (ranked.probability + 2 * spread)[pool]
    np.testing.assert_allclose(ranked.score[pool], want, rtol=1e-3)
    drawn = np.asarray(worlds.make('dropout-TS').score(state, requests, KEY))
    np.testing.assert_allclose(
        drawn[1][pool[1]], thin(fold_words(key_words(KEY), 1))['probability'][1][pool[1]], rtol=1e-4
    )


def test_linucb_is_a_ridge_regression_an_item():
    *_, ranked = learnt('LinUCB', ridge=0.7)
    pairs, requests = shown_pairs(worlds.make_events(1, 12)), worlds.make_requests()
    hot = lambda user: np.concatenate([[1.0], np.arange(20) == user])
    for b, c in np.argwhere(requests['pool']):
        a, clicked, x = 0.7 * np.eye(21), np.zeros(21), hot(requests['user/user'][b])
        for user, item, label in zip(
            pairs['user/user'], pairs['candidate/item'][:, 0], pairs['label'][:, 0], strict=True
        ):
            if item == requests['candidate/item'][b, c]:
                a, clicked = a + np.outer(hot(user), hot(user)), clicked + label * hot(user)
        mean = np.linalg.solve(a, clicked) @ x
        np.testing.assert_allclose(ranked.probability[b, c], mean, rtol=1e-4, atol=1e-6)
        bound = mean + 0.5 * np.sqrt(x @ np.linalg.solve(a, x))
        np.testing.assert_allclose(ranked.score[b, c], bound, rtol=1e-4)


def test_linucb_counts_an_item_shown_often():
    policy = worlds.make('LinUCB')
    events = worlds.make_events(1, 24)
    events['candidate/item'][events['pool']] = 3
    state = policy.learn(policy.init(KEY, events), events)
    pairs = shown_pairs(events)
    hot = np.concatenate([np.ones((23, 1)), pairs['user/user'][:, None] == np.arange(20)], 1)
    inverse = np.asarray(state.model_state['inverse'])
    np.testing.assert_allclose(inverse[3], np.linalg.inv(np.eye(21) + hot.T @ hot), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(inverse[4], np.eye(21))


def test_linucb_refuses_matrices_that_fill_the_memory():
    from jaxrec.models.age.policies.bandits import LinUcb
    from tests.models.worlds import SCHEMA

    with pytest.raises(ValueError, match=r'a matrix of 21 x 21 for each of 700000 items, 308,700,000 numbers'):
        LinUcb('candidate/item', 700_000, {'user': SCHEMA['user']})


def test_beta_sampling_has_the_posteriors_mean_and_spread():
    policy, state, ranked = learnt('beta-TS')
    pairs, requests = shown_pairs(worlds.make_events(1, 12)), worlds.make_requests()
    draws = np.stack([policy.score(state, requests, jax.random.key(i)) for i in range(400)])
    for b, c in np.argwhere(requests['pool']):
        at = pairs['candidate/item'][:, 0] == requests['candidate/item'][b, c]
        clicks, skips = 1 + pairs['label'][at].sum(), 1 + (1 - pairs['label'][at]).sum()
        np.testing.assert_allclose(ranked.probability[b, c], clicks / (clicks + skips), rtol=1e-6)
        spread = np.sqrt(clicks * skips / (clicks + skips) ** 2 / (clicks + skips + 1))
        assert abs(draws[:, b, c].mean() - clicks / (clicks + skips)) < 5 * spread / 20
        np.testing.assert_allclose(draws[:, b, c].std(), spread, rtol=0.2)


def test_chances_are_a_softmax_and_a_share_for_all():
    pool = np.array([[1, 1, 0], [0, 0, 0]], bool)
    score = np.array([[0.3, 0.1, -np.inf], [-np.inf] * 3], np.float32)
    soft = np.exp(np.array([3.0, 1.0])) / np.exp([3.0, 1.0]).sum()
    want = np.zeros((2, 3))
    want[0, :2] = 0.8 * soft + 0.2 / 2
    np.testing.assert_allclose(chances(jnp.asarray(score), pool, 0.1, 0.2), want, rtol=1e-5)
    want[0, :2] = [0.9, 0.1]
    np.testing.assert_allclose(chances(jnp.asarray(score), pool, 0.0, 0.2), want, rtol=1e-5)
    want[0, :2] = [0.8, 0.2]  # the second one alone may be explored
    explored = pool & np.array([False, True, True])
    np.testing.assert_allclose(chances(jnp.asarray(score), pool, 0.0, 0.2, explored), want, rtol=1e-5)
    want[0, :2] = [1, 0]  # or none
    np.testing.assert_array_equal(chances(jnp.asarray(score), pool, 0.0, 0.2, pool & False), want)


@pytest.mark.parametrize('name', ['softmax', 'eps-greedy'])
def test_draws_have_the_propensities_that_are_logged(name):
    policy, state, _ = learnt(name)
    requests = {key: np.repeat(x[:1], 4000, 0) for key, x in worlds.make_requests().items()}
    shown = policy.act(state, requests, KEY)
    chance = np.asarray(policy.propensities(state, requests, KEY))
    np.testing.assert_allclose(chance.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(shown.propensity, chance[np.arange(4000), shown.shown])
    share = np.bincount(shown.shown, minlength=worlds.C) / 4000
    assert (np.abs(share - chance[0]) < 5 * np.sqrt(chance[0] / 4000)).all()
    np.testing.assert_array_equal(np.argmax(policy.score(state, requests, KEY), 1), shown.shown)


def test_what_is_not_to_be_explored_is_not_drawn():
    policy, state, _ = learnt('eps-greedy')
    requests = {key: np.repeat(x[:1], 500, 0) for key, x in worlds.make_requests().items()}
    best = int(np.argmax(policy.base.score(state, requests, KEY)[0]))
    other = (best + 1) % worlds.C
    explorable = np.zeros((500, worlds.C), np.float32)
    explorable[:, other] = 1
    shown = policy.act(state, {**requests, 'explorable': explorable}, KEY)
    drawn = np.asarray(shown.shown)
    assert set(drawn.tolist()) == {best, other}
    np.testing.assert_allclose(shown.propensity, np.where(drawn == best, 0.7, 0.3), rtol=1e-5)
    still = policy.act(state, {**requests, 'explorable': 0 * explorable}, KEY)
    assert set(np.asarray(still.shown).tolist()) == {best} and (np.asarray(still.propensity) == 1).all()
