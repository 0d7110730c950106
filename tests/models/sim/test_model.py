"""SIM, ETA, SDIM, TWIN and models without a search against numpy; the losses, and what learns from which."""

import jax
import numpy as np
import pytest

from jaxrec.models.sim.options import SIM_OPTIONS
from jaxrec.ops.histories.simhash import hyperplanes
from tests.conftest import slow_but_for
from tests.models import worlds
from tests.oracles import ctr
from tests.oracles import sim as oracle

BLOCKS = {
    'hard': {'search': 'hard'},
    'hard, DIN': {'search': 'hard', 'attention': 'din'},
    'hard, first stage, three heads': {'search': 'hard', 'attention': 'mean', 'num_heads': 3, 'time_gap': 0},
    'soft': {'search': 'soft'},
    'soft, softmax, no projection': {'search': 'soft', 'project': False, 'aux_softmax': True, 'time_gap': 0},
    'soft, first stage, more than there are': {'search': 'soft', 'attention': 'mean', 'keep': 12},
    'soft_shared': {'search': 'soft_shared', 'short_model': 'none', 'base_options': {}},
    'ETA': {'search': 'simhash', 'hashes': 20, 'hash_seed': 3},
    'SDIM': {'search': 'sdim', 'hashes': 12, 'hash_group': 2},
    'TWIN': {'search': 'twin', 'num_heads': 3},
    'average of the long window': {'search': 'none', 'attention': 'mean'},
    'all of the long window': {'search': 'none', 'attention': 'mha'},
    'DIN over the long window': {'search': 'none', 'attention': 'din'},
}


def make(**options):
    batch = worlds.make_batch(features=worlds.FEATURES, seed=3)
    return worlds.make_model('SIM-soft', batch, worlds.FEATURES, std=0.5, **options), batch


def expected(model, batch, **options):
    """The oracle's logits and pooled vectors."""
    options = {**SIM_OPTIONS, **worlds.SIM, **options}
    planes = np.asarray(hyperplanes(8, options['hashes'] or 16, options['hash_seed']))
    return oracle.sim(model.params, model.tables, batch, options, planes)


@pytest.mark.parametrize(
    'name', slow_but_for(('hard', 'hard, DIN', 'soft', 'ETA', 'SDIM', 'TWIN', 'DIN over the long window'), BLOCKS)
)
def test_every_search_and_attention_is_the_loop(name):
    model, batch = make(**BLOCKS[name])
    want, _ = expected(model, batch, **BLOCKS[name])
    np.testing.assert_allclose(model.logits(batch), want, rtol=1e-4, atol=1e-4)
    assert ('gaps' in model.params.get('interest', {})) == (BLOCKS[name].get('time_gap', 2) > 0)


@pytest.mark.parametrize('softmax', [False, True])
def test_the_search_loss_is_the_loop_and_beta_weighs_the_other(softmax):
    model, batch = make(search='soft', aux_softmax=softmax, alpha=0.5, beta=3.0)
    batch['valid'][2] = 0
    _, pooled = expected(model, batch, search='soft', aux_softmax=softmax)
    candidate = oracle.read_parts(model.tables, batch, 'candidate')
    net = model.params['interest']['search']['auxiliary']
    logits = ctr.mlp(net, np.concatenate([pooled, candidate], -1))[..., 0]
    losses = np.logaddexp(0, logits) - batch['label'] * logits
    ((value, (metrics, _)), _), _ = model.loss(batch)
    np.testing.assert_allclose(metrics['search'], 0.5 * losses[batch['valid'] > 0].mean(), rtol=1e-4)
    np.testing.assert_allclose(value, 3 * metrics['logloss'] + metrics['search'], rtol=1e-6)


def test_a_soft_search_learns_from_its_own_loss_alone():
    grads = {}
    for alpha in (1.0, 2.0):
        model, batch = make(search='soft', alpha=alpha)
        (_, (params, rows)), _ = model.loss(batch)
        grads[alpha] = params['interest']['search'], rows['item']['long/item']
    jax.tree.map(lambda a, b: np.testing.assert_allclose(2 * a, b, rtol=1e-4), grads[1.0][0], grads[2.0][0])
    assert all(np.abs(x).max() > 0 for x in jax.tree.leaves(grads[1.0][0]))
    # Every real behaviour is scored, so every one has a gradient, kept or not.
    real = np.arange(worlds.LONG) < batch['long/length'][:, None]
    np.testing.assert_array_equal(np.abs(grads[1.0][1]).max(-1) > 0, real)


@pytest.mark.parametrize('name', ['soft_shared', 'ETA', 'TWIN'])
def test_other_searches_move_what_they_kept_and_nothing_else(name):
    model, batch = make(**BLOCKS[name])
    (_, (_, rows)), _ = model.loss(batch)
    moved = np.abs(rows['item']['long/item']).max(-1) > 0
    kept = np.minimum(batch['long/length'], 3)
    assert (moved.sum(1) >= kept).all() and (moved.sum(1) <= np.minimum(3 * kept, batch['long/length'])).all()
    assert moved.sum() < batch['long/length'].sum()


def test_twin_takes_further_columns_of_the_history_as_cross_features():
    features = {**worlds.FEATURES, 'history': ('price', *worlds.IDS)}
    batch = worlds.make_batch(features=features)
    model = worlds.make_model('TWIN', batch, features, std=0.5)
    own = model.params['interest']
    assert own['of_behaviour'].shape == (2, 8, 3)  # item and category, and not the price
    assert {name: own[name].shape for name in ('squeeze_0', 'squeeze_1', 'beta')} == {
        'squeeze_0': (1,), 'squeeze_1': (2,), 'beta': (2, 2)}  # fmt: skip
    before = model.logits(batch)
    batch['long/price'] = batch['long/price'] * -3
    assert np.abs(model.logits(batch) - before)[1:].max() > 1e-3
    short = model.task.module.base.features.features
    assert [name for side, name in short if side == 'history'] == list(worlds.IDS)


def test_a_dien_beside_it_brings_its_own_loss():
    model, batch = make(search='soft', short_model='dien', base_options=worlds.DIEN)
    ((value, (metrics, _)), _), _ = model.loss(batch)
    assert metrics['auxiliary'] > 0 and metrics['search'] > 0
    np.testing.assert_allclose(value, metrics['logloss'] + metrics['auxiliary'] + metrics['search'], rtol=1e-6)
