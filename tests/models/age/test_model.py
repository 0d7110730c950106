"""AGE's task: a gate that learns beside the base without touching it, and configs that are refused."""

import functools

import chex
import jax
import numpy as np
import pytest

from jaxrec.data.logs.schema import Column
from jaxrec.models.age import make_task
from jaxrec.models.age.gate import own_rows
from jaxrec.training.state import init_state
from jaxrec.training.step import make_train_step
from tests.models import worlds
from tests.models.age.test_explore import FEATURES, age_config


@functools.cache
def trained(wrapped):
    """A base after three steps, alone or wrapped, with the same seed and batches."""
    task = worlds.make_task('DNN', FEATURES) if not wrapped else make_task(age_config(), worlds.SCHEMA)
    setup = worlds.make_setup(task)
    batches = [worlds.on_device(worlds.make_batch(4, 1, 3, FEATURES, seed)) for seed in range(3)]
    step, state = make_train_step(setup), init_state(setup, batches[0], 0)
    first = jax.device_get(state.params)
    for batch in batches:
        state, metrics = step(state, batch)
    return first, state, metrics


@pytest.mark.slow
def test_a_base_trains_as_if_the_gate_were_not_there():
    _, alone, metrics = trained(False)
    first, wrapped, with_gate = trained(True)
    chex.assert_trees_all_close(wrapped.params['base'], alone.params, rtol=1e-6, atol=1e-8)
    chex.assert_trees_all_close(wrapped.tables, alone.tables, rtol=1e-6, atol=1e-8)
    assert set(with_gate) - set(metrics) == {'dgu_logloss'}
    np.testing.assert_allclose(with_gate['loss'], metrics['loss'] + with_gate['dgu_logloss'], rtol=1e-5)
    kernel = lambda params: params['gate']['item']['dense_0']['kernel']
    assert np.abs(kernel(wrapped.params) - kernel(first)).max() > 1e-3


def test_the_gates_loss_is_the_cross_entropy_of_the_items_alone_and_sends_no_gradient_into_rows():
    task = make_task(age_config(dgu_loss_weight=0.5), worlds.SCHEMA)
    batch = worlds.make_batch(4, 3, 3, FEATURES)
    model = worlds.make_model('DNN', batch, FEATURES)
    sent = worlds.on_device(batch)
    params = {'base': model.params, 'gate': task.init(jax.random.key(1), sent)[0]['gate']}
    rows = {
        table: {key: model.tables[table][np.asarray(ids)] for key, ids in features.items()}
        for table, features in task.ids(batch).items()
    }
    slopes = lambda task: jax.jit(jax.grad(lambda p, r: task.loss(p, {}, r, sent, None)[0], (0, 1)))
    both, alone = slopes(task)(params, rows), slopes(task.base)(model.params, rows)
    chex.assert_trees_all_close(both[1], alone[1], rtol=1e-5, atol=1e-8)
    chex.assert_trees_all_close(both[0]['base'], alone[0], rtol=1e-5, atol=1e-8)
    gate, x = (
        params['gate']['item'],
        np.concatenate([rows['item']['candidate/item'], rows['category']['candidate/category']], -1),
    )
    hidden = x @ np.asarray(gate['dense_0']['kernel'])
    hidden = np.where(hidden >= 0, hidden, np.asarray(gate['slope_0']) * hidden)
    logits = (hidden @ np.asarray(gate['dense_1']['kernel']))[..., 0]
    got = task.predict(params, {}, rows, sent)['item_average']
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-logits)), rtol=1e-4)
    losses = np.logaddexp(0, logits) - batch['label'] * logits
    _, (metrics, _) = task.loss(params, {}, rows, sent, None)
    np.testing.assert_allclose(metrics['dgu_logloss'], losses.mean(), rtol=1e-4)


def test_the_gate_reads_the_items_named_columns():
    task = make_task(age_config(gate_columns=('category',)), worlds.SCHEMA)
    batch = worlds.on_device(worlds.make_batch(features=FEATURES))
    shapes = jax.eval_shape(task.init, jax.random.key(0), batch)
    assert shapes[0]['gate']['item']['dense_0']['kernel'].shape == (4, 5)


