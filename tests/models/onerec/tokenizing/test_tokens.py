"""Tokens of a log's items: what is written, in which order, and how new items enter."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from jaxrec.data.ingest import ingest
from jaxrec.data.ingest.mapping import make_mapping
from jaxrec.data.simulators.sessions import Audience, simulate
from jaxrec.models.onerec.generate import catalogue
from jaxrec.models.onerec.task import with_special
from jaxrec.models.onerec.tokenizing.report import draw, neighbours, to_markdown
from jaxrec.models.onerec.tokenizing.semantic_ids import SemanticIds
from jaxrec.models.onerec.tokenizing.tokenizer import Codebooks
from jaxrec.models.onerec.tokenizing.tokens import check_ids, extend_ids, fit_ids, item_names, make_ids, read_tokens
from jaxrec.models.onerec.tokenizing.trie_file import load_trie, save_trie
from jaxrec.models.onerec.tokenizing.vectors import VECTOR_OPTIONS, ItemVectors, item_vectors
from jaxrec.ops.generation.trie import find, leaf_items
from jaxrec.runs.artifacts import file_folder, make_files
from tests.conftest import REPOSITORY
from tests.data.worlds import small_sessions
from tests.models.onerec.run_worlds import tiny
from tests.runs.custom_logs import MAPPING, write_day
from tests.runs.worlds import SESSIONS

DATA = {'label': {}, 'split': {'kind': 'per_user_time', 'validation': 0.1, 'test': 0.2}}
SMALL = {'levels': 2, 'clusters': 4, 'passes': 4}


def run_apart(program, folder):
    """What a program prints in a process of its own, since a main's flags can be defined only once."""
    done = subprocess.run(
        [sys.executable, '-c', program], cwd=folder, env=os.environ | {'PYTHONPATH': str(REPOSITORY)},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp('world') / 'log', **SESSIONS)


@pytest.fixture(scope='module')
def tokens(log, tmp_path_factory):
    folder = tmp_path_factory.mktemp('tokens')
    make_ids(folder, log, DATA, content='simulated', behaviour=4, **SMALL)
    return folder


def options(**given):
    return {**VECTOR_OPTIONS, **given}


def test_a_folder_holds_ids_codebooks_trie_and_report(log, tokens, tmp_path):
    ids, books = SemanticIds.load(tokens / 'ids.npz'), Codebooks.load(tokens / 'codebooks.npz')
    assert ids.codes.shape == (49, 2) and books.centroids.shape == (2, 4, 3 + 4)
    trie = load_trie(tokens / 'trie.npz')
    leaves = find(trie, ids.ids)
    np.testing.assert_array_equal(leaf_items(trie, leaves, 1)[:, 0], np.arange(49) + 2)
    report = json.loads((tokens / 'report.json').read_text())
    vectors = item_vectors(log, DATA, options(content='simulated', behaviour=4)).rows[:]
    assigned, nearest = report['levels']['assigned'], report['levels']['nearest']
    left = vectors - books.decode(ids.codes)
    np.testing.assert_allclose(assigned[1]['mse'], np.square(left).mean(), rtol=1e-4)
    np.testing.assert_allclose(assigned[0]['load'], 13 * 4 / 49)
    assert nearest[0]['mse'] <= assigned[0]['mse'] and assigned[0]['agreement'] == nearest[0]['agreement']
    counts = np.unique(ids.codes, axis=0, return_counts=True)[1]
    assert report['distinct'] == len(counts) and report['largest_group'] == counts.max()
    assert report['sharing'] == counts[counts > 1].sum() and sum(report['loads']['assigned'][1]) == 49
    assert report['loads']['assigned'][0] == [13, 12, 12, 12] and report['loads']['nearest'][0][0] >= 13
    text = to_markdown(report)
    assert f'| nearest | 2 | {nearest[1]["mse"]:.4f} |' in text and text.count('| assigned |') == 2
    assert f'collision rate {1 - len(counts) / 49:.4f}' in text
    draw(report, tmp_path / 'report.png')
    assert (tmp_path / 'report.png').stat().st_size > 5_000


