"""Pseudo-exploration over the library's models: closed forms, finite differences, nothing for lambda 0."""

import dataclasses
import functools
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import embeddings as emb
from jaxrec.models.age import make_explore_step, make_task, tune_lambda
from jaxrec.models.age.options import Exploration
from jaxrec.models.age.pairs import Model, Pairs, is_per_candidate
from jaxrec.models.age.uncertainty import dropout_pass, dropout_passes
from jaxrec.ops.dropout import DROPS, drop_weights, fold_words, key_words
from jaxrec.ops.exploration import changed_share, pair_norm
from tests.conftest import slow_but_for, slow_cases_but_for
from tests.models import worlds
from tests.oracles import exploration as oracle

BASES = ('DIN', 'SIM-soft', 'CAN-DNN')
FEATURES = {'user': ('user',), 'candidate': worlds.IDS, 'history': worlds.IDS}
KEY = jax.random.key(3)


def age_config(name='DNN', **options):
    path, own = worlds.MODELS[name]
    return {'features': FEATURES, 'base': {'task': path, **own}, 'gate_widths': (5,), **options}


@functools.cache
def made(name='DNN'):
    """An AGE task over a model of random parameters, with its rows and batch."""
    batch = worlds.make_batch(size=3, candidates=4, features=FEATURES)
    batch['valid'][2, 3] = 0
    # Equal behaviours tie in a search, and whatever moves them decides which is kept: there is no slope.
    rng = np.random.default_rng(6)
    distinct = np.stack([2 + rng.permutation(28)[: worlds.LONG] for _ in range(3)])
    batch['long/item'] = (distinct * (batch['long/item'] > 0)).astype(np.int32)
    model = worlds.make_model(name, batch, FEATURES, std=0.5)
    task = make_task(age_config(name, explore_lambda=1.0, dropout_rate=0.2), worlds.SCHEMA)
    sent = worlds.on_device(batch)
    shapes = jax.eval_shape(task.init, KEY, sent)[0]['gate']
    rng = np.random.default_rng(5)
    gate = jax.tree.map(lambda x: rng.normal(0, 0.2, x.shape).astype(np.float32), shapes)
    rows = emb.lookup(task.tables, jax.tree.map(jnp.asarray, model.tables), task.ids(sent))
    # An average in the midst of the predictions, so that the gate is open for some.
    middle = np.median(model.logits(batch))
    gate['item']['dense_1']['bias'] = np.float32([middle])
    params = jax.tree.map(jnp.asarray, {'base': model.params, 'gate': gate})
    return task, params, model.model_state, rows, sent


def run(name='DNN', explore_lambda=1.0, rows=None, batch=None, **options):
    _, params, model_state, own_rows, own_batch = made(name)
    explore = compiled(name, **options)
    return jax.device_get(explore(params, model_state, rows or own_rows, batch or own_batch, explore_lambda))


@functools.cache
def compiled(name, **options):
    """One program for the tests that explore by the same options."""
    task = made(name)[0]
    task = dataclasses.replace(task, exploration=dataclasses.replace(task.exploration, **options))
    return jax.jit(lambda p, s, r, b, size: task.explore(p, s, r, b, KEY, size))


@functools.cache
def plain(name='DNN'):
    """What the task predicts unexplored, on the host."""
    task, params, model_state, rows, batch = made(name)
    return jax.device_get(jax.jit(task.predict)(params, model_state, rows, batch))


def pairs_of(name, perturb='all'):
    task, params, model_state, rows, batch = made(name)
    return Pairs(task.base, params['base'], model_state, rows, batch, perturb)


def delta_like(pairs, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), jax.eval_shape(pairs.gradient))


