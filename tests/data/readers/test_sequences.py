"""The reader of sequences on an extract in the shared form, against counts that were made without it."""

import gzip
import json
import shutil

import numpy as np
import pytest

from jaxrec.data.readers.sequences import compile_sequences
from jaxrec.data.sources.next_item_source import NextItemSource
from tests.data.extracts import sequences as extract
from tests.oracles import sequences as oracle

FEATURES = {'user': ['user'], 'candidate': ['item'], 'history': ['item', 'attributes']}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return extract.write(tmp_path_factory.mktemp('sequences') / 'data')


@pytest.fixture(scope='module')
def log(folder):
    return compile_sequences(folder.parent, folder.parent.parent / 'log')


def test_the_extract_has_the_counts_of_an_independent_script(folder, log):
    expected = oracle.counts(folder)
    assert all(expected.values()) and expected['users'] > 200
    counts = log.manifest['counts']
    assert {name: counts[name] for name in ('events', 'users', 'items')} == {
        name: expected[name] for name in ('events', 'users', 'items')
    }
    assert counts['items_without_attributes'] == 0 and not log.has_time
    assert log.manifest['dropped'] == {
        'empty lines': expected['empty'],
        'items that occur in no event': expected['unmet'],
    }
    assert log.manifest['notes'] == {
        'items that a user had met before': expected['repeated'],
        'users of fewer than three items, who only train': expected['short'],
    }
    names = [source['name'] for source in log.manifest['sources']]
    assert names == ['sequences.txt.gz', 'items.tsv.gz', 'plain.index.json.gz']


def test_items_have_their_texts_attributes_and_ids(folder, log):
    rows = oracle.items(folder)
    keys = log.vocabulary('item').keys.tolist()
    decode = lambda name: log.vocabulary(name).decode(log.items[name][2:]).tolist()
    assert decode('text') == [rows[key]['text'] for key in keys]
    assert decode('letter_sid') == [rows[key]['letter_sid'] for key in keys]
    assert decode('plain_sid') == [' '.join(extract.index()[str(list(rows).index(key))]) for key in keys]
    attributes = log.items['attributes']
    for row, key in enumerate(keys, 2):
        ids = attributes.values[attributes.offsets[row] : attributes.offsets[row + 1]]
        assert log.vocabulary('attributes').decode(ids).tolist() == rows[key]['attribute_ids'].split()


@pytest.mark.parametrize('part', ['train', 'validation', 'test'])
def test_examples_are_those_of_an_independent_script(folder, log, part):
    source = NextItemSource(
        log.folder, features=FEATURES, split={'kind': 'leave_last_out'}, part=part, batch_size=64,
        history_length=6, shuffle=False, remainder='pad',
    )  # fmt: skip
    user, item = log.vocabulary('user').keys, log.vocabulary('item').keys
    found = []
    for batch in map(source.__getitem__, range(len(source))):
        for b in np.flatnonzero(batch['valid'][:, 0]):
            history = batch['history/item'][b, : batch['history/length'][b]]
            target = int(item[batch['target/item'][b, 0] - 2])
            found.append((int(user[batch['user/user'][b] - 2]), target, item[history - 2].tolist()))
            assert batch['history/attributes'].shape == (64, 6, 4)
    assert sorted(found) == sorted(oracle.examples(folder, part, 6))


def test_the_log_is_opened_again_and_files_may_lie_unpacked(folder, log, tmp_path):
    stamp = (log.folder / 'manifest.json').stat().st_mtime_ns
    compile_sequences(folder, log.folder)
    assert (log.folder / 'manifest.json').stat().st_mtime_ns == stamp
    place = tmp_path / 'mine'
    place.mkdir()
    for name in ('sequences.txt', 'items.tsv'):
        (place / name).write_bytes(gzip.decompress((folder / f'{name}.gz').read_bytes()))
    other = compile_sequences(tmp_path, tmp_path / 'log', 'mine')
    assert other.manifest['counts'] == log.manifest['counts'] and 'plain_sid' not in other.schema


