"""The Amazon reader on extracts in the published formats, against counts that were made without it."""

import gzip
import logging

import numpy as np
import pytest

from jaxrec.data.readers.amazon import compile_amazon, in_line_order
from jaxrec.data.readers.amazon_files import download, parse_line, text_of
from tests.data.extracts import amazon as extract
from tests.data.readers.reading import read_examples
from tests.oracles import amazon as oracle

LABEL = {'kind': 'sampled_negatives', 'per_positive': 1, 'sampler': 'popularity'}
SPLIT = {'kind': 'last_item_user_holdout', 'validation': 0.05, 'test': 0.1, 'seed': 4}
PARTS = ('train', 'validation', 'test')


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    return extract.write(tmp_path_factory.mktemp('amazon') / 'data')


@pytest.fixture(scope='module')
def log(paths):
    return compile_amazon(paths[0].parent, paths[0].parent.parent / 'log')


def test_the_extract_has_the_counts_of_an_independent_script(paths, log, monkeypatch, tmp_path):
    expected = oracle.counts(*paths)
    assert expected['reviews'] > 200 and all(expected.values())
    assert log.manifest['counts'] == {
        'events': expected['reviews'],
        'items': expected['items'],
        'items_without_attributes': 0,
        'users': expected['users'],
    }
    assert log.schema['category'].rows - 2 == expected['categories']
    assert log.manifest['dropped'] == {
        'malformed lines of reviews': expected['malformed'],
        'reviews without a time': expected['timeless'],
        'repetitions of a review': expected['repeated'],
        'malformed lines of metadata': expected['malformed_metadata'],
        'metadata of products without reviews': expected['unreviewed'],
    }
    assert log.manifest['notes'] == {
        'reviews of a product that the user had reviewed on another day': expected['again'],
        'reviews without a rating': expected['unrated'],
        'products without metadata': expected['undescribed'],
        'products whose metadata name no category': expected['default'],
        'further metadata of a product': expected['further'],
    }
    assert [source['name'] for source in log.manifest['sources']] == [path.name for path in paths]


