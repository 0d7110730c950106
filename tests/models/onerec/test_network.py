"""OneRec's network against loops over requests, tokens and heads; cached steps against whole sessions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.models.onerec.network import OneRec
from jaxrec.models.onerec.options import read_network
from jaxrec.models.onerec.task import SessionTask, make_task
from tests.oracles import onerec as oracle

SMALL = {
    'levels': (5, 4, 3), 'history': 4, 'session': 2, 'width': 6, 'heads': 2, 'encoder_layers': 2,
    'decoder_layers': 2, 'hidden': 7, 'experts': 0, 'expert_hidden': 5,
}  # fmt: skip
LENGTHS = np.array([4, 0, 2], np.int32)


def make_batch(network, seed=0, requests=3):
    rng = np.random.default_rng(seed)
    draw = lambda items: np.stack([rng.integers(0, k, (requests, items)) for k in network.levels], -1)
    return {
        'history/codes': draw(network.history).astype(np.int32),
        'history/length': LENGTHS[:requests],
        'target/codes': draw(network.session).astype(np.int32),
        'valid': np.ones(requests, np.float32),
    }


def make(**options):
    """(network, task, params with no zeros or ones among them, state, batch)."""
    network = read_network({**SMALL, **options})
    task = SessionTask(network)
    batch = make_batch(network)
    params, state = task.init(jax.random.key(0), batch)
    shake = lambda x: x * 1.5 + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape)
    return network, task, jax.tree.map(shake, params), state, batch


@pytest.mark.parametrize(
    'options',
    [{}, {'activation': 'relu', 'head_dim': 5, 'scan': True}, {'remat': True, 'tied': False, 'levels': (5,)}],
)
def test_predictions_are_those_of_the_loops(options):
    network, task, params, state, batch = make(**options)
    got = task.predict(params, state, {}, batch)['token_log_prob']
    for b in range(3):
        history = batch['history/codes'][b, : LENGTHS[b]]
        hidden = oracle.hidden(params, network, history, batch['target/codes'][b])
        codes = np.asarray(params.get('predict', params['codes']), np.float64)
        first = 0
        for level, size in enumerate(network.levels):
            for item in range(network.session):
                scores = codes[first : first + size] @ hidden[item, level]
                want = scores - np.log(np.exp(scores).sum())
                code = batch['target/codes'][b, item, level]
                np.testing.assert_allclose(got[b, item, level], want[code], rtol=2e-4, atol=2e-4)
            first += size


@pytest.mark.parametrize('options', [{}])
def test_cached_steps_are_whole_sessions(options):
    network, _, params, _, batch = make(**options)
    module = OneRec(network)

    def whole(m):
        memory = m.encode(batch['history/codes'], batch['history/length'])
        hidden = m.decode(memory, batch['target/codes']).hidden
        return [m.logits(hidden[:, :, level], level) for level in range(3)]

    def stepped(m):
        memory = m.encode(batch['history/codes'], batch['history/length'])
        history, cache, out, position = m.history_keys(memory), m.new_cache(3, 2), [], 0
        beams = jnp.stack([batch['target/codes'], batch['target/codes'][:, ::-1]], 1)  # [B, K, m, L]
        waiting = []
        for item in range(network.session):
            waiting.append(m.embed_tokens(beams[:, :, item, 0], -1))
            for level in range(3):
                tokens = jnp.stack(waiting, 2)
                hidden, cache = m.step(cache, tokens, position, history, memory.mask)
                out.append(m.logits(hidden, level))
                position, waiting = position + len(waiting), [m.embed_tokens(beams[:, :, item, level], level)]
        return out

    apply = lambda method: module.apply({'params': params}, method=method)
    want, got = apply(whole), apply(stepped)
    for step, logits in enumerate(got):
        item, level = divmod(step, 3)
        np.testing.assert_allclose(logits[:, 0], want[level][:, item], rtol=1e-4, atol=1e-5)
    assert not np.allclose(got[4][:, 1], got[4][:, 0])


def test_what_comes_later_is_not_seen():
    network, task, params, state, batch = make()
    other = {**batch, 'target/codes': batch['target/codes'].copy()}
    other['target/codes'][:, 1, 1] = (other['target/codes'][:, 1, 1] + 1) % network.levels[1]
    one, two = (np.asarray(task.predict(params, state, {}, b)['token_log_prob']) for b in (batch, other))
    np.testing.assert_array_equal(one[:, 0], two[:, 0])
    np.testing.assert_array_equal(one[:, 1, 0], two[:, 1, 0])
    assert (one[:, 1, 1:] != two[:, 1, 1:]).all()


def test_padding_of_a_history_is_not_seen():
    _, task, params, state, batch = make()
    other = {**batch, 'history/codes': batch['history/codes'].copy()}
    other['history/codes'][1], other['history/codes'][2, 2:] = 0, 1
    one, two = (task.predict(params, state, {}, b)['token_log_prob'] for b in (batch, other))
    np.testing.assert_allclose(one, two, rtol=1e-6)


def test_gradients_reach_every_parameter():
    _, task, params, state, batch = make(tied=False)
    loss = lambda p: task.loss(p, state, {}, batch, jax.random.key(1))[0]
    for path, grad in jax.tree_util.tree_leaves_with_path(jax.grad(loss)(params)):
        assert np.asarray(grad).any(), jax.tree_util.keystr(path)


def test_loss_counts_valid_sessions_and_their_items():
    _, task, params, state, batch = make()
    found = np.asarray(task.predict(params, state, {}, batch)['token_log_prob'])
    few = {**batch, 'valid': np.array([1, 0, 1], np.float32), 'target/length': np.array([2, 2, 1])}
    loss, (metrics, _) = task.loss(params, state, {}, few, jax.random.key(1))
    want = -(found[0].sum() + found[2, 0].sum())
    np.testing.assert_allclose(loss, want / 2, rtol=1e-5)
    np.testing.assert_allclose(metrics['ntp'], want / 9, rtol=1e-5)


def test_dropout_thins_in_training_alone_and_follows_the_key():
    _, task, params, state, batch = make(dropout=0.3)
    loss = lambda key: float(task.loss(params, state, {}, batch, jax.random.key(key))[0])
    assert loss(1) == loss(1) != loss(2)
    plain = float(make()[1].loss(params, state, {}, batch, jax.random.key(1))[0])
    scored = -float(np.asarray(task.predict(params, state, {}, batch)['token_log_prob']).sum()) / 3
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
        make_task(config, {})


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'history/codes': None}, r"the batch lacks 'history/codes'"),
        ({'target/codes': np.zeros((3, 3, 3), np.int32)}, r'\[B, up to 2, 3\]: set model\.session'),
        ({'history/codes': np.zeros((3, 4, 2), np.int32)}, r'\[B, up to 4, 3\]'),
    ],
)
def test_batches_of_another_network(change, message):
    _, task, params, state, batch = make()
    batch = {key: value for key, value in {**batch, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        task.loss(params, state, {}, batch, jax.random.key(0))