CHANGES = [
    ('sequences.txt', lambda t: t.replace('\n2 ', '\n2 x', 1), r'txt\.gz:2: .*users? and items are integers'),
    ('sequences.txt', lambda t: t.replace('\n2 ', '\n2 -', 1), r'txt\.gz:2: users and items are numbered from'),
    ('sequences.txt', lambda t: f'7\n{t}', r'txt\.gz:1: user 7 has no items: leave the line out'),
    ('sequences.txt', lambda t: f'7 1 2\n{t}', r'txt\.gz:8: user 7 has a sequence before, in line 1'),
    ('sequences.txt', lambda t: '\n \n', r'has no sequence: place sequences\.txt'),
    ('items.tsv', lambda t: t.replace('attribute_ids', 'tags'), r"tsv\.gz:1: no column 'attribute_ids' in"),
    ('items.tsv', lambda t: t.replace('\n3\t', '\n3\tx\t', 1), r'tsv\.gz:4: 6 fields instead of 5'),
    ('items.tsv', lambda t: t.replace('\n3\t', '\nB3\t', 1), r"tsv\.gz:4: item 'B3' and attributes"),
    ('items.tsv', lambda t: t.replace('letter_sid', 'letter-2_sid'), r"called 'letter-2_sid': rename them"),
    ('items.tsv', lambda t: t.replace('letter_sid', 'plain_sid'), r"both have the IDs 'plain_sid': rename one"),
    ('items.tsv', lambda t: t + t.split('\n', 2)[1] + '\n', r'has 80 IDs for 81 items, row 80 is the first'),
    ('indexes/plain.index.json', lambda t: '[1]', r'is no index \(.*: give \{row: list of tokens\}'),
    ('indexes/plain.index.json', lambda t: t.replace('"5"', '"x"'), r'is no index'),
    ('indexes/plain.index.json', lambda t: t.replace('"5"', '"99"'), r'80 IDs for 80 items, row 5 is'),
]


@pytest.mark.parametrize(('file', 'change', 'message'), CHANGES)
def test_malformed_files_are_named(folder, tmp_path, file, change, message):
    place = tmp_path / 'data'
    shutil.copytree(folder, place)
    path = place / f'{file}.gz'
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()).decode()).encode()))
    with pytest.raises(ValueError, match=message):
        compile_sequences(place, tmp_path / 'log')


def test_missing_and_cut_files_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match=r'sequences\.txt \(or \.gz, \.zip\) is in none of .*amazon-beauty'):
        compile_sequences(tmp_path, tmp_path / 'log')
    shutil.copytree(folder, tmp_path / 'data')
    path = tmp_path / 'data' / 'items.tsv.gz'
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r'items\.tsv\.gz cannot be read'):
        compile_sequences(tmp_path / 'data', tmp_path / 'log')


def test_the_published_files(data_folder, tmp_path):
    folder = data_folder('amazon-beauty')
    log = compile_sequences(folder.parent, tmp_path / 'log')
    expected = oracle.counts(folder)
    assert log.manifest['counts'] == {
        'events': 198_502, 'users': 22_363, 'items': 12_101, 'items_without_attributes': 0,
    }  # fmt: skip
    assert (expected['events'], expected['users'], expected['items']) == (198_502, 22_363, 12_101)
    names = {'letter_sid', 'rkmeans_native_sid', 'rkmeans_zcr_sid', 'rqvae_native_sid'}
    assert names <= log.schema.keys() and log.manifest['notes'] == {}
    codes = json.loads(gzip.decompress((folder / 'indexes' / 'rqvae_native.index.json.gz').read_bytes()))
    keys = log.vocabulary('item').keys
    texts = log.vocabulary('rqvae_native_sid').decode(log.items['rqvae_native_sid'][2:])
    for row in (0, 5_000, 12_100):
        assert texts[row] == ' '.join(codes[str(keys[row] - 1)])
