"""The Taobao reader on an extract in the published format, against counts that were made without it."""

import gzip
import zipfile

import numpy as np
import pytest

from jaxrec.data.readers.taobao import compile_taobao
from tests.data.extracts import taobao as extract
from tests.data.readers.reading import read_examples
from tests.oracles import taobao as oracle

LABEL = {'kind': 'sampled_negatives', 'per_positive': 1, 'positives': {'kind': 'one_of', 'among': ('pv',)}}
SPLIT = {'kind': 'last_item_user_holdout', 'validation': 0.1, 'test': 0.3, 'seed': 2}


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    return extract.write(tmp_path_factory.mktemp('taobao') / 'data')


@pytest.fixture(scope='module')
def log(path):
    return compile_taobao(path.parent, path.parent.parent / 'log')


@pytest.mark.parametrize('outside', ['drop', 'keep'])
def test_the_extract_has_the_counts_of_an_independent_script(path, tmp_path, outside):
    expected = oracle.counts(path, outside)
    assert expected['lines'] > 200 and expected['several'] == 3
    assert (expected['before_1970'], expected['outside']) == (1, 4)
    log = compile_taobao(path, tmp_path / 'log', outside=outside)
    counts, manifest = log.manifest['counts'], log.manifest
    assert [counts[n] for n in ('events', 'users', 'items')] == [expected[n] for n in ('lines', 'users', 'items')]
    assert log.schema['category'].rows - 2 == expected['categories']
    assert log.schema['behaviour'].rows - 2 == expected['behaviours'] == 4
    beyond = {'lines outside the stated days': 4}
    assert manifest['dropped'] == {'lines before 1970': 1} | (beyond if outside == 'drop' else {})
    assert manifest['notes'] == {'items of several categories': 3} | (beyond if outside == 'keep' else {})


def test_examples_are_those_of_an_independent_script(path, log):
    expected = oracle.samples(path)
    parts = {part: read_examples(log, part, LABEL, SPLIT) for part in ('train', 'validation', 'test')}
    users = {part: {user for user, *_ in examples} for part, examples in parts.items()}
    eligible = len(expected)
    cuts = eligible * 60 // 100, eligible * 70 // 100
    without_history = {user for user, (_, history) in expected.items() if not history}
    assert set.union(*users.values()) == expected.keys() - without_history
    assert sum(map(len, users.values())) == eligible - len(without_history)
    found = {part: len(chosen) for part, chosen in users.items()}
    sizes = {'train': cuts[0], 'validation': cuts[1] - cuts[0], 'test': eligible - cuts[1]}
    assert all(found[part] <= sizes[part] <= found[part] + len(without_history) for part in parts)
    clicked, first = {}, {}
    for user, item, category, behaviour, _ in oracle.kept_lines(path, 'drop')[0]:
        first.setdefault(item, category)
        if behaviour == 'pv':
            clicked.setdefault(user, set()).add(item)
    for examples in parts.values():
        assert [label for _, label, _, _ in examples] == [1, 0] * (len(examples) // 2)
        for user, label, (item, shown), history in examples:
            assert [known for known, _ in history] == expected[user][1]
            assert (item == expected[user][0]) if label else item not in clicked[user]
            assert all(category == first[known] for known, category in [(item, shown), *history])


def test_every_behaviour_can_be_positive(path, log):
    label = LABEL | {'positives': None}
    expected = oracle.samples(path, positive=('pv', 'cart', 'fav', 'buy'))
    examples = [e for part in ('train', 'validation', 'test') for e in read_examples(log, part, label, SPLIT)]
    found = {user: (item, [known for known, _ in history]) for user, label, (item, _), history in examples if label}
    assert found == {user: sample for user, sample in expected.items() if sample[1]}
    assert len(found) > len(oracle.samples(path))


@pytest.mark.parametrize('packing', ['.gz', '.zip'])
def test_packed_files_give_the_same_log(path, log, tmp_path, packing):
    folder = tmp_path / 'data' / 'taobao'
    folder.mkdir(parents=True)
    if packing == '.gz':
        (folder / f'{path.name}.gz').write_bytes(gzip.compress(path.read_bytes()))
    else:
        with zipfile.ZipFile(folder / f'{path.name}.zip', 'w') as archive:
            archive.write(path, path.name)
    again = compile_taobao(tmp_path / 'data', tmp_path / 'log')
    assert again.manifest['counts'] == log.manifest['counts']
    for name in log.events.names:
        np.testing.assert_array_equal(again.events[name], log.events[name])


def test_blocks_join_to_one_log(path, log, tmp_path, monkeypatch):
    monkeypatch.setattr('jaxrec.data.readers.csv_blocks.BLOCK_BYTES', 500)
    again = compile_taobao(path, tmp_path / 'log')
    assert again.manifest['dropped'] == log.manifest['dropped']
    assert again.manifest['vocabularies'] == log.manifest['vocabularies']
    for name in log.events.names:
        np.testing.assert_array_equal(again.events[name], log.events[name])
    np.testing.assert_array_equal(again.items['category'], log.items['category'])


def test_the_head_of_the_published_file(tmp_path, data_folder):
    folder = data_folder('taobao-userbehavior-4321')
    log = compile_taobao(folder, tmp_path / 'keep', outside='keep')
    counts = log.manifest['counts']
    assert (counts['events'], counts['users'], counts['items']) == (4_321, 43, 3_276)
    assert log.schema['category'].rows - 2 == 567
    assert log.manifest['notes'] == {'lines outside the stated days': 1}
    dropped = compile_taobao(folder, tmp_path / 'drop')
    assert len(dropped) == 4_320 and dropped.manifest['dropped'] == {'lines outside the stated days': 1}
