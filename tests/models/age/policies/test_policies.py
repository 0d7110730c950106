"""What every policy owes: scores of pools, learning from matches, one program, and a resumed stream."""

import dataclasses
import functools

import chex
import jax
import numpy as np
import pytest

from jaxrec.models.age.policies import Stochastic, make_policy, restore_policy, unwrapped
from jaxrec.training.checkpoints import Checkpoints
from tests.conftest import slow_but_for
from tests.models.age.policies import worlds
from tests.models.worlds import SCHEMA

KEY = jax.random.key(4)
# What the others add to a network is in test_explorers.py.
QUICK = ('random', 'DNN', 'eps-greedy', 'gradient-UCB', 'AGE-TS', 'LinUCB', 'beta-TS')
NAMES = slow_but_for(QUICK, worlds.POLICIES)
LEARNERS = slow_but_for(QUICK, [name for name in worlds.POLICIES if name != 'random'])


@functools.cache
def made(name):
    """A policy, its scores before and after learning, and its last state."""
    policy, requests = worlds.make(name), worlds.make_requests()
    state = policy.init(jax.random.key(0), requests)
    before = jax.device_get(policy.rank(state, requests, KEY))
    for seed in (1, 2):
        state = policy.learn(state, worlds.make_events(seed, size=12))
    return policy, state, before, jax.device_get(policy.rank(state, requests, KEY))


@pytest.mark.parametrize('name', NAMES)
def test_pools_are_scored_and_nothing_outside_them(name):
    policy, state, before, after = made(name)
    pool = worlds.make_requests()['pool']
    for ranked in (before, after):
        assert ranked.score.shape == pool.shape and ranked.score.dtype == np.float32
        assert np.isfinite(ranked.score[pool]).all() and (ranked.score[~pool] == -np.inf).all()
        if name != 'random':
            assert ((ranked.probability[pool] >= -1e-6) & (ranked.probability[pool] <= 1)).all()
    np.testing.assert_array_equal(policy.score(state, worlds.make_requests(), KEY), after.score)


@pytest.mark.parametrize('name', LEARNERS)
def test_matches_change_what_is_predicted(name):
    _, state, before, after = made(name)
    pool = worlds.make_requests()['pool']
    assert np.abs(after.probability - before.probability)[pool].max() > 1e-4
    assert int(state.step) == 4  # 11 valid events a call, in parts of 8


@pytest.mark.parametrize(
    'name',
    slow_but_for(
        ('random', 'eps-greedy', 'dropout-TS'),
        ('random', 'eps-greedy', 'Ensemble-TS', 'gradient-TS', 'GP-TS', 'dropout-TS'),
    ),
)
def test_chance_comes_from_the_key_alone(name):
    policy, state, _, after = made(name)
    other = policy.score(state, worlds.make_requests(), jax.random.key(5))
    assert (np.asarray(other) != after.score).any()


def counted(monkeypatch, owner, name, counts):
    """Counts how often a method runs, which under jit is how often it is traced."""
    method = getattr(owner, name)

    def run(*args, **kwargs):
        counts[name] = counts.get(name, 0) + 1
        return method(*args, **kwargs)

    monkeypatch.setattr(owner, name, run)


@pytest.mark.parametrize('name', ['gradient-UCB', 'beta-TS'])
def test_any_number_of_late_events_is_one_program(name, monkeypatch):
    policy, requests, counts = worlds.make(name), worlds.make_requests(), {}
    state = policy.init(jax.random.key(0), requests)
    explorer = policy.task.explorer if name != 'beta-TS' else policy.bandit
    for method in ('rank', 'observe'):
        counted(monkeypatch, type(explorer), method, counts)
    if name != 'beta-TS':
        counted(monkeypatch, type(policy.task), 'loss', counts)
    for size in (3, 12, 7):
        state = policy.learn(state, worlds.make_events(size, size))
        policy.score(state, worlds.make_requests(size), KEY)
    assert set(counts.values()) == {1} and len(counts) == 2 + (name != 'beta-TS')


