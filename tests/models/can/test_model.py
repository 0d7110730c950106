"""CAN-DNN: forward against numpy, presets, pairs and their tables."""

import numpy as np
import pytest

from jaxrec.models.can.model import PRESETS, UNIT_OPTIONS
from tests.models import worlds
from tests.oracles import ctr as oracle

UNIT = {**UNIT_OPTIONS, 'dims': (4, 3, 2), 'orders': 2}
MATCHED = [('item', 'history', 'item', 'item'), ('category', 'history', 'category', 'category')]


def forward(**options):
    batch = worlds.make_batch(features=worlds.FEATURES)
    model = worlds.make_model('CAN-DNN', batch, worlds.FEATURES, std=0.5, **options)
    return model.task, model.params, model.tables, batch, model.logits(batch)


@pytest.mark.parametrize('preset', list(PRESETS))
def test_a_preset_is_the_loop_over_matched_pairs(preset):
    task, params, tables, batch, got = forward(preset=preset)
    want = oracle.can(params, tables, batch, MATCHED, {**UNIT, **PRESETS[preset]})
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    other = oracle.can(
        params,
        tables,
        batch,
        MATCHED,
        {**UNIT, **PRESETS[preset], 'last_activation': 'none', 'pooling': 'mean'},
    )
    assert np.abs(got - other).max() > 0.01
    assert {n: (t.rows, t.dim) for n, t in task.tables.items()} == {
        'user': (20, 4), 'item': (30, 4), 'category': (7, 4),
        'item_induction': (30, 18), 'category_induction': (7, 18),
        'item_feed': (30, 4), 'category_feed': (7, 4),
    }  # fmt: skip


def test_presets_differ_where_paper_and_code_do_and_give_way_to_options():
    unit = lambda **options: dict(worlds.make_task('CAN-DNN', worlds.FEATURES, **options).module.unit)
    assert unit() == unit(preset='wsdm22_code') == UNIT
    paper = unit(preset='wsdm22_paper')
    assert {k for k in UNIT if paper[k] != UNIT[k]} == {'order_reduce', 'last_activation'}
    assert (paper['order_reduce'], paper['last_activation']) == ('sum', 'tanh')
    mixed = unit(preset='wsdm22_paper', order_reduce='concat', use_bias=True)
    assert mixed == {**paper, 'order_reduce': 'concat', 'use_bias': True}
    assert worlds.make_task('CAN-DNN', worlds.FEATURES, use_bias=True).tables['item_induction'].dim == 18 + 5
    published = worlds.make_task('CAN-DNN', worlds.FEATURES, dims=(16, 8, 4)).tables
    assert (published['item_induction'].dim, published['item_feed'].dim) == (160, 16)


def test_pairs_may_cross_types_and_read_the_user():
    given = (('item', 'history/category'), ('item', 'user/user'), ('category', 'user/user'))
    task, params, tables, batch, got = forward(pairs=given)
    pairs = [
        ('item', 'history', 'category', 'category'),
        ('item', 'user', 'user', 'user'),
        ('category', 'user', 'user', 'user'),
    ]
    np.testing.assert_allclose(got, oracle.can(params, tables, batch, pairs, UNIT), rtol=1e-4, atol=1e-5)
    # One induction table a candidate column and one feed table a column, however many pairs read them.
    assert {n for n in task.tables if '_' in n} == {
        'item_induction',
        'category_induction',
        'category_feed',
        'user_feed',
    }
    ids = task.ids(batch)
    assert {n: sorted(ids[n]) for n in ('item_induction', 'user_feed')} == {
        'item_induction': ['candidate/item'], 'user_feed': ['user/user']}  # fmt: skip


def test_matched_pairs_are_the_default():
    named = tuple((column, f'history/{column}') for column in worlds.IDS)
    assert (
        worlds.make_task('CAN-DNN', worlds.FEATURES).module
        == worlds.make_task('CAN-DNN', worlds.FEATURES, pairs=named).module
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'pairs': (('user', 'history/item'),)},
            r"\('user', 'history/item'\) needs the feature candidate/user, but the model has",
        ),
        ({'pairs': (('item', 'history/itm'),)}, 'needs the feature history/itm.*write pairs as'),
        ({'pairs': (('item', 'candidate/category'),)}, r"\('item', 'candidate/category'\) needs"),
        ({'pairs': (('item', 'item'),)}, r'write pairs as \(candidate column, "history/column"\)'),
        ({'pairs': (('tags', 'history/item'),)}, "column 'tags' is multi; a pair needs one id"),
        ({'pairs': (('item', 'history/price'),)}, "column 'price' is numeric; a pair needs one id"),
        (
            {'preset': 'wsdm23'},
            r"model.preset = 'wsdm23' does not exist; choose one of \['wsdm22_code', 'wsdm22_paper'\]",
        ),
        ({'orders': 'two'}, "model.orders = 'two' is str, but int such as 3 is expected"),
    ],
)
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        worlds.make_task('CAN-DNN', worlds.RICH, **options)


def test_a_model_without_a_pair_is_refused():
    with pytest.raises(
        ValueError, match='no categorical column is on both the candidate and the history side; name pairs'
    ):
        worlds.make_task('CAN-DNN', {'candidate': ('item',), 'history': ('category',)})