@pytest.mark.parametrize(
    ('name', 'perturb'),
    slow_cases_but_for(
        (('DIN', 'all'), ('DIN', 'item'), ('SIM-soft', 'all'), ('CAN-DNN', 'user')),
        [(name, perturb) for name in BASES for perturb in ('all', 'item', 'user')],
    ),
)
def test_row_gradients_are_finite_differences(name, perturb):
    pairs = pairs_of(name, perturb)
    up = delta_like(pairs)
    scores = jax.jit(lambda eps: pairs.scores(jax.tree.map(lambda x: eps * x, up))['logits'])
    slope = (np.asarray(scores(1e-3), np.float64) - np.asarray(scores(-1e-3), np.float64)) / 2e-3
    got = jax.jit(pairs.gradient)()
    along = sum(
        jnp.sum(g * u, tuple(range(2, g.ndim))) for g, u in zip(jax.tree.leaves(got), jax.tree.leaves(up), strict=True)
    )
    # Logits of order 1 in float32 have slopes to some 1e-4 here; what stands below says that most are larger.
    assert np.median(np.abs(slope)) > 0.02
    np.testing.assert_allclose(along, slope, rtol=0.02, atol=1e-3)
    assert all(x.shape[:2] == (3, 4) for x in jax.tree.leaves(got))


def test_gradients_of_moved_rows_begin_as_those_of_the_rows():
    pairs = pairs_of('DIN')
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape), jax.eval_shape(pairs.gradient))
    a, b = jax.jit(lambda: (pairs.gradient(), pairs.gradient_at(zeros)))()
    chex.assert_trees_all_close(a, b, rtol=1e-4, atol=1e-6)


def test_candidates_do_not_mix():
    """The explored score of a candidate is what it is alone with its request."""
    *_, rows, batch = made('DIN')
    options = {'direction': 'pgd', 'pgd_steps': 2, 'gate': 'none'}
    whole = run('DIN', 30.0, **options)
    cut = lambda tree: {k: x[:, 1:2] if is_per_candidate(k) else x for k, x in tree.items()}
    alone = run('DIN', 30.0, {t: cut(f) for t, f in rows.items()}, cut(batch), **options)
    np.testing.assert_allclose(alone.score, whole.score[:, 1:2], rtol=1e-4, atol=1e-6)
    assert np.abs(whole.score - whole.probability).max() > 1e-3


@pytest.mark.parametrize('name', slow_but_for(('DIN', 'CAN-DNN'), BASES))
def test_lambda_zero_is_the_base_to_the_bit_and_a_large_one_changes_winners(name):
    *_, batch = made(name)
    still = run(name, 0.0, gate='none', direction='fgm')
    np.testing.assert_array_equal(still.score, plain(name)['probability'])
    moved = run(name, 300.0, gate='none', direction='fgm')
    assert float(changed_share(moved.probability, moved.score, batch['valid'])) > 0
    np.testing.assert_array_equal(moved.score[2, 3], moved.probability[2, 3])  # no candidate is there


class Linear:
    """A task whose logit is the sum of the rows' products with fixed weights."""

    def predict(self, params, model_state, rows, batch, rng=None):
        own = rows['t']['candidate/item'] @ params['own']
        shared = (rows['t']['history/item'] @ params['shared']).sum(1)[:, None]
        logits = own + shared
        return {'logits': logits, 'probability': jax.nn.sigmoid(logits)}


