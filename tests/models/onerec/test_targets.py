"""Next items that share a history, and histories cut to their length, against one padded example an item."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrec import embeddings as emb
from jaxrec.data.sources.next_item_source import NextItemSource
from jaxrec.models.onerec.next_item import ranked
from jaxrec.models.onerec.options import read_network
from jaxrec.models.onerec.task import SessionTask
from jaxrec.models.sequential import sasrec
from jaxrec.parallel import make_mesh
from jaxrec.planning.products import traced_flops
from jaxrec.training.state import Setup, init_state
from jaxrec.training.step import make_train_step
from tests.data.worlds import small_log, small_sessions
from tests.models.onerec.test_network import ITEMS, LENGTHS, build
from tests.models.onerec.worlds import sent

NETWORK = {
    'levels': (7, 9), 'history': 6, 'session': 1, 'width': 8, 'heads': 2, 'encoder_layers': 2,
    'decoder_layers': 2, 'hidden': 12, 'experts': 0, 'expert_hidden': 8,
}  # fmt: skip
FEATURES = {'user': (), 'candidate': ('item',), 'history': ('item',)}


def together(session, count=4, requests=3):
    """A batch of several sessions a request, some of which are none or have fewer items."""
    rng = np.random.default_rng(1)
    valid = np.ones((requests, count, session), np.float32)
    valid[0, 2:], valid[2, :] = 0, 0
    valid[1, 1, 1:] = 0
    return {
        'history/item': rng.integers(2, ITEMS, (requests, 4)).astype(np.int32),
        'history/length': LENGTHS[:requests],
        'target/item': (rng.integers(2, ITEMS, valid.shape) * (valid > 0)).astype(np.int32),
        'valid': valid,
    }


def one_by_one(batch):
    """The same sessions, each an example that has the history for itself."""
    count = batch['target/item'].shape[1]
    apart = {key: np.repeat(x, count, 0) for key, x in batch.items() if key.startswith('history/')}
    return apart | {key: batch[key].reshape(-1, batch[key].shape[2]) for key in ('target/item', 'valid')}


@pytest.mark.parametrize(
    'options',
    [
        {'session': 1},
        pytest.param({'session': 2, 'experts': 3, 'active': 2, 'z_loss': 0.01}, marks=pytest.mark.slow),
        pytest.param({'session': 1, 'scan': True, 'remat': True}, marks=pytest.mark.slow),
    ],
)
def test_loss_and_gradient_are_those_of_an_example_each(options):
    _, task, params, state = build(encoder_layers=1, decoder_layers=1, **options)
    batch = together(options['session'])

    def lose(params, batch):
        return task.loss(params, state, {}, batch, jax.random.key(0))

    run = jax.jit(jax.value_and_grad(lose, has_aux=True))
    (loss, (metrics, new)), slope = run(params, batch)
    (wanted, (told, after)), slopes = run(params, one_by_one(batch))
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)
    chex.assert_trees_all_close(metrics, told, rtol=1e-5, atol=1e-6)
    for got, want in zip(jax.tree.leaves(slope), jax.tree.leaves(slopes), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * np.abs(want).max())
    chex.assert_trees_all_close(new, after, rtol=1e-6)
    assert float(optax.tree.norm(slope)) > 0.1


@pytest.mark.slow
def test_predictions_and_metrics_are_those_of_an_example_each():
    _, task, params, state = build(encoder_layers=1, decoder_layers=1, session=2, experts=3, active=2)
    batch = together(2)
    predict = jax.jit(lambda params, batch: task.predict(params, state, {}, batch))
    found, apart = predict(params, batch), predict(params, one_by_one(batch))
    got = np.asarray(found['token_log_prob'])
    assert got.shape == (3, 4, 2, 3)
    np.testing.assert_allclose(got.reshape(12, 2, 3), apart['token_log_prob'], rtol=1e-4, atol=1e-5)
    mine, theirs = task.evaluator(), task.evaluator()
    mine.add(batch, jax.device_get(found))
    theirs.add(one_by_one(batch), jax.device_get(apart))
    assert mine.compute() == pytest.approx(theirs.compute(), rel=1e-5)
    assert mine.compute()['sessions'] == 6
    # The same sessions, as those of a pair are scored.
    items = np.where(batch['valid'] > 0, batch['target/item'], 0)
    summed = jax.jit(lambda p: task.session_log_probs(p, state, batch, jnp.asarray(items)))(params)
    np.testing.assert_allclose(summed, got.sum((2, 3)), rtol=1e-4, atol=1e-5)


def test_a_history_is_encoded_once_for_all_its_targets():
    """Of 6 items and 4 targets: counted products, since loss and gradient would not tell."""
    task = SessionTask(read_network({**NETWORK, 'levels': (5, 4, 3), 'history': 40}), codes_of(ITEMS))
    batch = together(1)
    batch['history/item'] = np.full((3, 40), 2, np.int32)
    shapes = jax.eval_shape(task.init, jax.random.key(0), batch)
    loss = lambda params, state, batch: task.loss(params, state, {}, batch, jax.random.key(0))[0]
    count = lambda batch: traced_flops(jax.jit(jax.grad(loss)).trace(*shapes, batch).jaxpr)[0]
    assert count(batch) < 0.35 * count(one_by_one(batch))


def codes_of(rows, levels=(5, 4, 3)):
    """Semantic IDs of the rows of a vocabulary."""
    rng = np.random.default_rng(3)
    codes = np.stack([rng.integers(0, size, rows) for size in levels], -1).astype(np.int32)
    codes[:2] = -1
    return codes


def distinct(log):
    """IDs that no two items share."""
    rows = log.schema['item'].rows
    codes = np.stack(np.divmod(np.arange(rows) - 2, 9), -1).astype(np.int32)
    codes[:2] = -1
    return codes


def source_of(log, **changes):
    arguments = {
        'features': FEATURES, 'split': {'kind': 'leave_last_out'}, 'part': 'train', 'batch_size': 8,
        'history_length': 6,
    }  # fmt: skip
    return NextItemSource(log.folder, **arguments | changes)


def test_an_epoch_of_requests_loses_what_an_epoch_of_items_does(tmp_path):
    log = small_sessions(tmp_path / 'log')
    task = SessionTask(read_network(NETWORK), distinct(log))
    kept = {'shuffle': False, 'remainder': 'pad', 'batch_size': 400}
    alone, several = source_of(log, **kept), source_of(log, targets=3, **kept)
    assert len(alone) == len(several) == 1 and several.examples < alone.examples == several.events
    params, state = jax.jit(task.init)(jax.random.key(0), sent(several[0]))
    lose = jax.jit(lambda batch: task.loss(params, state, {}, batch, jax.random.key(0)))
    (got, (metrics, _)), (want, (told, _)) = (lose(sent(source[0])) for source in (several, alone))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(metrics['ntp'], told['ntp'], rtol=1e-5)


def test_examples_lose_in_cut_batches_what_they_do_in_padded_ones(tmp_path):
    """One program a length, and the same log-probabilities of every example's target."""
    log = small_log(tmp_path / 'log', events=300)
    network = read_network({**NETWORK, 'levels': (6, 9)})
    task = ranked(network, distinct(log), beams=3)
    sources = [source_of(log, widths=widths, min_history=0) for widths in ((), (2, 4))]
    params, state = jax.jit(task.init)(jax.random.key(0), sent(sources[0][0]))
    traces, losses = [], []

    @jax.jit
    def score(batch):
        traces.append(batch['history/item'].shape)
        found = task.log_probs(params, state, batch)[0]
        return found, task.loss(params, state, {}, batch, jax.random.key(0))[0]

    for source in sources:
        of_events = {}
        for step in range(len(source)):
            found, loss = score(sent(source[step]))
            of_events |= dict(zip(source[step]['host/event'].tolist(), np.asarray(found), strict=True))
            np.testing.assert_allclose(loss, -np.asarray(found).sum() / 8, rtol=1e-5)
        losses.append(of_events)
    assert sorted(traces) == [(8, 2), (8, 4), (8, 6)]
    assert losses[0].keys() == losses[1].keys() and len(losses[0]) > 100
    for event, found in losses[0].items():
        np.testing.assert_allclose(losses[1][event], found, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_run_on_cut_batches_resumes_bit_for_bit(tmp_path):
    """Steps of three lengths, and again from the middle with the state that was there."""
    log = small_log(tmp_path / 'log', events=300)
    small = {'levels': (6, 9), 'encoder_layers': 1, 'decoder_layers': 1, 'dropout': 0.2}
    task = SessionTask(read_network({**NETWORK, **small}), distinct(log))
    setup = Setup(task, optax.adam(1e-2), emb.row_adagrad(0.1), make_mesh((1, 1)))
    source = source_of(log, widths=(2, 4), min_history=0, batch_size=24)
    step = make_train_step(setup)

    def run(first, state, source):
        kept = {}
        for number in range(first, len(source)):
            kept[number] = jax.device_get(state.params)
            state, _ = step(state, sent(source[number]))
        return jax.device_get(state.params), kept

    end, before = run(0, init_state(setup, sent(source[0]), 0), source)
    middle = len(source) // 2
    state = init_state(setup, sent(source[0]), 0)
    for number in range(middle):
        state, _ = step(state, sent(source[number]))
    chex.assert_trees_all_equal(jax.device_get(state.params), before[middle])
    again = source_of(log, widths=(2, 4), min_history=0, batch_size=24)
    chex.assert_trees_all_equal(run(middle, state, again)[0], end)
    assert len({source[number]['history/item'].shape for number in range(len(source))}) == 3


def test_models_of_one_next_item_refuse_several():
    task = ranked(read_network({**NETWORK, 'levels': (3, 3)}), codes_of(ITEMS, (3, 3)), beams=3)
    schema = {'item': type('Column', (), {'rows': ITEMS})()}
    for each in (task, sasrec.make_task({}, schema)):
        each.check_data({'targets': 1})
        each.check_data({})
        with pytest.raises(ValueError, match=r'data\.targets = 4: this model reads one next item'):
            each.check_data({'targets': 4})
