"""IDs that others made, from a log's column or a file, and next items ranked with them end to end."""

import gzip
import json
import zipfile

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.onerec.amazon_beauty import get_config
from jaxrec.data.readers.sequences import compile_sequences
from jaxrec.data.vectors.text_vectors import fit_text_vectors
from jaxrec.evaluation.ctr import CtrEvaluator
from jaxrec.evaluation.ranking import RankingEvaluator
from jaxrec.models.onerec.tokenizing.published import make_ids
from jaxrec.models.onerec.tokenizing.published_ids import parse_ids, read_ids
from jaxrec.models.onerec.tokenizing.report import draw, to_markdown
from jaxrec.models.onerec.tokenizing.semantic_ids import SemanticIds
from jaxrec.models.onerec.tokenizing.tokens import make_ids as tokenize
from jaxrec.models.onerec.tokenizing.trie_file import load_trie
from jaxrec.models.onerec.tokenizing.vectors import VECTOR_OPTIONS, column_texts, item_vectors
from jaxrec.ops.generation.trie import find, leaf_items
from jaxrec.options import plain
from jaxrec.runs.build import build
from jaxrec.runs.comparison import slices
from jaxrec.runs.comparison.cells import Cell, run_cell
from jaxrec.runs.comparison.slices import cold_items, judge_slice
from tests.data.extracts import sequences as extract
from tests.oracles import sequences as oracle

FEW = 18  # training interactions, of which a cold item of the extract has fewer
DATA = {'label': {}, 'split': {'kind': 'leave_last_out'}}
NETWORK = {
    'width': 8, 'heads': 2, 'encoder_layers': 1, 'decoder_layers': 1, 'hidden': 8, 'beams': 10,
}  # fmt: skip


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('beauty')
    extract.write(folder / 'data')
    return folder


@pytest.fixture(scope='module')
def log(root):
    return compile_sequences(root / 'data', root / 'log')


def published(log):
    """int [V, 3]: the codes of `letter_sid` by rows of the log."""
    rows = oracle.items(log.folder.parent / 'data/amazon-beauty')
    texts = [rows[key]['letter_sid'] for key in log.vocabulary('item').keys.tolist()]
    return np.array([[int(token[3:-1]) for token in text.split()] for text in texts])


def test_ids_of_a_column(log, tmp_path):
    make_ids(tmp_path, log, DATA, column='letter_sid')
    codes, ids = published(log), SemanticIds.load(tmp_path / 'ids.npz')
    np.testing.assert_array_equal(ids.codes, codes)
    counts = np.unique(codes, axis=0, return_counts=True)[1]
    assert counts.max() > 1 and ids.clusters == codes.max() + 1 and len(np.unique(ids.ids, axis=0)) == 76
    trie = load_trie(tmp_path / 'trie.npz')
    np.testing.assert_array_equal(leaf_items(trie, find(trie, ids.ids), 1)[:, 0], np.arange(76) + 2)
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['distinct'] == len(counts) and report['largest_group'] == counts.max()
    assert report['collision_rate'] == pytest.approx(1 - len(counts) / 76)
    assert [level['largest_group'] for level in report['levels']['published']][-1] == counts.max()
    loads = report['loads']['published']  # codes that no item has count too: they are the curve's right end
    assert [len(load) for load in loads] == [ids.clusters] * 3 and [sum(load) for load in loads] == [76] * 3
    assert loads[1] == sorted(((codes[:, 1] == code).sum() for code in range(ids.clusters)), reverse=True)
    text = to_markdown(report)
    assert '| published | 3 | - |' in text and 'published IDs of letter_sid' in text and 'passes' not in text
    draw(report, tmp_path / 'report.png')
    assert (tmp_path / 'report.png').stat().st_size > 3_000