def test_the_other_encoding_and_plain_k_means(log, tokens, tmp_path):
    make_ids(tmp_path / 'n', log, DATA, content='simulated', behaviour=4, encoding='nearest', **SMALL)
    ids, books = SemanticIds.load(tmp_path / 'n/ids.npz'), Codebooks.load(tmp_path / 'n/codebooks.npz')
    vectors = item_vectors(log, DATA, options(content='simulated', behaviour=4)).rows[:]
    np.testing.assert_array_equal(ids.codes, books.encode(vectors))
    assert (ids.codes != SemanticIds.load(tokens / 'ids.npz').codes).any()
    make_ids(tmp_path / 'p', log, DATA, content='simulated', balanced=False, **SMALL)
    assert list(json.loads((tmp_path / 'p/report.json').read_text())['levels']) == ['assigned']
    with pytest.raises(ValueError, match="encoding = 'best' is unknown: use assigned or nearest"):
        make_ids(tmp_path / 'x', log, DATA, content='simulated', encoding='best')
    with pytest.raises(ValueError, match='clusters = 8192 of 49 items: give at most'):
        make_ids(tmp_path / 'x', log, DATA, content='simulated')
    with pytest.raises(ValueError, match=r'arguments\.cluster is not an option; did you mean .clusters'):
        make_ids(tmp_path / 'x', log, DATA, cluster=4)


@pytest.mark.parametrize('balanced', [True, False])
def test_ids_of_vectors_without_a_log(balanced):
    vectors = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    ids, books, report = fit_ids(ItemVectors(vectors), room=40, balanced=balanced, **SMALL)
    assert ids.room == 40 and ids.clusters == 4 and report['items'] == 40
    assert np.array_equal(ids.codes, books.encode(vectors)) != balanced  # of plain k-means the nearest centroids
    assert list(report['levels']) == (['assigned', 'nearest'] if balanced else ['assigned'])


def test_neighbours_share_codes_from_the_left_and_stand_by_distance():
    codes = np.array([[1, 2], [1, 2], [1, 3], [0, 2], [1, 2], [1, 0]])
    vectors = np.array([[0.0], [3.0], [2.0], [0.1], [1.0], [-1.0]])
    found = neighbours(codes, vectors, 0)
    assert {depth: items.tolist() for depth, items in found.items()} == {2: [4, 1], 1: [5, 2]}
    assert list(found) == [2, 1]


def test_new_items_enter_without_changing_the_old(log, tokens, tmp_path):
    rows = Audience(log.folder).item_vectors()[2:5] + 0.01
    np.save(tmp_path / 'new.npy', rows.astype(np.float32))
    (tmp_path / 'new.txt').write_text('a\nb\nc\n')
    found = extend_ids(tmp_path / 'more', tokens, str(tmp_path / 'new.npy'), str(tmp_path / 'new.txt'))
    assert found[0] == 3 and 0 <= found[1] <= 3 and found[2] == 0
    old, new = SemanticIds.load(tokens / 'ids.npz'), SemanticIds.load(tmp_path / 'more/ids.npz')
    np.testing.assert_array_equal(new.ids[:49], old.ids)
    assert len(np.unique(new.ids, axis=0)) == 52
    trie = load_trie(tmp_path / 'more/trie.npz')
    reached = leaf_items(trie, find(trie, new.ids[49:]), 1)[:, 0]
    np.testing.assert_array_equal(reached, [51, 52, 53])
    assert read_tokens(tmp_path / 'more')['new'] == ['a', 'b', 'c']
    names = item_names(log, ['a', 'b', 'c'])
    assert names[51:].tolist() == ['a', 'b', 'c'] and names[2] == str(log.vocabulary('item').keys[0])
    with pytest.raises(ValueError, match=r"item 'a' is in .*more already"):
        extend_ids(tmp_path / 'x', tmp_path / 'more', str(tmp_path / 'new.npy'), str(tmp_path / 'new.txt'))
    (tmp_path / 'old.txt').write_text(f'x\n{names[7]}\ny\n')
    (tmp_path / 'zero.txt').write_text(f'x\n00{names[7]}\ny\n')  # the same number
    with pytest.raises(ValueError, match=rf"item '{names[7]}' is in .* already: leave it out"):
        extend_ids(tmp_path / 'x', tokens, str(tmp_path / 'new.npy'), str(tmp_path / 'zero.txt'))
    for source in (tokens, tmp_path / 'more'):
        with pytest.raises(ValueError, match=rf"item '{names[7]}' is in .* already: leave it out"):
            extend_ids(tmp_path / 'x', source, str(tmp_path / 'new.npy'), str(tmp_path / 'old.txt'))
    with pytest.raises(ValueError, match='tokens that are to be extended, with which models were trained: gi'):
        extend_ids(tokens / 'x' / '..', tokens, str(tmp_path / 'new.npy'), str(tmp_path / 'new.txt'))
    np.testing.assert_array_equal(SemanticIds.load(tokens / 'ids.npz').ids, old.ids)
    with pytest.raises(ValueError, match='new items need their names, a line each'):
        extend_ids(tmp_path / 'x', tokens, str(tmp_path / 'new.npy'))
    with pytest.raises(ValueError, match=r'holds no tokens .*: give a folder that'):
        extend_ids(tmp_path / 'x', tmp_path, str(tmp_path / 'new.npy'))


