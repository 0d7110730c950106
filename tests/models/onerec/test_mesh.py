"""OneRec with its experts cut over a mesh: training, scores and beams are those of one device."""

import functools
import re

import jax
import numpy as np
import optax
import pytest

from jaxrec import embeddings as emb
from jaxrec.models.onerec.alignment.task import AlignTask, Preference
from jaxrec.models.onerec.generate import catalogue, make_generate
from jaxrec.models.onerec.options import read_network
from jaxrec.models.onerec.task import SessionTask
from jaxrec.parallel import make_mesh, put_batch
from jaxrec.runs.optimizers import make_optimizer
from jaxrec.training.state import Setup, init_state
from jaxrec.training.step import make_predict_step, make_train_step
from tests.models.onerec.test_network import SMALL
from tests.parallel.hlo import results_of

EXPERTS, STEPS, BATCH, ITEMS = 4, 3, 6, 9  # no mesh of 8 devices divides the batch
OPTIONS = {**SMALL, 'experts': EXPERTS, 'balance': 0.1, 'scan': True, 'remat': True}


def make_task(**options):
    network = read_network({**OPTIONS, **options})
    # A code of each level decides the item, so that no two share one.
    codes = np.stack([np.arange(ITEMS) % k for k in network.levels], -1).astype(np.int32)
    codes[:2] = -1
    return SessionTask(network, codes)


def make_batch(network, seed):
    rng = np.random.default_rng(seed)
    draw = lambda items: rng.integers(2, ITEMS, (BATCH, items)).astype(np.int32)
    valid = np.ones((BATCH, network.session), np.float32)
    valid[1] = 0
    length = rng.integers(0, network.history + 1, BATCH).astype(np.int32)
    return {
        'history/item': draw(network.history), 'history/length': length,
        'target/item': draw(network.session), 'valid': valid,
    }  # fmt: skip


def make_setup(task, shape):
    return Setup(task, optax.adam(1e-2), emb.row_adagrad(0.1), make_mesh(shape), clip_norm=1.0)


@functools.cache
def train(shape, dispatch='ring'):
    """Losses, the state, its setup and what the compiled step looks like."""
    task = make_task(dispatch=dispatch)
    setup = make_setup(task, shape)
    sent = lambda seed: put_batch(make_batch(task.network, seed), setup.mesh)
    state = init_state(setup, sent(0), 0)
    step = make_train_step(setup).lower(state, sent(0)).compile()
    losses = []
    for t in range(STEPS):
        state, metrics = step(state, sent(t))
        losses.append([metrics[key] for key in ('loss', 'grad_norm', 'balance', 'dropped', 'load_max')])
    return np.array(jax.device_get(losses)), state, setup, step.as_text()


MESHES = [((2, 4), 'ring'), ((4, 2), 'all_to_all'), ((8, 1), 'ring'), ((2, 4), 'all_to_all')]


@pytest.mark.slow
@pytest.mark.parametrize(('shape', 'dispatch'), MESHES)
def test_training_is_that_of_one_device(shape, dispatch):
    want, alone, _, _ = train((1, 1))
    got, state, _, hlo = train(shape, dispatch)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(jax.tree.leaves(state.params), jax.tree.leaves(alone.params), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4)
    layers, width, hidden = 2, SMALL['width'], SMALL['expert_hidden']
    here = (layers, EXPERTS // shape[1], width, 2 * hidden)
    moment = state.opt_state[0].mu['decoder']['feed']['up']
    for kept in (state.params['decoder']['feed']['up'], moment):
        assert {shard.data.shape for shard in kept.addressable_shards} == {here}
    assert {shard.data.shape for shard in state.params['codes'].addressable_shards} == {(12, width)}
    # Of one layer or of all, up or down: tokens may be gathered, experts may not.
    whole = re.compile(rf'\[({layers},)?{EXPERTS},({width},{2 * hidden}|{hidden},{width})\]')
    assert whole.search(f'f32[{layers},{EXPERTS},{hidden},{width}]{{3,2,1,0}}')
    assert not [kind for kind in results_of('all-gather', hlo) if whole.search(kind)]
    assert ('all-to-all' in hlo) == (dispatch == 'all_to_all')


def test_what_muon_keeps_of_experts_is_cut_as_they_are():
    task = make_task()
    setup = make_setup(task, (2, 4))._replace(optimizer=make_optimizer('muon', 1e-2))
    state = init_state(setup, put_batch(make_batch(task.network, 0), setup.mesh), 0)
    moments = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state)
        if jax.tree_util.keystr(path).endswith("['decoder']['feed']['up']")
    ]
    whole = (2, EXPERTS, SMALL['width'], 2 * SMALL['expert_hidden'])
    assert [moment.shape for moment in moments] == [whole]
    assert {shard.data.shape[1] for shard in moments[0].addressable_shards} == {EXPERTS // 4}


@pytest.mark.slow
def test_beams_and_scores_are_those_of_one_device():
    _, state, setup, _ = train((2, 4))
    alone = jax.device_get((state.params, state.model_state))
    task = setup.task
    batch, trie = make_batch(task.network, 7), catalogue(task.codes, task.network.levels)
    sent = put_batch(batch, setup.mesh)
    cut = jax.device_put(trie, jax.NamedSharding(setup.mesh, jax.P()))
    want = make_generate(task, beams=4)(*alone, batch, trie)
    got = make_generate(setup.placed_task, beams=4)(state.params, state.model_state, sent, cut)
    np.testing.assert_array_equal(np.asarray(got.items)[:BATCH], want.items)
    np.testing.assert_allclose(np.asarray(got.scores)[:BATCH], want.scores, rtol=1e-4)
    scores = make_predict_step(setup)(state, sent)['token_log_prob']
    want = jax.jit(lambda *given: task.predict(*given))(*alone, {}, batch)['token_log_prob']
    np.testing.assert_allclose(np.asarray(scores)[:BATCH], want, rtol=1e-4, atol=1e-5)


def test_what_alignment_wraps_is_cut_the_same_way():
    base = make_task()
    setup = make_setup(AlignTask(base, Preference(), 1, 2), (2, 4))
    assert setup.placed_task.base.mesh == setup.mesh and setup.placing[0] == base.rules[0]
    assert make_setup(make_task(experts=0), (2, 4)).placing == (('.*', jax.P()),)


def test_experts_that_the_axis_does_not_divide_are_refused():
    message = (
        r"model\.experts = 6 cannot be shared out evenly over the 4 devices along 'model' of the mesh 2 x 4: "
        r"give a multiple of 4, such as 8, or a mesh whose 'model' divides 6, such as --mesh=4,2$"
    )
    with pytest.raises(ValueError, match=message):
        _ = make_setup(make_task(experts=6), (2, 4)).placed_task
    for experts, shape in ((6, (4, 2)), (8, (2, 4)), (6, (8, 1)), (0, (2, 4))):
        assert make_setup(make_task(experts=experts), shape).placed_task.mesh.shape['model'] == shape[1]