@pytest.mark.parametrize('kind', ['index.json.gz', 'csv', 'json.zip'])
def test_ids_of_a_file(log, tmp_path, caplog, kind):
    keys = log.vocabulary('item').keys.tolist()
    codes = {key: [key % 7, key % 3] for key in keys} | {999: [0, 0]}
    path = tmp_path / f'mine.{kind}'
    if kind == 'csv':
        path.write_text('item,codes\n' + '\n'.join(f'{key},{a} {b}' for key, (a, b) in codes.items()))
    else:
        tokens = {key: [f'<a_{a}>', f'<b_{b}>'] for key, (a, b) in codes.items()}
        text = json.dumps(tokens)
        if kind == 'json.zip':
            with zipfile.ZipFile(path, 'w') as file:
                file.writestr('mine.json', text)
        else:
            path.write_bytes(gzip.compress(text.encode()))
    make_ids(tmp_path / 'ids', log, DATA, file=str(path))
    found = SemanticIds.load(tmp_path / 'ids' / 'ids.npz').codes
    np.testing.assert_array_equal(found, [codes[key] for key in keys])
    assert f'1 items of {path} are not in the log and left out' in caplog.text


def test_files_that_do_not_fit(log, tmp_path):
    path = tmp_path / 'ids.json'
    keys = log.vocabulary('item').keys.tolist()
    for content, message in (
        (dict.fromkeys(keys[1:], '0 1'), rf'has nothing for item {keys[0]} of .*\(1 of 76 lack it\)'),
        (dict.fromkeys(keys, '0 1') | {keys[3]: '0'}, rf'item {keys[3]} has 1 levels and that of item {keys[0]} 2'),
        (dict.fromkeys(keys, '<b_1> <a_0>'), rf"'<b_1> <a_0>' of item {keys[0]} is no semantic ID"),
        (dict.fromkeys(keys, '0 1') | {keys[5]: f'0 {2**31}'}, rf'item {keys[5]} has the code {2**31}, and lev'),
        (dict.fromkeys(keys, '0 1') | {keys[5]: f'{2**20} 0'}, 'levels have 1048576 codes at most: number those'),
        ({'red': '0'}, r'items of .* are integers'),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=message):
            make_ids(tmp_path / 'x', log, DATA, file=str(path))
    with pytest.raises(ValueError, match=r"column = '' and file = '': name either"):
        make_ids(tmp_path / 'x', log, DATA)
    with pytest.raises(ValueError, match=r"no texts 'sid': name one of text, letter_sid, plain_sid"):
        make_ids(tmp_path / 'x', log, DATA, column='sid')
    for name, text, message in (
        ('a.npy', '', r'read from \.csv and \.json files'),
        ('a.json', '{"1": [0], "1": [1]}', r"names item '1' twice"),
        ('a.json', '{"1": ', 'cannot be read'),
        ('a.csv', 'sku,codes\n1,2\n', r"cannot be read \('item'\): give a CSV file"),
        ('none.csv', None, 'cannot be read'),
        ('a.csv', '', r'a\.csv is empty: give a CSV file'),
        ('a.csv.gz', 'item,codes', r'a\.csv\.gz cannot be read \(Not a gzipped file'),
    ):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=message):
            read_ids(tmp_path / name)
    with pytest.raises(ValueError, match='there are no semantic IDs'):
        parse_ids([], [], 'here')


def test_texts_of_a_column_make_vectors_and_others_ids_stand_beside(log, tmp_path):
    texts = column_texts(log, 'text')
    rows = oracle.items(log.folder.parent / 'data/amazon-beauty')
    assert texts == [rows[key]['text'] for key in log.vocabulary('item').keys.tolist()]
    found = item_vectors(log, DATA, {**VECTOR_OPTIONS, 'content': 'column:text', 'text_width': 4})
    np.testing.assert_allclose(found.rows, fit_text_vectors(texts, 4).transform(texts))
    assert found.notes == ('1 of 76 texts have no known term',)
    narrow = item_vectors(log, DATA, {**VECTOR_OPTIONS, 'content': 'column:text', 'text_width': 400})
    terms, width = len(narrow.texts.terms), narrow.rows.shape[1]
    assert width == min(len(texts), terms) < 400
    assert narrow.notes[0] == f'76 texts of {terms} terms: their vectors have {width} numbers, not 400'
    with pytest.raises(ValueError, match=r"have no texts 'title': name one of text"):
        item_vectors(log, DATA, {**VECTOR_OPTIONS, 'content': 'column:title'})
    tokenize(
        tmp_path, log, DATA, content='column:text', text_width=4, behaviour=4, clusters=4, levels=2, passes=3,
        beside=('letter_sid', 'plain_sid'),
    )  # fmt: skip
    report = json.loads((tmp_path / 'report.json').read_text())
    counts = np.unique(published(log), axis=0, return_counts=True)[1]
    assert report['beside']['letter_sid']['distinct'] == len(counts)
    assert report['beside']['plain_sid']['levels'][-1]['collision_rate'] == 0
    text = to_markdown(report)
    assert '| plain_sid | 2 | - |' in text and f'letter_sid: {len(counts)} distinct IDs of 3 levels' in text


