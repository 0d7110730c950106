"""The feature map: tables by vocabulary, multi-valued means, numeric logs, one order."""

import jax
import numpy as np
import pytest

from jaxrec import embeddings as emb
from jaxrec.models.ctr.features import FeatureMap
from tests.models import worlds


def test_columns_of_one_vocabulary_share_a_table():
    features, batch = FeatureMap.make(worlds.RICH, worlds.SCHEMA), worlds.make_batch()
    ids = features.ids(batch)
    assert {table: sorted(keys) for table, keys in ids.items()} == {
        'user': ['user/user'],
        'category': ['candidate/category', 'history/category', 'user/favourite'],
        'item': ['candidate/item', 'history/item'],
        'tag': ['candidate/tags', 'history/tags'],
    }
    assert features.table_rows() == {'user': 20, 'category': 7, 'item': 30, 'tag': 9}
    assert set(features.ids(batch, '_weight')) == {'user_weight', 'category_weight', 'item_weight', 'tag_weight'}


def test_vectors_are_the_loop():
    features, batch = FeatureMap.make(worlds.RICH, worlds.SCHEMA), worlds.make_batch()
    specs = emb.as_specs([emb.Table(name, rows, 2, emb.normal(1.0)) for name, rows in features.table_rows().items()])
    tables = emb.init_tables(specs, jax.random.key(0))
    run = jax.jit(lambda tables, batch: features.vectors(emb.lookup(specs, tables, features.ids(batch)), batch))
    got, tables = jax.device_get((run(tables, worlds.on_device(batch)), tables))
    log = lambda price: [np.sign(price) * np.log(1 + abs(price))]

    def mean(ids):
        found = [tables['tag'][i] for i in ids if i > 0]
        return np.mean(found, 0) if found else np.zeros(2)

    def described(side, at):
        take = lambda name: batch[f'{side}/{name}'][at]
        return np.concatenate([
            tables['item'][take('item')], tables['category'][take('category')],
            mean(take('tags')), log(take('price')),
        ])  # fmt: skip

    for b in range(6):
        user = [tables['user'][batch['user/user'][b]], tables['category'][batch['user/favourite'][b]]]
        np.testing.assert_allclose(got.user[b], np.concatenate(user), rtol=1e-5)
        for c in range(3):
            np.testing.assert_allclose(got.candidate[b, c], described('candidate', (b, c)), rtol=1e-5, atol=1e-6)
        for l in range(batch['history/length'][b]):  # noqa: E741
            np.testing.assert_allclose(got.history[b, l], described('history', (b, l)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got.mask, np.arange(5) < batch['history/length'][:, None])
    summed = [got.history[b, :n].sum(0) for b, n in enumerate(batch['history/length'])]
    np.testing.assert_allclose(got.pooled, summed, rtol=1e-5, atol=1e-6)


def test_a_history_is_summed_or_averaged_over_its_real_entries():
    batch = worlds.on_device(worlds.make_batch(features={'candidate': ('price',), 'history': ('price',)}))
    got = {
        pooling: FeatureMap.make({'candidate': ('price',), 'history': ('price',)}, worlds.SCHEMA, pooling).vectors(
            {}, batch
        )
        for pooling in ('sum', 'mean')
    }
    length = np.asarray(batch['history/length'])[:, None]
    assert (length == 0).any() and (length > 1).any()
    np.testing.assert_allclose(got['mean'].pooled * np.maximum(length, 1), got['sum'].pooled, rtol=1e-5)
    with pytest.raises(ValueError, match=r"model.history_pooling = 'max' .* choose one of \['mean', 'sum'\]"):
        FeatureMap.make({'candidate': ('price',)}, worlds.SCHEMA, 'max')


def test_negatives_are_the_history_s_columns_once_more():
    batch = worlds.make_batch()
    features, plain = (FeatureMap.make(worlds.RICH, worlds.SCHEMA, negatives=n) for n in (True, False))
    ids = features.ids(batch)
    assert {table: sorted(set(keys) - set(plain.ids(batch)[table])) for table, keys in ids.items()} == {
        'user': [],
        'category': ['history_negative/category'],
        'item': ['history_negative/item'],
        'tag': ['history_negative/tags'],
    }
    rows = jax.tree.map(lambda ids: np.stack([ids, -ids], -1).astype(np.float32), ids)
    got = features.vectors(rows, batch)
    swapped = {key: batch.get(key.replace('history/', 'history_negative/'), batch[key]) for key in batch}
    rows = jax.tree.map(lambda ids: np.stack([ids, -ids], -1).astype(np.float32), plain.ids(swapped))
    np.testing.assert_array_equal(got.negative, plain.vectors(rows, swapped).history)
    assert np.abs(got.negative - got.history).max() > 1
    assert plain.vectors(rows, batch).negative is None
    partly = {key: value for key, value in batch.items() if key != 'history_negative/price'}
    assert features.ids(partly) == plain.ids(partly) and features.vectors(rows, partly).negative is None


def test_absent_sides_are_empty():
    features = FeatureMap.make({'candidate': ('price',)}, worlds.SCHEMA)
    batch = worlds.make_batch(features={'candidate': ('price',)})
    assert features.ids(batch) == {}
    got = features.vectors({}, worlds.on_device(batch))
    assert (got.user.shape, got.candidate.shape, got.mask.shape) == ((6, 0), (6, 3, 1), (6, 0))
    assert got.history.shape[:2] == (6, 0)


def test_sides_are_concatenated_in_one_order_whatever_the_config_s():
    backwards = dict(reversed(worlds.RICH.items()))
    assert FeatureMap.make(backwards, worlds.SCHEMA) == FeatureMap.make(worlds.RICH, worlds.SCHEMA)


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'context': ('item',)}, "features.context: a feature is on one of the sides .*'history'"),
        ({'candidate': ('itm',)}, "features.candidate names column 'itm'; the log has the columns .*'item'"),
        ({'user': ('user',), 'candidate': ()}, 'features.candidate is empty'),
    ],
)
def test_features_that_cannot_be_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        FeatureMap.make(given, worlds.SCHEMA)