def test_no_match_changes_nothing():
    policy, state, *_ = made('gradient-UCB')
    events = worlds.make_events()
    again = policy.learn(state, {**events, 'valid': np.zeros(worlds.B)})
    assert again is state or jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), again.params, state.params))
    assert int(again.step) == int(state.step)


@pytest.mark.parametrize(
    'name', slow_but_for(('AGE-TS', 'LinUCB'), ('UR-gradient-UCB', 'AGE-TS', 'LinUCB', 'eps-greedy'))
)
def test_a_resumed_stream_goes_on_to_the_bit(name, tmp_path):
    policy, requests = worlds.make(name), worlds.make_requests()
    state = policy.learn(policy.init(jax.random.key(0), requests), worlds.make_events(1))
    with Checkpoints(tmp_path / 'states') as checkpoints:
        checkpoints.save(state, {'event': 5}, table_rows=policy.table_rows)
    unbroken = policy.learn(state, worlds.make_events(2))
    with Checkpoints(tmp_path / 'states') as checkpoints:
        restored, progress = restore_policy(checkpoints, policy, requests)
    assert progress == {'event': 5}
    resumed = policy.learn(restored, worlds.make_events(2))
    same = lambda a, b: np.testing.assert_array_equal(a, b)
    for field in ('params', 'model_state', 'tables', 'opt_state', 'row_opt_state', 'step'):
        jax.tree.map(same, getattr(resumed, field), getattr(unbroken, field))
    same(policy.score(resumed, requests, KEY), policy.score(unbroken, requests, KEY))


def test_the_greedy_policy_is_a_plain_run_of_the_task():
    """Same seed, same steps: the same parameters as `training` alone would reach."""
    from jaxrec.models.age.policies.events import parts, shown_pairs
    from jaxrec.parallel import put_batch
    from jaxrec.training.state import init_state
    from jaxrec.training.step import make_train_step

    policy = worlds.make('DNN')
    got = policy.learn(policy.init(jax.random.key(3), worlds.make_requests()), worlds.make_events())
    setup = policy.setup._replace(task=policy.task.base)
    batch = put_batch(next(parts(shown_pairs(worlds.make_events()), 8)))
    want, _ = make_train_step(setup)(init_state(setup, batch, 3), batch)
    chex.assert_trees_all_equal(got.params, want.params)
    chex.assert_trees_all_equal(got.tables, want.tables)


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ({'policy': 'ucb'}, r"policy = 'ucb' does not exist; choose one of \['age', 'beta'"),
        ({'option': {}}, "config.option is not an option; did you mean 'options'"),
        ({'train': {'batch_size': 0}}, 'train.batch_size = 0: give at least 1'),
        ({'policy': 'ensemble', 'options': {'form': 'thompson'}}, "options.form = 'thompson' does not exist"),
        ({'policy': 'ensemble', 'options': {'networks': 1}}, 'give at least 2 networks'),
        ({'policy': 'gradient', 'options': {'ridge': 0.0}}, r'options.ridge = 0.0 .* give more than 0'),
        ({'policy': 'dropout', 'options': {'place': 'rows'}}, "options.place = 'rows' does not exist"),
        ({'policy': 'dropout', 'options': {'rate': 1.0}}, r'options.rate = 1.0, .* give a rate in \[0, 1\)'),
        ({'policy': 'beta', 'options': {'item': 'tags'}}, "options.item = 'tags': name a categorical column"),
        ({'policy': 'linucb', 'options': {'context': ('age',)}}, "options.context names 'age'; the log has"),
        ({'policy': 'stochastic', 'options': {'epsilon': 2.0}}, 'options.epsilon = 2.0: give a temperature'),
        ({'policy': 'age', 'options': {'gate': 'open'}}, r"model.gate = 'open' does not exist; choose one of"),
        (
            {'policy': 'age', 'train': {'clip_norm': 5.0}},
            r"train.clip_norm = 5.0: one norm is over base and gate, .* options.gate to 'fixed' or 'none'",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        make_policy({'model': worlds.MODEL, **config}, SCHEMA)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'shown': np.full(worlds.B, 9)}, 'event 0 shows candidate 9, which is not in its pool of 4'),
        ({'click': np.full(worlds.B, 0.5)}, 'event 0 has click 0.5: clicks are 0 or 1'),
        ({'candidate/item': np.full((worlds.B, worlds.C), 99)}, "'candidate/item' .* holds id 99, outside"),
    ],
)
def test_events_that_cannot_be_are_refused(change, message):
    policy, state, *_ = made('DNN')
    with pytest.raises(ValueError, match=message):
        policy.learn(state, {**worlds.make_events(), **change})