def test_a_gate_beside_a_model_with_wide_tables_reads_its_narrow_ones():
    task = make_task(age_config('CAN-DNN'), worlds.SCHEMA)
    rows = rows_of(task)
    found = own_rows(task.gate.features, rows)
    assert {key: set(of) for key, of in found.items()} == {
        'item': {'candidate/item'}, 'category': {'candidate/category'},
    }  # fmt: skip
    assert found['item']['candidate/item'] is rows['item']['candidate/item']
    assert sum('candidate/item' in held for held in rows.values()) > 1  # the wide one too
    assert found['category']['candidate/category'] is rows['category']['candidate/category']


def rows_of(task, features=FEATURES):
    """{table: {feature: zeros}}, by the tables that the base looks up."""
    batch = worlds.make_batch(features=features)
    return {
        table: {key: np.zeros((*x.shape, task.tables[table].dim)) for key, x in held.items()}
        for table, held in task.ids(batch).items()
    }


def test_the_gates_tables_are_those_that_hold_its_columns_not_those_that_sound_like_them():
    """The weights of `item_feature` are no rows of `item`, however their names are sorted."""
    schema = {**worlds.SCHEMA, 'item_feature': Column('categorical', 'item_feature', 5, 1)}
    config = {**age_config('LR'), 'features': {'candidate': ('item', 'item_feature')}}
    task = make_task(config, schema)
    rows = {
        'item_feature_weight': {'candidate/item_feature': np.full((2, 3, 1), 5.0)},
        'item_weight': {'candidate/item': np.full((2, 3, 1), 7.0)},
    }
    found = own_rows(task.gate.features, rows)
    assert found['item']['candidate/item'][0, 0, 0] == 7 and found['item_feature'].keys() == {'candidate/item_feature'}
    del rows['item_weight']
    with pytest.raises(ValueError, match=r"the base has no rows of 'candidate/item', only of \['candidate/it"):
        own_rows(task.gate.features, rows)


DNN = 'jaxrec.models.baselines.dnn:make_task'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'base': {}}, r"model.base has no 'task': AGE wraps a CTR model"),
        ({'base': {'task': DNN, 'features': {}}}, 'model.base.features: the base'),
        ({'base': {'task': DNN, 'wide': 3}}, 'model.wide is not an option'),
        ({'explore_lambd': 1.0}, "model.explore_lambd is not an option; did you mean 'explore_lambda'"),
        ({'explore_lambda': -1.0}, r'model.explore_lambda = -1.0: give a number, 0 or more'),
        ({'perturb': 'items'}, r"model.perturb = 'items' does not exist; choose one of"),
        ({'direction': 'sgd'}, "model.direction = 'sgd' does not exist"),
        ({'uncertainty': 'gp'}, "model.uncertainty = 'gp' does not exist"),
        ({'dropout_place': 'rows'}, "model.dropout_place = 'rows' does not exist; choose one of"),
        ({'gate': 'soft'}, "model.gate = 'soft' does not exist"),
        ({'pgd_steps': 0}, 'model.pgd_steps = 0: give at least 1'),
        ({'passes': 0}, 'model.passes = 0: give at least 1'),
        ({'dropout_rate': 1.0}, r'model.dropout_rate = 1.0: give a share in \[0, 1\)'),
        ({'dgu_loss_weight': 0.0}, "model.dgu_loss_weight = 0.0: .* or set model.gate = 'none'"),
        ({'gate_columns': ('user',)}, "names 'user', which is not among features.candidate"),
        (
            {'perturb': 'user', 'features': {'user': ('price',), 'candidate': worlds.IDS}},
            r"model.perturb = 'user' moves no row: .* or set model.perturb = 'all'",
        ),
        (
            {'perturb': 'user', 'features': {'candidate': worlds.IDS}},
            r"moves no row: .* it is {'candidate': \('item', 'category'\)}; name one",
        ),
        ({'gate_slope': 0.0}, 'model.gate_slope = 0.0: a gate opens upwards'),
    ],
)
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_task({**age_config(), **options}, worlds.SCHEMA)