def test_more_new_items_alike_than_there_are_ranks(log, tmp_path):
    tokens = make_ids(tmp_path / 'plain', log, DATA, content='simulated', **SMALL).parent
    room = SemanticIds.load(tokens / 'ids.npz').room
    rows = np.repeat(Audience(log.folder).item_vectors()[2:3].astype(np.float32), room + 2, 0)
    np.save(tmp_path / 'new.npy', rows)
    (tmp_path / 'new.txt').write_text(''.join(f'new{i}\n' for i in range(room + 2)))
    new, shared, moved = extend_ids(tmp_path / 'more', tokens, str(tmp_path / 'new.npy'), str(tmp_path / 'new.txt'))
    found = SemanticIds.load(tmp_path / 'more/ids.npz')
    books = Codebooks.load(tokens / 'codebooks.npz')
    nearest, others = books.encode(rows)[0], found.codes[49:]
    assert new == room + 2 and shared >= room and 2 <= moved < new
    assert (others[0] == nearest).all() and (others[:, :-1] == nearest[:-1]).all()
    distance = np.square(rows[0] - books.decode(np.stack([nearest, others[-1]]))).sum(1)
    assert distance[0] < distance[1] and books.last_codes(rows[0], nearest)[0] == nearest[-1]
    assert others[-1, -1] == books.last_codes(rows[0], nearest)[1]


def test_ids_of_other_items_are_refused(log, tokens, tmp_path):
    check_ids(tokens / 'ids.npz', log)
    with_items = lambda keys: SimpleNamespace(folder='other', vocabulary=lambda name: SimpleNamespace(keys=keys))
    for keys in (log.vocabulary('item').keys[::-1], np.arange(49), np.arange(50).astype(str)):
        other = with_items(keys)
        with pytest.raises(ValueError, match=r'ids\.npz has the semantic IDs of other items than other, or'):
            check_ids(tokens / 'ids.npz', other)
    shutil.copy(tokens / 'ids.npz', tmp_path)
    check_ids(tmp_path / 'ids.npz', other)  # of a file alone nothing is known
    config = tiny('OneRec', tmp_path)
    config.model.ids = str(tokens / 'ids.npz')
    with pytest.raises(ValueError, match='has the semantic IDs of other items than other'):
        make_files(config, other, DATA, {'ids': config.model.ids})


@pytest.mark.parametrize('name', ['codebooks.npz', 'trie.npz', 'ids.npz'])
def test_files_of_other_tokens_are_refused(log, tokens, tmp_path, name):
    make_ids(tmp_path / 'other', log, DATA, content='simulated', behaviour=4, seed=1, **SMALL)
    shutil.copytree(tokens, tmp_path / 'mixed')
    assert read_tokens(tmp_path / 'mixed')['items'] == 49
    shutil.copy(tmp_path / 'other' / name, tmp_path / 'mixed')
    with pytest.raises(ValueError, match=rf'{name} is not the one that was written with tokens\.json'):
        read_tokens(tmp_path / 'mixed')


@pytest.mark.slow
def test_an_attempt_that_is_refused_leaves_the_workdir_free(tmp_path):
    file, workdir = tmp_path / 'config.py', tmp_path / 'tokens'
    file.write_text(
        'from tests.models.onerec.run_worlds import tiny\n\n\ndef get_config():\n'
        f"    return tiny('OneRec', {str(tmp_path)!r})\n"
    )
    tries = f"""
import sys
from absl import flags
from jaxrec.cli.onerec import tokenize
flags.FLAGS(['tokenize', '--config={file}', '--workdir={workdir}'])
for clusters in (99, 8, 7):
    tokenize.CONFIG.value.files.ids.arguments.clusters = clusters
    try:
        tokenize.main([])
    except SystemExit as stop:
        print(clusters, 'stopped with', stop.code)
"""
    done = run_apart(tries, REPOSITORY)
    assert '99 stopped with 2' in done.stdout and 'clusters = 99 of 49 items' in done.stderr
    assert done.stdout.count('wrote ') == 1 and SemanticIds.load(workdir / 'ids.npz').clusters == 8
    assert '7 stopped with 2' in done.stdout and 'ids.clusters was 8 and is 7' in done.stderr