def test_requests_without_a_pool_are_refused():
    policy, state, *_ = made('DNN')
    requests = worlds.make_requests()
    del requests['pool']
    with pytest.raises(ValueError, match="the batch lacks 'pool'; it has"):
        policy.score(state, requests, KEY)


def test_age_does_not_rank_without_a_lambda_and_tunes_it_on_requests():
    from jaxrec.models.age.policies.age import tune

    policy, requests = worlds.make('AGE-TS', explore_lambda=None), worlds.make_requests(size=24)
    state = policy.init(jax.random.key(0), requests)
    with pytest.raises(ValueError, match=r'explore_lambda is not set: .* policies.age.tune'):
        policy.score(state, requests, KEY)
    for seed in range(4):
        state = policy.learn(state, worlds.make_events(seed, size=24))
    state, changed = tune(policy, state, requests, KEY, target=0.2)
    assert 0.05 < changed < 0.4 and float(state.model_state['memory']['explore_lambda']) > 0
    for name in ('DNN', 'softmax', 'beta-TS'):
        with pytest.raises(ValueError, match='only AGE has a lambda'):
            tune(*made(name)[:2], requests, KEY)
    # The chance on top of AGE has AGE's state, and its lambda is the one that AGE alone would have.
    chance = Stochastic(policy, epsilon=0.5)
    again, share = tune(chance, state, requests, KEY, target=0.2)
    assert share == changed and unwrapped(Stochastic(chance)) is policy
    chex.assert_trees_all_equal(again.model_state['memory'], state.model_state['memory'])
    assert np.isfinite(chance.score(again, requests, KEY)[0]).all()


BASES = {name: f'jaxrec.models.baselines.{name.lower()}:make_task' for name in ('LR', 'FFM', 'DeepFM')}


@pytest.mark.parametrize('name', BASES)
def test_any_ctr_model_is_a_base_without_options_of_another(name):
    """LR has no width and FFM no hidden layer: what the DNN's defaults are is nothing to them."""
    model = {'features': worlds.FEATURES, 'task': BASES[name]}
    for policy in ('dnn', 'age'):
        built = make_policy({'policy': policy, 'model': model}, SCHEMA)
        assert jax.tree.leaves(built.abstract(worlds.make_requests()))
    with pytest.raises(ValueError, match=r'model\.history_pool is not an option'):
        make_policy({'model': {**model, 'history_pool': 'mean'}}, SCHEMA)


def test_clipping_is_left_to_what_has_no_gate():
    train, model = {'clip_norm': 5.0}, worlds.MODEL
    for policy, options in (('dnn', {}), ('age', {'gate': 'fixed'}), ('age', {'gate': 'none'})):
        config = {'policy': policy, 'model': model, 'train': train, 'options': options}
        assert make_policy(config, SCHEMA).setup.clip_norm == 5.0


def test_a_loss_that_was_not_finite_is_found_whatever_followed_it():
    policy, losses = dataclasses.replace(worlds.make('DNN'), epochs=2), [0.3, np.nan, 0.2, 0.1]
    state = policy.init(jax.random.key(0), worlds.make_requests())
    step = lambda state, batch: (state.replace(step=state.step + 1), {'loss': losses[int(state.step)]})
    policy.__dict__['_step'] = step  # in place of the compiled one
    with pytest.raises(ValueError, match=r'the loss is not finite at update 2: lower train.learning_rate'):
        policy.learn(state, worlds.make_events(1, size=12))
