"""OneRec's network against loops over requests, tokens and heads; cached steps against whole sessions."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.logs.schema import Column
from jaxrec.models.onerec.network import OneRec
from jaxrec.models.onerec.options import read_network
from jaxrec.models.onerec.task import SessionTask, make_task
from jaxrec.models.onerec.tokenizing.semantic_ids import assign_ids
from tests.oracles import onerec as oracle

SMALL = {
    'levels': (5, 4, 3), 'history': 4, 'session': 2, 'width': 6, 'heads': 2, 'encoder_layers': 2,
    'decoder_layers': 2, 'hidden': 7, 'experts': 0, 'expert_hidden': 5,
}  # fmt: skip
LENGTHS = np.array([4, 0, 2], np.int32)
ITEMS = 9
CAPACITY = {
    'experts': 3, 'active': 2, 'scan': True, 'renormalise': True, 'expert_impl': 'capacity',
    'capacity_factor': 0.05,
}  # fmt: skip


def make_batch(network, seed=0, requests=3):
    rng = np.random.default_rng(seed)
    draw = lambda items: rng.integers(2, ITEMS, (requests, items)).astype(np.int32)
    return {
        'history/item': draw(network.history),
        'history/length': LENGTHS[:requests],
        'target/item': draw(network.session),
        'valid': np.ones((requests, network.session), np.float32),
    }


@functools.cache
def build(**options):
    """(network, task, params with no zeros or ones among them, state, its programs), once an option."""
    network = read_network({**SMALL, **options})
    rng = np.random.default_rng(3)
    codes = np.stack([rng.integers(0, k, ITEMS) for k in network.levels], -1).astype(np.int32)
    codes[:2] = -1
    task = SessionTask(network, codes)
    params, state = jax.jit(task.init)(jax.random.key(0), make_batch(network))
    shake = lambda x: x * 1.5 + 0.1 * np.random.default_rng(x.size).normal(size=x.shape).astype(np.float32)
    programs = {
        'predict': jax.jit(lambda p, s, batch: task.predict(p, s, {}, batch)['token_log_prob']),
        'lose': jax.jit(lambda p, s, batch, key: task.loss(p, s, {}, batch, jax.random.key(key))),
    }
    PROGRAMS[id(task)] = programs
    return network, task, jax.tree.map(shake, jax.device_get(params)), state


PROGRAMS: dict[int, dict[str, Any]] = {}


def make(**options):
    """(network, task, params, state, batch of its own)."""
    built = build(**options)
    return *built, make_batch(built[0])


def predict(task, params, state, batch):
    """float [B, m, L], of one program a task."""
    return np.asarray(PROGRAMS[id(task)]['predict'](params, state, batch))


def lose(task, params, state, batch, key=1):
    """What the loss returns, likewise."""
    return PROGRAMS[id(task)]['lose'](params, state, batch, key)


@pytest.mark.parametrize(
    'options',
    [
        {},
        pytest.param({'activation': 'relu', 'head_dim': 5, 'scan': True}, marks=pytest.mark.slow),
        pytest.param({'remat': True, 'tied': False, 'levels': (5,)}, marks=pytest.mark.slow),
        pytest.param({'experts': 3, 'active': 2}, marks=pytest.mark.slow),
        CAPACITY,
    ],
)
def test_predictions_are_those_of_the_loops(options):
    network, task, params, state, batch = make(**options)
    got = predict(task, params, state, batch)
    for b in range(3):
        history = task.codes[batch['history/item'][b, : LENGTHS[b]]]
        session = task.codes[batch['target/item'][b]]
        hidden = oracle.hidden(params, network, history, session)
        codes = np.asarray(params.get('predict', params['codes']), np.float64)
        first = 0
        for level, size in enumerate(network.levels):
            for item in range(network.session):
                scores = codes[first : first + size] @ hidden[item, level]
                want = scores - np.log(np.exp(scores).sum())
                np.testing.assert_allclose(got[b, item, level], want[session[item, level]], rtol=2e-4, atol=2e-4)
            first += size


@pytest.mark.parametrize('options', [{'experts': 3}, pytest.param({}, marks=pytest.mark.slow)])
def test_cached_steps_are_whole_sessions(options):
    network, task, params, _, batch = make(**options)
    module, past, session = (OneRec(network), task.codes[batch['history/item']], task.codes[batch['target/item']])

    def whole(m):
        memory = m.encode(past, batch['history/length'])
        hidden = m.decode(memory, session).hidden
        return [m.logits(hidden[:, :, level], level) for level in range(3)]

    def stepped(m):
        memory = m.encode(past, batch['history/length'])
        history, cache, out, position = m.history_keys(memory), m.new_cache(3, 2), [], 0
        beams = jnp.stack([session, session[:, ::-1]], 1)  # [B, K, m, L]
        waiting = []
        for item in range(network.session):
            waiting.append(m.embed_tokens(beams[:, :, item, 0], -1))
            for level in range(3):
                tokens = jnp.stack(waiting, 2)
                hidden, cache = m.step(cache, tokens, position, history, memory.mask)
                out.append(m.logits(hidden, level))
                position, waiting = position + len(waiting), [m.embed_tokens(beams[:, :, item, level], level)]
        return out

    apply = jax.jit(lambda params, method: module.apply({'params': params}, method=method), static_argnums=1)
    want, got = apply(params, whole), apply(params, stepped)
    for step, logits in enumerate(got):
        item, level = divmod(step, 3)
        np.testing.assert_allclose(logits[:, 0], want[level][:, item], rtol=1e-4, atol=1e-5)
    assert not np.allclose(got[4][:, 1], got[4][:, 0])


def test_what_comes_later_is_not_seen():
    _, task, params, state, batch = make()
    codes = np.asarray(state['codes']).copy()
    batch['target/item'] = np.array([[2, 3]] * 3, np.int32)
    batch['history/item'] = np.full((3, 4), 4, np.int32)
    one = np.asarray(predict(task, params, state, batch))
    codes[3, 1] = (codes[3, 1] + 1) % 4
    two = np.asarray(predict(task, params, {**state, 'codes': jnp.asarray(codes)}, batch))
    np.testing.assert_array_equal(one[:, 0], two[:, 0])
    np.testing.assert_array_equal(one[:, 1, 0], two[:, 1, 0])
    assert (one[:, 1, 1:] != two[:, 1, 1:]).all()


def test_padding_of_a_history_is_not_seen():
    _, task, params, state, batch = make()
    other = {**batch, 'history/item': batch['history/item'].copy()}
    other['history/item'][1], other['history/item'][2, 2:] = 0, 1
    one, two = (predict(task, params, state, b) for b in (batch, other))
    np.testing.assert_allclose(one, two, rtol=1e-6)


def test_items_without_a_semantic_id_are_no_targets_and_say_nothing():
    _, task, params, state, batch = make()
    other = {**batch, 'target/item': batch['target/item'].copy()}
    other['target/item'][:, 1] = 1
    loss, (metrics, _) = lose(task, params, state, other)
    assert not np.asarray(predict(task, params, state, other))[:, 1].any()
    found = np.asarray(predict(task, params, state, batch))[:, 0]
    np.testing.assert_allclose(loss, -found.sum() / 3, rtol=1e-5)
    np.testing.assert_allclose(metrics['ntp'], -found.sum() / 9, rtol=1e-5)


def test_gradients_reach_every_parameter():
    _, task, params, state, batch = make(tied=False)
    loss = lambda p: task.loss(p, state, {}, batch, jax.random.key(1))[0]
    for path, grad in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(params)):
        assert np.asarray(grad).any(), jax.tree_util.keystr(path)


def test_experts_report_and_their_biases_move():
    network, task, params, state, batch = make(experts=3, active=1, balance=0.1, z_loss=0.01)
    loss, (metrics, new) = lose(task, params, state, batch)
    plain = -float(np.asarray(predict(task, params, state, batch)).sum()) / 3
    extra = 2 * (0.1 * metrics['balance'] + 0.01 * metrics['router_z'])  # of two layers
    np.testing.assert_allclose(loss, plain + extra, rtol=1e-5)
    assert metrics['dropped'] == 0 and 1 <= metrics['load_max'] <= 3
    moved = np.asarray(new['router_bias'])
    assert moved.shape == (2, 3) and set(np.round(np.abs(moved) / network.bias_rate, 3).ravel()) <= {0.0, 1.0}
    assert moved.any()
    pushed = {**state, 'router_bias': jnp.array([[9.0, 0, 0]] * 2)}
    busy = lose(task, params, pushed, batch)[1][0]['load_max']
    np.testing.assert_allclose(busy, 3, rtol=1e-6)


@pytest.mark.parametrize('name', ['router', 'feed_norm'])
def test_routers_and_norms_are_float32_whatever_activations_are(name):
    """A change that bfloat16 cannot hold is seen all the same."""
    _, task, params, state, batch = make(experts=3, active=2, dtype='bfloat16')
    feed = params['decoder']['feed']
    decoder = {**params['decoder'], 'feed': {**feed, 'down': 8 * feed['down']}}  # experts have much to say
    rounded = np.asarray(jnp.asarray(decoder[name], jnp.bfloat16), np.float32)
    moved = rounded * np.float32(1.0015)
    np.testing.assert_array_equal(np.asarray(jnp.asarray(moved, jnp.bfloat16), np.float32), rounded)
    told = [
        predict(task, {**params, 'decoder': {**decoder, name: weights}}, state, batch) for weights in (rounded, moved)
    ]
    assert np.isfinite(told[0]).all() and (told[0] != told[1]).any()


def test_what_is_written_or_aligned_drops_no_token():
    """In training an expert has one slot for 48 choices; what is scored is compared with loops above."""
    network, task, params, state, batch = make(**CAPACITY)
    assert lose(task, params, state, batch)[1][0]['dropped'] > 0.9
    scored, history = predict(task, params, state, batch), task.codes[batch['history/item']]

    def first(module):
        """The first step of 5 beams a request."""
        memory, cache = module.encode(history, batch['history/length']), module.new_cache(3, 5)
        tokens = module.embed_tokens(jnp.zeros((3, 5), jnp.int32), -1)[:, :, None]
        keys = module.history_keys(memory)
        hidden, _ = module.step(cache, tokens, 0, keys, memory.mask, state['router_bias'])
        return jax.nn.log_softmax(module.logits(hidden, 0))

    def run(params):
        together = batch['target/item'][:, None]
        return (
            OneRec(network).apply({'params': params}, method=first),
            task.session_log_probs(params, state, batch, together),
        )

    beams, sessions = jax.jit(run)(params)
    codes = task.codes[batch['target/item']][:, 0, 0]
    for beam in range(5):
        np.testing.assert_allclose(beams[np.arange(3), beam, codes], scored[:, 0, 0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sessions[:, 0], scored.sum((1, 2)), rtol=1e-4)


def test_loss_counts_valid_sessions_and_their_items():
    _, task, params, state, batch = make()
    found = np.asarray(predict(task, params, state, batch))
    few = {**batch, 'valid': np.array([[1, 1], [0, 0], [1, 0]], np.float32)}
    loss, (metrics, _) = lose(task, params, state, few)
    want = -(found[0].sum() + found[2, 0].sum())
    np.testing.assert_allclose(loss, want / 2, rtol=1e-5)
    np.testing.assert_allclose(metrics['ntp'], want / 9, rtol=1e-5)


def test_dropout_thins_in_training_alone_and_follows_the_key():
    _, task, params, state, batch = make(dropout=0.3)
    loss = lambda key: float(lose(task, params, state, batch, key)[0])
    assert loss(1) == loss(1) != loss(2)
    plain = float(lose(make()[1], params, state, batch)[0])
    scored = -float(np.asarray(predict(task, params, state, batch)).sum()) / 3
    np.testing.assert_allclose(plain, scored, rtol=1e-5)


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ({'size': '2b'}, r"model\.size = '2b' does not exist"),
        ({'width': 7, 'heads': 2}, r'model\.width = 7 is no multiple of model\.heads = 2'),
        ({'experts': 2, 'active': 3}, r'model\.active = 3 of model\.experts = 2'),
        ({'activation': 'tanh'}, r"model\.activation = 'tanh' does not exist"),
        ({'dropout': 1.0}, r'model\.dropout = 1\.0 is outside'),
        ({'levels': ()}, r'model\.levels = \(\)'),
        ({'session': 0}, r'model\.session = 0: give at least 1'),
        ({'widht': 8}, r"model\.widht is not an option; did you mean 'width'"),
    ],
)
def test_networks_that_cannot_be(config, message):
    with pytest.raises(ValueError, match=message):
        read_network({**SMALL, **config})


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'history/item': None}, r"the batch lacks 'history/item'"),
        ({'target/item': np.zeros((3, 3), np.int32)}, r'\[B, 2\]: set model\.session'),
        ({'target/item': np.zeros((3, 1), np.int32)}, r'\(3, 1\); the network reads \[B, 2\]: set model\.se'),
        ({'history/item': np.zeros((3, 4, 2), np.int32)}, r'\[B, up to 4\]: set model\.history'),
    ],
)
def test_batches_of_another_network(change, message):
    _, task, params, state, batch = make()
    batch = {key: value for key, value in {**batch, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        task.loss(params, state, {}, batch, jax.random.key(0))


SCHEMA = {'item': Column('categorical', 'item', 5, 1)}


def save_ids(path, items=3):
    ids = assign_ids(np.array([[4, 0], [1, 2], [4, 0]])[:items], clusters=5)
    ids.save(path)
    return ids


@pytest.mark.parametrize('ranks', [True, False])
def test_semantic_ids_say_what_levels_there_are(tmp_path, ranks):
    ids = save_ids(tmp_path / 'ids.npz')
    task = make_task({'ids': str(tmp_path / 'ids.npz'), 'ranks': ranks, 'session': 2}, SCHEMA)
    assert task.network.levels == ((5, 5, ids.room) if ranks else (5, 5))
    assert (task.codes[:2] == -1).all() and task.codes.dtype == np.int32
    np.testing.assert_array_equal(task.codes[2:], ids.ids if ranks else ids.codes)


def test_semantic_ids_of_another_log(tmp_path):
    save_ids(tmp_path / 'ids.npz', items=2)
    with pytest.raises(ValueError, match=r'has 2 items and the log 3: tokenize the items of this log'):
        make_task({'ids': str(tmp_path / 'ids.npz')}, SCHEMA)


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ({}, r'model\.ids is empty: give the semantic IDs'),
        ({'ids': 'x', 'levels': (2,)}, r'model\.levels = \(2,\): leave it out'),
    ],
)
def test_semantic_ids_must_be_named_and_bring_their_levels(config, message):
    with pytest.raises(ValueError, match=message):
        make_task(config, SCHEMA)