@pytest.mark.slow
def test_a_workdir_keeps_to_one_extension(log, tokens, tmp_path):
    rows = Audience(log.folder).item_vectors()[2:5] + 0.01
    for name in ('new', 'other'):
        np.save(tmp_path / f'{name}.npy', rows.astype(np.float32))
    (tmp_path / 'new.txt').write_text('a\nb\nc\n')
    tries = f"""
from absl import flags
from jaxrec.cli.onerec import tokenize
for workdir, content in (({str(tokens)!r}, 'new'), ('more', 'new'), ('more', 'new'), ('more', 'other')):
    given = ['--extend={tokens}', '--content_items=new.txt', f'--content={{content}}.npy']
    flags.FLAGS(['tokenize', f'--workdir={{workdir}}', *given])
    try:
        tokenize.main([])
    except SystemExit as stop:
        print(content, 'stopped with', stop.code)
"""
    done = run_apart(tries, tmp_path)
    assert done.stdout.count('3 new items have IDs') == 2 and done.stdout.count('stopped with 2') == 2
    assert 'tokens that are to be extended' in done.stderr
    assert "extend.content was 'new.npy' and is 'other.npy'" in done.stderr
    assert not (tokens / 'config.json').exists() and len(SemanticIds.load(tmp_path / 'more/ids.npz').codes) == 52


def test_vectors_of_a_file_are_found_by_name(tmp_path):
    log = small_sessions(tmp_path / 'log')
    names = np.append(log.vocabulary('item').keys, ['later'])
    order = np.random.default_rng(0).permutation(len(names))
    rows = np.arange(len(names), dtype=np.float32)[:, None] * [1, 2]
    np.save(tmp_path / 'v.npy', rows[order].astype(np.float32))
    (tmp_path / 'n.txt').write_text('\n'.join(names[order]))
    given = options(content=str(tmp_path / 'v.npy'), content_items=str(tmp_path / 'n.txt'))
    found = item_vectors(log, DATA, given)
    np.testing.assert_array_equal(found.rows[:], rows[:-1])
    (tmp_path / 'n.txt').write_bytes(b'\xef\xbb\xbf' + '\r\n'.join(names[order]).encode() + b'\r\n')
    np.testing.assert_array_equal(item_vectors(log, DATA, given).rows[:], rows[:-1])
    (tmp_path / 'n.txt').write_text('\n'.join(['a\u2028b', *names[order]][:-1]))  # within a name it ends nothing
    with pytest.raises(ValueError, match="has nothing for item '"):
        item_vectors(log, DATA, given)
    (tmp_path / 'n.txt').write_text('\n'.join(names[order]))
    np.testing.assert_array_equal(found.rows[3:5], rows[3:5])
    assert found.rows.shape == (len(names) - 1, 2) and found.notes[0].startswith('1 items of')
    with pytest.raises(ValueError, match=r'has 34 rows and .* 33 items: give content_items'):
        item_vectors(log, DATA, options(content=str(tmp_path / 'v.npy')))
    for lines, message in (
        (names[order][:-1], 'has 34 rows and .* 33 lines'),
        (np.append(names[order][:-1], names[order][0]), 'twice'),
        (np.where(names[order] == 'v100', 'w', names[order]), "has nothing for item 'v100'"),
    ):
        (tmp_path / 'n.txt').write_text('\n'.join(lines))
        with pytest.raises(ValueError, match=message):
            item_vectors(log, DATA, given)
    with pytest.raises(ValueError, match='neither content nor behaviour'):
        item_vectors(log, DATA, options())