@pytest.mark.parametrize('direction', ['fgm', 'pgd'])
def test_the_step_of_a_linear_model_is_its_closed_form(direction):
    """Its gradient is its weights, so the logit rises by the step times their norm, history included."""
    from jaxrec.models.age.explore import explore

    rng = np.random.default_rng(0)
    params = {name: jnp.asarray(rng.normal(size=3), jnp.float32) for name in ('own', 'shared')}
    shapes = {'candidate/item': (2, 4, 3), 'history/item': (2, 5, 3)}
    rows = {'t': {key: jnp.asarray(rng.normal(size=shape), jnp.float32) for key, shape in shapes.items()}}
    batch = {'valid': jnp.ones((2, 4)), 'label': jnp.zeros((2, 4))}
    options = Exploration(gate='none', direction=direction, dropout_rate=0.3)
    got = jax.jit(lambda: explore(Model(Linear(), params, {}, rows, batch), KEY, 2.0, options))()
    assert np.abs(got.delta).min() > 1e-4 and (got.delta < 0).any() and (got.delta > 0).any()
    np.testing.assert_allclose(got.size, 2 * got.delta, rtol=1e-6)
    norm = np.sqrt((params['own'] ** 2).sum() + 5 * (params['shared'] ** 2).sum())
    logits = np.log(got.probability / (1 - got.probability)) + got.size * norm
    np.testing.assert_allclose(got.score, 1 / (1 + np.exp(-logits)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('scope', ['request', 'candidate'])
def test_networks_that_do_not_fit_at_once_are_made_in_parts(scope, monkeypatch):
    """Some requests of three at a time, one pass of three: the same scores as all at once."""
    from jaxrec.models.age import uncertainty

    task, params, model_state, rows, batch = made()
    model = Model(task.base, params['base'], model_state, rows, batch)
    passes = lambda: dropout_passes(model, key_words(KEY), 0.2, 3, scope)
    whole = jax.jit(passes)()
    size = uncertainty.count(params['base']) * (1 if scope == 'request' else 4)
    maps, mapped = [], jax.lax.map
    monkeypatch.setattr(jax.lax, 'map', lambda *a, **k: maps.append(k.get('batch_size')) or mapped(*a, **k))
    monkeypatch.setattr(uncertainty, 'AT_ONCE', 2 * size)
    np.testing.assert_allclose(jax.jit(lambda: passes())(), whole, rtol=1e-5)
    assert maps == [None, 2]  # over passes, and within each over requests, the last of them alone


def test_thompson_and_confidence_deltas_are_those_of_thinned_networks():
    task, params, model_state, rows, batch = made()
    model = Model(task.base, params['base'], model_state, rows, batch)
    base = plain()['probability']
    words, samples = key_words(KEY), np.zeros((3, *base.shape))
    thinned = jax.jit(
        lambda w: task.base.predict(drop_weights(params['base'], w, 0.2), *model.arguments[2:])['probability']
    )
    for n in range(3):
        for b in range(len(base)):
            samples[n, b] = thinned(fold_words(fold_words(words, n), b))[b]
    got = jax.jit(lambda: dropout_passes(model, words, 0.2, 3))()
    np.testing.assert_allclose(got, samples, rtol=1e-4)
    for spread, centre in (('std', 'base'), ('var', 'mean')):
        ucb = run(uncertainty='ucb', passes=3, ucb_spread=spread, ucb_centre=centre, direction='fgm')
        want = oracle.ucb(base, samples, spread, centre)
        np.testing.assert_allclose(ucb.delta, want, rtol=1e-2, atol=1e-7)
    one = np.stack([thinned(fold_words(words, b))[b] for b in range(len(base))])
    for signed in (True, False):
        ts = run(ts_signed=signed, direction='fgm')
        np.testing.assert_allclose(ts.delta, oracle.thompson(base, one, signed), rtol=1e-2, atol=1e-6)
    first = run(variant='v1', direction='fgm')
    np.testing.assert_allclose(first.delta, np.abs(run(direction='fgm').delta), rtol=1e-6)
    assert (first.score >= first.probability - 1e-6).all()


@pytest.mark.parametrize('place', DROPS)
def test_a_network_a_candidate_is_one_of_its_own(place):
    task, params, model_state, rows, batch = made()
    model = Model(task.base, params['base'], model_state, rows, batch)
    got = jax.jit(lambda: dropout_pass(model, key_words(KEY), 0.2, 'candidate', place))()
    thin = DROPS[place](params['base'], fold_words(key_words(KEY), 1 * 4 + 2), 0.2)
    want = jax.jit(task.base.predict)(thin, *model.arguments[2:])['probability'][1, 2]
    np.testing.assert_allclose(got[1, 2], want, rtol=1e-4)


def test_gates_allow_what_is_above_the_items_average_or_a_threshold():
    task, params, model_state, rows, batch = made()
    base, average = plain()['probability'], plain()['item_average']
    hard = run(direction='fgm')
    np.testing.assert_array_equal(hard.gate, base > average)
    assert 0 < hard.gate.mean() < 1
    closed = hard.gate == 0
    np.testing.assert_array_equal(hard.score[closed], hard.probability[closed])
    soft = run(direction='fgm', soft_gate=True, gate_slope=4.0)
    np.testing.assert_allclose(soft.gate, 1 / (1 + np.exp(-4 * (base - average))), rtol=1e-4)
    task, *_ = made()
    fixed = dataclasses.replace(task, gate=None)
    options = dataclasses.replace(task.exploration, gate='fixed', gate_threshold=float(np.median(base)))
    fixed = dataclasses.replace(fixed, exploration=options)
    explore = jax.jit(lambda *model: fixed.explore(*model, KEY, 1.0).gate)
    got = explore(params, model_state, rows, batch)
    np.testing.assert_array_equal(got, base > np.float32(np.median(base)))


def test_what_has_been_shown_enough_is_not_explored():
    _, _, _, _, batch = made()
    explorable = jnp.zeros((3, 4)).at[0, 1].set(1)
    got = run(batch={**batch, 'explorable': explorable}, gate='none', direction='fgm')
    np.testing.assert_array_equal(np.argwhere(got.size), [[0, 1]])


@pytest.mark.parametrize('uncertainty', ['ts', 'gaussian'])
def test_ablations_put_chance_in_place_of_g_and_delta(uncertainty):
    got = run(uncertainty=uncertainty, direction='random', gate='none')
    again = run(uncertainty=uncertainty, direction='random', gate='none')
    np.testing.assert_array_equal(got.score, again.score)
    assert np.abs(got.score - got.probability).max() > 1e-4
    if uncertainty == 'gaussian':
        assert (got.delta < 0).any() and 0.3 < got.delta.std() < 2


def test_a_random_direction_is_of_norm_one_and_leaves_padding_alone():
    from jaxrec.models.age.explore import move

    pairs = pairs_of('DNN')
    got = move(pairs, jnp.ones((3, 4)), KEY, Exploration(direction='random'))
    np.testing.assert_allclose(pair_norm(got), 1, rtol=1e-5)
    assert not np.asarray(got['item']['history/item'])[0].any()  # an empty history


def test_any_lambda_runs_one_program_and_is_tuned_by_what_it_changes():
    batch = worlds.make_batch(size=24, candidates=6, features=FEATURES)
    task = make_task(age_config(gate='none', direction='fgm', dropout_rate=0.1), worlds.SCHEMA)
    setup = worlds.make_setup(task)
    model = worlds.make_model('DNN', batch, FEATURES, std=0.5)
    state = types.SimpleNamespace(
        params={'base': model.params}, model_state={}, tables=jax.tree.map(jnp.asarray, model.tables)
    )
    explore, sent = make_explore_step(setup), worlds.on_device(batch)

    def changed(size):
        got = explore(state, sent, KEY, size)
        return float(changed_share(got.probability, got.score, sent['valid']))

    tuned = tune_lambda(changed, target=0.25)
    assert abs(tuned.changed - 0.25) <= 1 / 24 + 1e-6 and changed(tuned.explore_lambda) == tuned.changed
    with pytest.raises(ValueError, match=r'model.explore_lambda is None: .* models.age.tune_lambda'):
        explore(state, sent, KEY)


def test_lambda_is_bisected_below_the_first_decade_that_suffices():
    share = lambda x: min(0.4, x / 100)
    tuned = tune_lambda(share, target=0.05)
    assert abs(tuned.explore_lambda - 5) < 0.01 and abs(tuned.changed - 0.05) < 1e-3
    with pytest.raises(ValueError, match=r'no lambda up to 1e\+06 changes 50.0% of the winners, at most 40.0%'):
        tune_lambda(share, target=0.5)
    with pytest.raises(ValueError, match='target = 5: give the share'):
        tune_lambda(share, target=5)