@pytest.mark.parametrize('same_day', ['lines', 'unordered'])
def test_examples_are_those_of_an_independent_script(paths, tmp_path, same_day):
    log = compile_amazon(paths[0].parent, tmp_path / 'log', same_day=same_day)
    expected = oracle.samples(paths[0], same_day)
    described, _, _ = oracle.categories(paths[1])
    with_category = lambda item: (item, described.get(item, 'default'))
    found = {part: read_examples(log, part, LABEL, SPLIT) for part in PARTS}
    users = [{user for user, *_ in examples} for examples in found.values()]
    eligible = len(expected)
    without_history = {user for user, (_, history) in expected.items() if not history}
    assert bool(without_history) == (same_day == 'unordered')
    assert set.union(*users) == expected.keys() - without_history
    assert sum(map(len, users)) == eligible - len(without_history)
    if same_day == 'lines':
        cuts = eligible * 85 // 100, eligible * 90 // 100
        assert [len(u) for u in users] == [cuts[0], cuts[1] - cuts[0], eligible - cuts[1]]
    reviewed = {}
    for user, item, _, _ in oracle.kept_reviews(paths[0])[0]:
        reviewed.setdefault(user, set()).add(item)
    for examples in found.values():
        assert [label for _, label, _, _ in examples] == [1, 0] * (len(examples) // 2)
        for user, label, candidate, history in examples:
            last, before = expected[user]
            assert history == [with_category(item) for item in before]
            assert candidate == with_category(candidate[0])
            assert candidate[0] == last if label else candidate[0] not in reviewed[user]


def test_negatives_are_seeded(paths, log):
    first, again = (read_examples(log, 'train', LABEL, SPLIT) for _ in range(2))
    assert first == again


@pytest.mark.parametrize(('category', 'five_core'), [('Electronics', True), ('Beauty', False)])
def test_other_categories_and_unpacked_files(tmp_path, category, five_core):
    paths = extract.write(tmp_path / 'amazon', category, five_core)
    for path in paths:
        path.with_suffix('').write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    log = compile_amazon(tmp_path, tmp_path / 'log', category, five_core)
    assert log.manifest['counts']['users'] == 90
    assert log.manifest['sources'][0]['name'] == f'reviews_{category}{"_5" if five_core else ""}.json'


def test_blocks_join_to_one_log(paths, log, tmp_path, monkeypatch):
    monkeypatch.setattr('jaxrec.data.readers.blocks.BLOCK_ROWS', 100)
    again = compile_amazon(paths[0].parent, tmp_path / 'log')
    for key in ('counts', 'dropped', 'notes', 'vocabularies'):
        assert again.manifest[key] == log.manifest[key]
    for name in log.events.names:
        np.testing.assert_array_equal(again.events[name], log.events[name])
    np.testing.assert_array_equal(again.items['category'], log.items['category'])


def test_lines_are_parsed_and_never_executed(paths, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.WARNING):
        compile_amazon(paths[0].parent, tmp_path / 'log')
    assert not (tmp_path / 'evaluated').exists()
    assert '5 malformed lines of reviews, the first is line 1' in caplog.text
    assert '2 malformed lines of metadata, the first is line 31' in caplog.text
    for line in (b"__import__('os').getcwd()", b'[' * 100_000, b'{"a": ' * 5_000, b'\xff\xfe', b'(1, 2)', b''):
        assert parse_line(line) is None
    assert parse_line(b"{'a': (1, None, True)}") == {'a': (1, None, True)} == parse_line(b"{'a':(1,None,True)}\r\n")


def test_metadata_of_products_without_reviews_are_not_parsed(paths, tmp_path, monkeypatch):
    reviewed = {item for _, item, _, _ in oracle.kept_reviews(paths[0])[0]}
    parsed = []
    monkeypatch.setattr(
        'jaxrec.data.readers.amazon_files.parse_line', lambda line: parsed.append(line) or parse_line(line)
    )
    compile_amazon(paths[0].parent, tmp_path / 'log')
    products = {record['asin'] for line in parsed if (record := parse_line(line)) and 'title' in record}
    assert len(products) > 50 and products <= reviewed


def test_order_of_a_day_by_a_loop():
    draw = np.random.default_rng(0)
    user = draw.integers(0, 7, 300)
    time = 86_400 * draw.integers(0, 5, 300) + draw.integers(0, 2, 300)
    moved = in_line_order(user, time)
    for one in range(7):
        rows = sorted(np.flatnonzero(user == one), key=lambda n: (time[n], n))
        last = -1
        for n in rows:
            last = max(int(time[n]), last + 1)
            assert moved[n] == last
    assert (moved != time).any() and (moved - time).max() < 100


def test_download_places_both_files(paths, tmp_path):
    address = f'{paths[0].parent.as_uri()}/'
    found = download(tmp_path / 'data', 'Books', True, address)
    assert [path.name for path in found] == ['reviews_Books_5.json.gz', 'meta_Books.json.gz']
    assert [path.read_bytes() for path in found] == [path.read_bytes() for path in paths]


def test_texts_of_products(paths, log, tmp_path):
    found = compile_amazon(paths[0].parent, tmp_path / 'log', texts=True)
    assert found.manifest['dropped'] == log.manifest['dropped'] and 'text' not in log.schema
    assert found.manifest['notes'] == log.manifest['notes']
    described = {}
    for record in oracle.records(paths[1]):
        if record and record.get('asin') not in described:
            names = dict.fromkeys(name for path in record.get('categories', []) for name in path)
            described[record['asin']] = '. '.join([record.get('title', ''), '9.99', *names]).strip('. ')
    names = found.vocabulary('item').keys
    texts = found.vocabulary('text').decode(found.items['text'][2:])
    assert sum(text == '' for text in texts) == found.manifest['notes']['products without metadata']
    for name, text in zip(names.tolist(), texts.tolist(), strict=True):
        if name != '000000005X':  # described twice
            assert text == described.get(name, ''), name
    category = lambda of: of.vocabulary('category').decode(of.items['category'][2:]).tolist()
    assert category(found) == category(log)


def test_a_text_is_one_line_of_what_there_is():
    record = {'title': ' A\n"b" ', 'brand': None, 'price': 3.5, 'categories': [['X', 'Y'], ['X', 'Z'], 'W']}
    assert text_of(record) == 'A "b". 3.5. X. Y. Z'
    assert text_of({}) == '' and text_of({'categories': 3}) == ''
