"""LR, DNN and DIN: forward against numpy from the same parameters and tables, and what they refuse."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.models import worlds
from tests.oracles import ctr as oracle


def test_lr_is_a_bias_and_a_weight_an_id():
    batch = worlds.make_batch()
    model = worlds.make_model('LR', batch)
    model.params = {'bias': np.float32(0.25)}
    features = {
        ('user', 'user'): 'user', ('user', 'favourite'): 'category', ('candidate', 'item'): 'item',
        ('candidate', 'category'): 'category', ('candidate', 'tags'): 'tag',
    }  # fmt: skip
    assert {(t.name, t.dim) for t in model.task.tables.values()} == {(f'{v}_weight', 1) for v in features.values()}
    want = oracle.lr(model.params, model.tables, batch, features)
    np.testing.assert_allclose(model.logits(batch), want, rtol=1e-4, atol=1e-5)


def test_lr_refuses_numbers():
    path, _ = worlds.MODELS['LR']
    with pytest.raises(ValueError, match=r"LR reads one-hots, but \['price'\] are numeric; leave them out or bucket"):
        worlds.resolve(path, 'task')({'features': {'candidate': ('item', 'price')}}, worlds.SCHEMA)


def test_dnn_is_the_loop():
    batch = worlds.make_batch(features=worlds.FEATURES)
    model = worlds.make_model('DNN', batch, worlds.FEATURES)
    want = oracle.dnn(model.params, model.tables, batch)
    np.testing.assert_allclose(model.logits(batch), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('softmax', [True, False])
def test_din_adds_the_interest_and_its_product_with_the_candidate(softmax):
    batch = worlds.make_batch(features=worlds.FEATURES)
    model = worlds.make_model('DIN', batch, worlds.FEATURES, softmax=softmax)
    inputs = oracle.din_inputs(model.params, model.tables, batch, softmax)
    want = np.array([[oracle.mlp(model.params['head'], x)[0] for x in request] for request in inputs])
    np.testing.assert_allclose(model.logits(batch), want, rtol=1e-4, atol=1e-5)


def test_din_refuses_a_history_that_is_not_like_its_candidates():
    with pytest.raises(
        ValueError, match=r"features.history \['item'\] must equal features.candidate \['item', 'category'\]"
    ):
        worlds.make_task('DIN', {**worlds.FEATURES, 'history': ('item',)})


def test_the_row_penalty_is_half_the_squares_an_example_reads():
    features = {'candidate': ('item', 'category')}
    batch, rng = worlds.on_device(worlds.make_batch(features=features)), np.random.default_rng(0)
    task = worlds.make_task('LR', features)
    read = lambda x: jnp.asarray(rng.normal(size=(*x.shape, 1)), jnp.float32)
    rows = jax.tree.map(read, task.ids(batch))
    losses = []
    for weight in (0.0, 0.1):
        task = worlds.make_task('LR', features, row_l2=weight)
        loss, (metrics, _) = jax.jit(task.loss)({'bias': 0.0}, {}, rows, batch, jax.random.key(0))
        losses.append(float(loss))
        np.testing.assert_allclose(metrics['logloss'], losses[0], rtol=1e-6)  # reported without the penalty
    squares = sum(float((x**2).sum()) for x in jax.tree.leaves(rows))
    np.testing.assert_allclose(losses[1] - losses[0], 0.1 * squares / 2 / 18, rtol=1e-4)


def test_the_readme_s_table_has_every_model():
    room = REPOSITORY / 'jaxrec/models/baselines'
    links = set(re.findall(r'\]\((?!http)([^)#]+)\)', (room / 'README.md').read_text()))
    assert [link for link in links if not (room / link).exists()] == []
    assert links >= {file.name for file in room.glob('*.py') if file.name != '__init__.py'}
