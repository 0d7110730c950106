"""Models of feature interactions: forward against numpy from the same parameters; rows; what they refuse."""

import functools

import numpy as np
import pytest

from tests.models import worlds
from tests.oracles import ctr
from tests.oracles import interactions as oracle


def head(model, batch, *others):
    """The MLP on the base's input and, for every candidate, what a model puts beside it."""
    logits = np.zeros(batch['label'].shape)
    for b, c in np.ndindex(logits.shape):
        x = np.concatenate([ctr.dnn_inputs(model.tables, batch, b, c), *(o[b, c] for o in others)])
        logits[b, c] = ctr.mlp(model.params['head'], x)[0]
    return logits


def weigh(model, name, x):
    return x @ np.asarray(model.params[name]['kernel'], np.float64)[:, 0]


def cross(model, batch, op):
    return op(*map(np.array, oracle.read_fields(model.tables, batch)))


def aware(model, batch, pooling='sum'):
    return oracle.field_aware_inner(*oracle.read_aware(model.tables, batch, 3, pooling))


def ffm(model, batch, pooling='sum'):
    params = model.params.get('ffm', model.params)['linear']
    return oracle.linear(params, model.tables, batch, pooling) + aware(model, batch, pooling).sum(-1)


def deepffm(model, batch):
    return ffm(model, batch) + head(model, batch)


def deepfm(model, batch):
    crossed = cross(model, batch, oracle.fm_second_order)
    return oracle.linear(model.params['linear'], model.tables, batch) + crossed + head(model, batch)


def xdeepfm(model, batch, split=False):
    kernels = [np.asarray(model.params[f'cin_{depth}'], np.float64) for depth in range(2)]
    maps = cross(model, batch, lambda *fields: oracle.cin(*fields, *kernels, split=split))
    linear = oracle.linear(model.params['linear'], model.tables, batch)
    return linear + weigh(model, 'maps', maps) + head(model, batch)


def pnn(model, batch, ops=(oracle.pairwise_inner,)):
    return head(model, batch, *(cross(model, batch, op) for op in ops))


def ncf(model, batch):
    """The paper's form: user times item, and an MLP on the two."""
    rows = lambda name, key: np.asarray(model.tables[name], np.float64)[batch[key]]
    products = rows('user_factor', 'user/user')[:, None] * rows('item_factor', 'candidate/item')
    logits = weigh(model, 'products', products)
    user, item = rows('user', 'user/user'), rows('item', 'candidate/item')
    for b, c in np.ndindex(logits.shape):
        logits[b, c] += ctr.mlp(model.params['head'], np.r_[user[b], item[b, c]])[0]
    return logits


def ncf_of_histories(model, batch):
    """CAN's form: history items times the item, categories times the category, an MLP on all features."""
    tables = {**model.tables, 'user_factor': np.zeros((20, 4))}  # the user has no factor
    request, candidate = oracle.read_fields(tables, batch, '_factor')
    products = oracle.each(request, candidate, lambda x: np.r_[x[1] * x[3], x[2] * x[4]])
    return weigh(model, 'products', products) + head(model, batch)


def onn(model, batch):
    return head(model, batch, aware(model, batch))


BOTH = (oracle.pairwise_inner, oracle.outer_product)
SUM, MEAN = {'history_pooling': 'sum'}, {'history_pooling': 'mean'}
# {case: (row, options, oracle, the tables of the item by what is appended to their name, with widths)}
CASES = {
    'FFM': ('FFM', {}, ffm, {'_weight': 1, '_aware': 15}),
    'FFM, averaged': ('FFM', MEAN, functools.partial(ffm, pooling='mean'), {'_weight': 1, '_aware': 15}),
    'DeepFM': ('DeepFM', {}, deepfm, {'': 4, '_weight': 1}),
    'DeepFFM': ('DeepFFM', {}, deepffm, {'': 4, '_weight': 1, '_aware': 15}),
    'xDeepFM': ('xDeepFM', {}, xdeepfm, {'': 4, '_weight': 1}),
    'xDeepFM, split': (
        'xDeepFM', {'cin': (4, 3), 'cin_split': True}, functools.partial(xdeepfm, split=True),
        {'': 4, '_weight': 1},
    ),
    'PNN, inner': ('PNN', {'product': 'inner', **SUM}, pnn, {'': 4}),
    'PNN, both': ('PNN', SUM, functools.partial(pnn, ops=BOTH), {'': 4}),
    'NCF': ('NCF', {'user': (), 'item': (), 'context': False}, ncf, {'': 4, '_factor': 4}),
    'NCF, histories': (
        'NCF', {'user': ('history/item', 'history/category')}, ncf_of_histories, {'': 4, '_factor': 4}
    ),
    'ONN': ('ONN', {}, onn, {'': 4, '_aware': 15}),
}  # fmt: skip