def tiny(row, root):
    config = get_config(row)
    config.data.arguments.data_dir = str(root / 'data')
    config.data.cache = str(root / 'logs')
    config.data.history_length = 6
    if config.files is not None:
        config.model.update(NETWORK | {'history': 6})
        config.data.widths = (2, 4)
        if row != 'OneRec-letter':
            config.files.ids.arguments.update({'clusters': 4, 'levels': 1, 'behaviour': 4, 'text_width': 4})
            config.files.ids.arguments.beside = ('letter_sid',)
        config.model.experts = 0  # experts compile slowly and are tested elsewhere
    else:
        config.model.update({'width': 8, 'layers': 1, 'length': 7})
    config.train.update({'batch_size': 64, 'eval_batch_size': 64, 'epochs': 1, 'eval_batches': 2, 'log_every': 2})
    config.mesh = (1, 1)
    return config


@pytest.mark.slow
def test_a_cell_of_the_table(root, tmp_path, monkeypatch):
    config = tiny('OneRec-letter', root)
    given = {name: plain(config[name]) for name in config if name not in ('seed', 'mesh')}
    sections = ConfigDict({name: given.pop(name) for name in ('task', 'model', 'files', 'train')})
    cell = Cell(tmp_path / 'cell', ConfigDict(given | {'mesh': (1, 1)}), sections, 0, {})
    monkeypatch.setattr(slices, 'COLD', FEW)
    result = run_cell(cell, None, ('cold_items',))
    test = result['test']
    users = sum(len(own) >= 3 for own in oracle.sequences(root / 'data/amazon-beauty')[0].values())
    assert test['users'] == users and 0 < test['coverage'] <= 1 and 0 <= test['recall@10'] <= 1
    assert 0 < test['cold_users'] < users and 'cold_recall@10' in test
    assert test['ntp'] > 0
    lines = [json.loads(line) for line in (tmp_path / 'cell' / 'metrics.jsonl').read_text().splitlines()]
    assert {line['users'] for line in lines if line['part'] == 'validation'} == {128}


def test_cold_items_are_those_of_few_training_interactions(root, monkeypatch):
    monkeypatch.setattr(slices, 'COLD', FEW)
    run = build(tiny('SASRec', root), None)
    found = oracle.sequences(root / 'data/amazon-beauty')[0]
    trained = [item for own in found.values() for item in (own[:-2] if len(own) >= 3 else own)]
    keys = run.log.vocabulary('item').keys.tolist()
    want = [trained.count(key) < FEW for key in keys]
    assert cold_items(run)[2:].tolist() == want and 0 < sum(want) < len(want)
    evaluator = RankingEvaluator()
    target = 2 + want.index(True)
    evaluator.add({'target/item': np.full((1, 1), target), 'valid': np.ones((1, 1))}, {'rank': [3.0], 'items': [[2]]})
    found, best = judge_slice('cold_items', run, evaluator)
    assert found == {'cold_users': 1.0, 'cold_recall@5': 1.0, 'cold_recall@10': 1.0} and best == {}
    with pytest.raises(ValueError, match="for CTR models, and 'cold_items', for those that rank items"):
        judge_slice('cold_items', run, CtrEvaluator())


def test_eval_batches_are_checked(root):
    config = tiny('SASRec', root)
    config.train.eval_batches = 0
    with pytest.raises(ValueError, match=r'train\.eval_batches = 0: give at least 1, or None for all'):
        build(config, None)