def test_vectors_of_texts_go_on_for_new_items(tmp_path):
    log = small_sessions(tmp_path / 'log')
    keys = log.vocabulary('item').keys
    words = ['red shoe', 'blue shoe', 'red hat', 'blue hat']
    text = lambda rows: 'item,text\n' + '\n'.join(f'{name},{what}' for name, what in rows)
    (tmp_path / 't.csv').write_text(text([(key, words[n % 4]) for n, key in enumerate(keys)]))
    (tmp_path / 'new.csv').write_text(text([('new1', 'red hat')]))
    make_ids(tmp_path / 'k', log, DATA, content=str(tmp_path / 't.csv'), text_width=2, encoding='nearest', **SMALL)
    assert extend_ids(tmp_path / 'k2', tmp_path / 'k', str(tmp_path / 'new.csv')) == (1, 1, 0)
    ids = SemanticIds.load(tmp_path / 'k2/ids.npz')
    np.testing.assert_array_equal(ids.codes[-1], ids.codes[2])
    with pytest.raises(ValueError, match=r'have texts, give a \.csv file with item and text'):
        extend_ids(tmp_path / 'x', tmp_path / 'k', 'new.npy', 'names.txt')
    (tmp_path / 'bad.csv').write_text('sku,text\n1,a\n')
    with pytest.raises(ValueError, match=r"has the columns \['sku', 'text'\]: item and text are needed"):
        item_vectors(log, DATA, options(content=str(tmp_path / 'bad.csv')))
    for line, fields in (('v1,a, b', 'more'), ('v1', 'fewer')):
        (tmp_path / 'bad.csv').write_text(f'item,text\n{line}\n')
        with pytest.raises(ValueError, match=rf'bad.csv:2: {fields} fields than the header has: put a text'):
            item_vectors(log, DATA, options(content=str(tmp_path / 'bad.csv')))
    (tmp_path / 'bad.csv').write_text('item,text\n')
    with pytest.raises(ValueError, match=r'bad.csv names no item'):
        extend_ids(tmp_path / 'x', tmp_path / 'k', str(tmp_path / 'bad.csv'))


def test_a_config_makes_its_files_once(log, tmp_path):
    config = tiny('OneRec', tmp_path)
    data = {**DATA, 'cache': str(tmp_path)}
    first = make_files(config, log, data, {'ids': ''})
    assert SemanticIds.load(first['ids']).codes.shape == (49, 1)
    before = (tmp_path / first['ids']).stat().st_mtime_ns
    assert make_files(config, log, data, {'ids': ''}) == first
    assert (tmp_path / first['ids']).stat().st_mtime_ns == before
    assert make_files(config, log, data, {'ids': 'given.npz'}) == {}
    make = config.files.ids.make
    other = {**data, 'split': {**DATA['split'], 'test': 0.3}}
    assert file_folder(make, {}, log, data) != file_folder(make, {}, log, other)
    assert make_files(tiny('SASRec', tmp_path), log, data, {}) == {}
    config.files.ids.arguments.clusters = 5
    assert make_files(config, log, data, {'ids': ''}) != first
    config.files.ids.make = 'jaxrec.models.onerec.tokenizing.tokens:read_tokens'
    with pytest.raises(ValueError, match='is not an artifact that a config may name'):
        make_files(config, log, data, {'ids': ''})


def test_a_trie_is_read_as_it_was_written_or_refused(tmp_path):
    codes = np.array([[0, 1, 0], [0, 1, 1], [2, 0, 0]])
    trie = catalogue(with_special(codes), (3, 2, 2), capacity=5)
    save_trie(trie, tmp_path / 'trie.npz')
    read = load_trie(tmp_path / 'trie.npz')
    assert (read.sizes, read.widest) == (trie.sizes, trie.widest)
    for name in ('starts', 'codes'):
        for got, want in zip(getattr(read, name), getattr(trie, name), strict=True):
            np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(read.items, trie.items)
    with np.load(tmp_path / 'trie.npz') as file:
        arrays = dict(file)
    for change, message in (
        ({'sizes': arrays['sizes'][:2]}, 'starts do not fit 2 levels: tokenize'),
        ({'first': arrays['first'][::-1]}, 'ranges of nodes run from'),
        ({'widest': arrays['widest'] * 0}, 'widths'),
        ({'codes': arrays['codes'] + 1}, r'codes 1\.\.3 of a level of 3'),
    ):
        np.savez(tmp_path / 'bad.npz', **(arrays | change))
        with pytest.raises(ValueError, match=message):
            load_trie(tmp_path / 'bad.npz')


def test_hashed_items_have_no_names_that_an_id_could_be_of(tmp_path):
    given = MAPPING | {'item': {'column': MAPPING['item'], 'buckets': 16}, 'items': {}}
    log = ingest([write_day(tmp_path / 'day.csv', 1, 60, 5, 8)], make_mapping(given), tmp_path / 'log')
    for call in (lambda: make_ids(tmp_path / 'ids', log, DATA), lambda: item_names(log)):
        with pytest.raises(ValueError, match=r'hashed to 16 buckets and have no names, so that no ID can'):
            call()
