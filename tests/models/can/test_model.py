"""CAN: forward against numpy, presets, pairs, their tables and whose slices they read, bases."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxrec.models.baselines import dnn
from jaxrec.models.can.model import PRESETS, UNIT_OPTIONS
from jaxrec.models.ctr.base import Base
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
        params, tables, batch, MATCHED, {**UNIT, **PRESETS[preset], 'last_activation': 'none', 'pooling': 'mean'}
    )
    assert np.abs(got - other).max() > 0.01
    assert set(params) == {'head'}  # where checkpoints have it
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


ALL_SIDES = [
    ('item', 'history', 'item', 'item'),
    ('item', 'user', 'user', 'user'),
    ('category', 'candidate', 'item', 'item'),
]


@pytest.mark.parametrize('order_independence', [False, True])
@pytest.mark.parametrize('combination_independence', [False, True])
def test_every_level_of_independence_is_the_loop(combination_independence, order_independence):
    levels = {'combination_independence': combination_independence, 'order_independence': order_independence}
    task, params, tables, batch, got = forward(pairs=worlds.PAIRS, use_bias=True, **levels)
    unit = {**UNIT, 'use_bias': True, 'order_independence': order_independence}
    want = oracle.can(params, tables, batch, ALL_SIDES, unit, combination_independence)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    networks, slices = 1 + order_independence, 1 + combination_independence
    assert {n: t.dim for n, t in task.tables.items() if '_' in n} == {
        'item_induction': 23 * networks * slices,  # of two pairs
        'category_induction': 23 * networks,
        'item_feed': 4 * slices,  # of two pairs
        'user_feed': 4,
    }


def test_a_pair_does_not_touch_the_slices_of_another():
    batch = worlds.on_device(worlds.make_batch(features=worlds.FEATURES))
    task = worlds.make_task(
        'CAN-DNN', worlds.FEATURES, pairs=worlds.PAIRS, combination_independence=True, order_independence=True
    )
    rng = np.random.default_rng(0)
    shape = lambda name, ids: (*ids.shape, task.tables[name].dim)
    rows = {
        name: {key: rng.normal(size=shape(name, ids)).astype(np.float32) for key, ids in features.items()}
        for name, features in task.ids(batch).items()
    }
    cross = lambda rows: [task.module._cross(pair, rows, batch).sum((0, 1)) for pair in pairs]
    pairs = task.module.co_actions.pairs
    slopes = jax.jit(jax.jacrev(cross))(rows)  # a tree of rows for every pair
    touched = lambda i, table, key: np.abs(slopes[i][table][key]).reshape(-1, rows[table][key].shape[-1]).sum(0)
    own = 2 * 18  # two orders
    for i, j in ((0, 1), (1, 0)):
        induction = touched(i, 'item_induction', 'candidate/item')
        assert (induction[own * i : own * (i + 1)] > 0).all() and not induction[own * j : own * (j + 1)].any()
    first, third = touched(0, 'item_feed', 'history/item'), touched(2, 'item_feed', 'candidate/item')
    assert (first[:4] > 0).all() and not first[4:].any()
    assert (third[4:] > 0).all() and not third[:4].any()
    assert not touched(1, 'item_feed', 'history/item').any()


def test_a_model_of_candidate_columns_alone_needs_no_user_and_no_history():
    """As on Avazu: all fields are the candidate's."""
    features = {'candidate': ('item', 'category', 'favourite')}
    pairs = (('item', 'candidate/category'), ('favourite', 'candidate/item'))
    batch = worlds.make_batch(features=features)
    del batch['history/length']
    batch['candidate/item'][2] = 0  # absent: neither its micro-MLP nor its input row says anything
    model = worlds.make_model('CAN-DNN', batch, features, pairs=pairs, use_bias=True)
    unit = {**UNIT, 'use_bias': True}
    want = np.zeros((6, 3))
    for b, c in np.ndindex(want.shape):
        ids = {name: batch[f'candidate/{name}'][b, c] for name in features['candidate']}
        tables = {'item': 'item', 'category': 'category', 'favourite': 'category'}
        x = [model.tables[table][ids[name]] for name, table in tables.items()]
        for candidate, other in (('item', 'category'), ('favourite', 'item')):
            row = model.tables[f'{tables[candidate]}_induction'][ids[candidate]]
            fed = model.tables[f'{tables[other]}_feed'][ids[other]]
            x.append(oracle.unit.co_action(row[None, None], fed[None, None], [int(ids[other] > 0)], **unit)[0, 0])
        want[b, c] = oracle.mlp(model.params['head'], np.concatenate(x))[0]
    np.testing.assert_allclose(model.logits(batch), want, rtol=1e-4, atol=1e-5)


def test_on_a_din_base_the_co_actions_stand_beside_its_inputs():
    batch = worlds.make_batch(features=worlds.FEATURES)
    model = worlds.make_model('CAN-DIN', batch, worlds.FEATURES)
    base = oracle.din_inputs(model.params['base'], model.tables, batch)
    pairs = [(column, 'history', column, column) for column in worlds.IDS]
    want = oracle.can(model.params, model.tables, batch, pairs, UNIT, base=base)
    np.testing.assert_allclose(model.logits(batch), want, rtol=1e-4, atol=1e-5)


class LossyInputs(nn.Module):
    """The DNN's inputs, and a loss beside them."""

    inputs: nn.Module

    @nn.compact
    def __call__(self, rows, batch, train=False):
        x, _ = self.inputs(rows, batch, train)
        return nn.Dense(3, name='narrow')(x), {'auxiliary': 0.5 * (x**2).mean()}


def make_lossy(config, schema):
    """A base chosen by its import path; `cut` is an option of its own."""
    config = dict(config)
    assert config.pop('cut') == 2
    base = dnn.make_inputs(config, schema)
    return Base(LossyInputs(base.module), base.tables, base.ids)


def test_a_base_of_ones_own_brings_its_options_parameters_and_losses():
    batch = worlds.make_batch(features=worlds.FEATURES)
    model = worlds.make_model('CAN-DNN', batch, worlds.FEATURES, base=f'{__name__}:make_lossy', base_options={'cut': 2})
    assert set(model.params) == {'base', 'head'}
    assert model.params['head']['dense_0']['kernel'].shape[0] == 3 + 2 * 2 * (3 + 2)
    ((value, (metrics, _)), _), _ = model.loss(batch)
    assert set(metrics) == {'logloss', 'pcoc', 'auxiliary'} and metrics['auxiliary'] > 0
    np.testing.assert_allclose(value, metrics['logloss'] + metrics['auxiliary'], rtol=1e-6)
    assert model.logits(batch).shape == (6, 3)


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
            r"\('user', 'history/item'\) needs the feature candidate/user, but there are",
        ),
        ({'pairs': (('item', 'history/itm'),)}, 'needs the feature history/itm.*write pairs as'),
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
