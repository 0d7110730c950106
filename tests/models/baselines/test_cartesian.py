"""DNN + Cartesian product: forward against numpy, pairs without an id, what it refuses."""

import numpy as np
import pytest

from tests.models import worlds
from tests.oracles import ctr as oracle

NAMES = tuple(worlds.CARTESIAN)


@pytest.mark.parametrize('pooling', ['sum', 'mean'])
def test_the_product_is_the_loop(pooling):
    batch = worlds.make_batch(features=worlds.FEATURES)
    model = worlds.make_model('Cartesian', batch, worlds.FEATURES, history_pooling=pooling)
    want = oracle.cartesian(model.params, model.tables, batch, NAMES, pooling)
    np.testing.assert_allclose(model.logits(batch), want, rtol=1e-4, atol=1e-5)
    assert {n: (t.rows, t.dim) for n, t in model.task.tables.items() if 'x' in n} == {
        'itemxitem': (40, 4), 'categoryxitem': (12, 4)}  # fmt: skip


@pytest.mark.parametrize('name', ['Cartesian', 'CAN+Cartesian'])
def test_an_example_of_new_pairs_alone_is_scored_by_the_base(name):
    batch = worlds.make_batch(features=worlds.FEATURES)
    model = worlds.make_model(name, batch, worlds.FEATURES)
    keys = [key for key in batch if key.startswith('cartesian/')]
    unseen = {key: np.where(batch[key] > 0, 1, 0).astype(np.int32) for key in keys}
    empty = {key: np.zeros_like(batch[key]) for key in keys}
    base = model.logits(batch | empty)
    np.testing.assert_allclose(model.logits(batch | unseen), base, rtol=1e-5, atol=1e-6)
    assert np.abs(model.logits(batch) - base).max() > 0.01
    # Where the base is the DNN, that is the DNN whose head meets zeros.
    if name == 'Cartesian':
        head = dict(model.params['head'])
        kernel = np.asarray(head['dense_0']['kernel'])[: -4 * len(NAMES)]
        head['dense_0'] = {'kernel': kernel, 'bias': head['dense_0']['bias']}
        want = oracle.dnn({'head': head}, model.tables, batch)
        np.testing.assert_allclose(base, want, rtol=1e-4, atol=1e-5)


def test_can_reads_its_co_actions_beside_the_product():
    batch = worlds.make_batch(features=worlds.FEATURES)
    model = worlds.make_model('CAN+Cartesian', batch, worlds.FEATURES)
    assert model.params['head']['dense_0']['kernel'].shape[0] == 5 * 4 + 2 * 4 + 2 * 2 * (3 + 2)
    assert {'itemxitem', 'item_induction', 'item_feed', 'item'} <= set(model.task.tables)


def make(**features):
    path, options = worlds.MODELS['Cartesian']
    return worlds.resolve(path, 'task')({**options, 'features': {**worlds.FEATURES, **features}}, worlds.SCHEMA)


def test_a_product_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r'no pairs: name them in the data section, such as data\.cartesian'):
        make()
    with pytest.raises(ValueError, match=r"'brandxitem' is no column of pair ids.*data\.cartesian"):
        make(cartesian=('brandxitem',))