@pytest.mark.parametrize('case', CASES)
def test_a_model_is_its_loop(case):
    name, options, slow, widths = CASES[case]
    batch = worlds.make_batch(features=worlds.FEATURES)
    model = worlds.make_model(name, batch, worlds.FEATURES, std=0.5, **options)
    np.testing.assert_allclose(model.logits(batch), slow(model, batch), rtol=1e-3, atol=1e-4)
    of_items = {name.removeprefix('item'): x.shape[1] for name, x in model.tables.items() if 'item' in name}
    assert of_items == widths


@pytest.mark.parametrize(('name', 'option'), [('FFM', 'dim'), ('DeepFFM', 'aware_dim'), ('ONN', 'aware_dim')])
def test_a_field_aware_row_has_a_vector_for_each_other_field(name, option):
    tables = worlds.make_task(name, worlds.FEATURES, **{option: 18}).tables
    # Item and category are on both sides and meet themselves; the user alone reads its table.
    assert tables['item_aware'].dim == tables['category_aware'].dim == 5 * 18
    assert tables['user_aware'].dim == 4 * 18


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('PNN', {'product': 'cross'}, r"model\.product = 'cross' does not exist; choose one of \['both'"),
        ('xDeepFM', {'cin': ()}, r'cin = \(\): give at least one layer'),
        ('xDeepFM', {'cin': (3, 2), 'cin_split': True}, 'cannot be split in halves; give even widths'),
        ('ONN', {'history_pooling': 'max'}, r"model\.history_pooling = 'max' does not exist; choose one of"),
        ('ONN', {'aware_dims': 4}, r"model\.aware_dims is not an option; did you mean 'aware_dim'"),
        ('FFM', {'widths': (4,)}, r'model\.widths is not an option'),
        ('NCF', {'user': ('user/usr',)}, r"model\.user = \('user/usr',\): .* the model has \['user/user'"),
        ('NCF', {'user': ('candidate/item',)}, r"model\.user = \('candidate/item',\): NCF multiplies"),
        ('NCF', {'item': ('price', 'item')}, r"model\.item = \('candidate/price',\): .* columns with ids"),
        ('NCF', {'item': ('item',)}, r'model\.user has 2 and model\.item 1 columns; .* so give as many'),
    ],
)
def test_what_cannot_be_built_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        worlds.make_task(name, **options)


@pytest.mark.parametrize('name', ['FFM', 'DeepFM', 'DeepFFM', 'xDeepFM', 'PNN', 'ONN'])
def test_a_single_field_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} crosses .* only 'candidate/item'; name two columns or more"):
        worlds.make_task(name, {'candidate': ('item',)})


@pytest.mark.parametrize(
    ('features', 'message'),
    [
        (
            {'candidate': ('item', 'price'), 'history': ('item',)},
            r"model\.user = \(\): NCF multiplies .* \['candidate/item', 'history/item'\]",
        ),
        ({'user': ('user',), 'candidate': ('price',)}, r"model\.item = \(\): NCF .* write such as 'item'"),
    ],
)
def test_ncf_without_a_user_or_an_item_is_refused(features, message):
    with pytest.raises(ValueError, match=message):
        worlds.make_task('NCF', features, user=(), item=())
