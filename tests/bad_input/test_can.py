"""Bad input to CAN and its Cartesian baseline: bases, pairs of columns, pair ids."""

import pytest

from jaxrec.data.sources.behaviour_source import RequestSource
from jaxrec.runs.build import build
from tests.bad_input.worlds import Case, assert_refused, config
from tests.models import worlds
from tests.runs.worlds import tiny

ITEMS = (('item', 'history/item'),)
BOTH = ('item', 'category')


def damaged_cache(world):
    """Cuts the pair ids that a first run has written."""
    run = build(tiny('Cartesian', world.cache))
    for file in (run.log.folder / 'cache').glob('itemxitem.*.npy'):
        whole = file.read_bytes()
        file.write_bytes(whole[:100])
        try:
            build(tiny('Cartesian', world.cache))
        finally:
            file.write_bytes(whole)


def batch_without_pair_ids(world):
    task = worlds.make_task('Cartesian', worlds.FEATURES)
    task.ids({'user/user': 0} | {f'{side}/{name}': 0 for side in ('candidate', 'history') for name in BOTH})


def source_with_a_list_of_pairs(world):
    """Pairs are described as labels and splits are."""
    source = world.run.source('train')
    RequestSource(
        source.log_folder,
        features=source.features,
        label=source.label,
        split=source.split,
        part='train',
        batch_size=32,
        history_length=5,
        cartesian=ITEMS,
    )


CASES: dict[str, Case] = {
    'unknown base': (config('CAN-DNN', model__base='deepfm'), r"model\.base = 'deepfm'", r"one of \['cartesian'"),
    'base of no module': (
        config('CAN-DNN', model__base='jaxrec.dnn:make'),
        r"there is no module 'jaxrec\.dnn'",
        r'check the spelling',
    ),
    'misspelt option of a base': (
        config('CAN-DNN', model__base_options={'hiden': 36}),
        r'model\.base_options\.hiden is not an option',
        r'Allowed: ',
    ),
    'option of model and base': (
        config('CAN-DNN', model__base_options={'dim': 8}),
        r'model\.base_options\.dim',
        r'the base takes it from model\.dim; set that',
    ),
    'pair of one name': (
        config('CAN-DNN', model__pairs=('item',)),
        r"model\.pairs: 'item' is no pair of two names",
        r'write pairs as',
    ),
    'pair of no side': (
        config('CAN-DNN', model__pairs=(('item', 'shop/item'),)),
        r"model\.pairs: \('item', 'shop/item'\) needs the feature shop/item",
        r'such as "user/user"',
    ),
    'column with itself': (
        config('CAN-DNN', model__pairs=(('item', 'candidate/item'),)),
        r"model\.pairs: \('item', 'candidate/item'\) is a column with itself",
        r'name another column',
    ),
    'pair given twice': (
        config('CAN-DNN', model__pairs=(('item', 'user/user'), ('item', 'user/user'))),
        r"model\.pairs: \('item', 'user/user'\) stands there twice",
        r'take one of them out',
    ),
    'level in words': (
        config('CAN-DNN', model__combination_independence='yes'),
        r"model\.combination_independence = 'yes'",
        r'bool such as False',
    ),
    'misspelt floor': (
        config('Cartesian', data__cartesian={'pairs': ITEMS, 'mincount': 2}),
        r'data\.cartesian\.mincount',
        r"did you mean 'min_count'",
    ),
    'floor of zero': (
        config('Cartesian', data__cartesian={'pairs': ITEMS, 'min_count': 0}),
        r'data\.cartesian\.min_count = 0',
        r'give at least 1',
    ),
    'pair ids of no feature': (
        config('Cartesian', data__cartesian={'pairs': (('item', 'history/category'),)}),
        r'data\.cartesian\.pairs: .*needs the feature history/category',
        r'write pairs as',
    ),
    'two columns of pair ids of one name': (
        config(
            'CAN+Cartesian',
            features__candidate=BOTH,
            features__history=BOTH,
            data__cartesian={'pairs': (('item', 'history/category'), ('item', 'candidate/category'))},
        ),
        r"data\.cartesian\.pairs: .* called 'itemxcategory'",
        r'take one of the pairs out',
    ),
    'list for a description': (
        source_with_a_list_of_pairs,
        r"data\.cartesian is \(\('item', 'history/item'\),\)",
        r"give a description, such as \{'pairs'",
    ),
    'product without pair ids': (
        config('Cartesian', data__cartesian={}),
        r'the Cartesian product has no pairs',
        r"such as data\.cartesian = \{'pairs'",
    ),
    'pair ids that no model reads': (
        config('LR', data__cartesian={'pairs': ITEMS}),
        r'data\.cartesian gives pair ids, but this model reads none',
        r"use the task 'jaxrec\.models\.baselines\.cartesian:make_task'",
    ),
    'damaged cache of pair ids': (
        damaged_cache,
        r'cache/itemxitem\..*\.npy cannot be read',
        r'delete it, it will be made again',
    ),
    'batch without pair ids': (
        batch_without_pair_ids,
        r"the batch lacks 'cartesian/itemxitem'",
        r'Give the source and the model the same',
    ),
}


@pytest.mark.parametrize('name', CASES)
def test_bad_co_actions_and_pair_ids(world, name):
    assert_refused(CASES[name], world)


@pytest.mark.parametrize('row', ['CAN-DNN', 'Cartesian', 'CAN+Cartesian'])
def test_what_the_cases_spoil_works_unspoiled(row, world):
    assert build(tiny(row, world.cache)).source('train', shuffle=True)[0]['label'].shape == (32, 1)
