"""Bad input to CAN and its Cartesian baseline: bases, pairs of columns, pair ids."""

import re

import pytest

from experiments.building import build
from tests.experiments.worlds import tiny
from tests.models import worlds

# What of a row's config is changed, the place that the message names, the remedy it gives; both are patterns.
CASES = {
    'unknown base': (
        'CAN-DNN',
        {'model.base': 'din'},
        r"model\.base = 'din'",
        r"one of \['cartesian', 'dien', 'dnn'",
    ),
    'base of no module': (
        'CAN-DNN',
        {'model.base': 'jaxrec.dnn:make'},
        r"no module 'jaxrec\.dnn'",
        'check the sp',
    ),
    'misspelt option of a base': (
        'CAN-DNN',
        {'model.base_options': {'hiden': 36}},
        r'model\.base_options\.hiden is not an option',
        'Allowed: ',
    ),
    'option of model and base': (
        'CAN-DNN',
        {'model.base_options': {'dim': 8}},
        r'model\.base_options\.dim',
        r'the base takes it from model\.dim; set that',
    ),
    'pair of one name': (
        'CAN-DNN',
        {'model.pairs': ('item',)},
        r"model\.pairs: 'item' is no pair",
        'write pairs as',
    ),
    'pair of no side': (
        'CAN-DNN',
        {'model.pairs': (('item', 'shop/item'),)},
        r"model\.pairs: \('item', 'shop/item'\) needs the feature shop/item",
        r'such as "user/user"',
    ),
    'column with itself': (
        'CAN-DNN',
        {'model.pairs': (('item', 'candidate/item'),)},
        r"model\.pairs: \('item', 'candidate/item'\) is a column with itself",
        'name another column',
    ),
    'pair given twice': (
        'CAN-DNN',
        {'model.pairs': (('item', 'user/user'), ('item', 'user/user'))},
        r"model\.pairs: \('item', 'user/user'\) stands there twice",
        'take one of them out',
    ),
    'level in words': (
        'CAN-DNN',
        {'model.combination_independence': 'yes'},
        r"model\.combination_independence = 'yes'",
        'bool such as False',
    ),
    'misspelt floor': (
        'Cartesian',
        {'data.cartesian': {'pairs': (), 'mincount': 2}},
        r'data\.cartesian\.mincount',
        "did you mean 'min_count'",
    ),
    'floor of zero': (
        'Cartesian',
        {'data.cartesian': {'pairs': (('item', 'history/item'),), 'min_count': 0}},
        r'data\.cartesian\.min_count = 0',
        'give at least 1',
    ),
    'pair ids of no feature': (
        'Cartesian',
        {'data.cartesian': {'pairs': (('item', 'history/category'),)}},
        r'data\.cartesian\.pairs: .*needs the feature history/category',
        'write pairs as',
    ),
    'two columns of pair ids of one name': (
        'CAN+Cartesian',
        {
            'features.candidate': ('item', 'category'),
            'features.history': ('item', 'category'),
            'data.cartesian': {'pairs': (('item', 'history/category'), ('item', 'candidate/category'))},
        },
        r"data\.cartesian\.pairs: .* called 'itemxcategory'",
        'take one of the pairs out',
    ),
    'product without pair ids': (
        'Cartesian',
        {'data.cartesian': {}},
        'the Cartesian product has no pairs',
        r"such as data\.cartesian = \{'pairs'",
    ),
    'pair ids that no model reads': (
        'LR',
        {'data.cartesian': {'pairs': (('item', 'history/item'),)}},
        r'data\.cartesian gives pair ids, but this model reads none',
        "use the task 'jaxrec.models.baselines.cartesian:make_task'",
    ),
}


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp('logs')


@pytest.mark.parametrize('case', CASES)
def test_the_error_names_the_place_and_the_remedy(case, cache):
    row, changes, place, remedy = CASES[case]
    config = tiny(row, cache)
    for path, value in changes.items():
        section, _, key = path.partition('.')
        with config.ignore_type():
            config[section][key] = value
    with pytest.raises(ValueError) as error:
        build(config)
    message = str(error.value)
    assert re.search(place, message) and re.search(remedy, message), message


@pytest.mark.parametrize('row', ['LR', 'CAN-DNN', 'Cartesian', 'CAN+Cartesian'])
def test_what_the_cases_spoil_works_unspoiled(row, cache):
    assert build(tiny(row, cache)).source('train', shuffle=True)[0]['label'].shape == (32, 1)


def test_a_damaged_cache_of_pairs_is_refused(cache, tmp_path):
    config = tiny('Cartesian', tmp_path)
    build(config)
    (file,) = tmp_path.rglob('cache/itemxitem.*.npy')
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(
        ValueError, match=r'itemxitem\..*\.npy cannot be read .*delete it, it will be made again'
    ):
        build(config)


def test_a_batch_without_pair_ids_is_refused():
    task = worlds.make_task('Cartesian', worlds.FEATURES)
    batch = worlds.make_batch(features=worlds.FEATURES)
    del batch['cartesian/itemxitem']
    with pytest.raises(
        ValueError, match=r"lacks 'cartesian/itemxitem'.*Give the source and the model the same"
    ):
        task.ids(batch)
