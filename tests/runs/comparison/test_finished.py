"""Finished cells travel in one file, and only those that are missing are laid in."""

import gzip
import json

import pytest

from jaxrec.runs.comparison.finished import FILE, pack, unpack


def write(workdir, cell, result):
    (workdir / cell).mkdir(parents=True)
    (workdir / cell / 'result.json').write_text(json.dumps(result))


def read(workdir, cell):
    return json.loads((workdir / cell / 'result.json').read_text())


def test_cells_are_packed_and_laid_into_another_workdir(tmp_path):
    old, new = tmp_path / 'old', tmp_path / 'new'
    write(old, 'simulated/DNN/seed0', {'config': 'a', 'test': {'auc': 0.7}})
    write(old, 'null/LR/trial1', {'config': 'b', 'validation': 0.5})
    write(new, 'simulated/DNN/seed0', {'config': 'mine'})
    file = pack(old)
    assert file.name == FILE and pack(old).read_bytes() == file.read_bytes()
    assert unpack(file, new) == 1
    assert read(new, 'null/LR/trial1') == {'config': 'b', 'validation': 0.5}
    assert read(new, 'simulated/DNN/seed0') == {'config': 'mine'}
    assert unpack(file, new) == 0


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'no gzip', r'cells.jsonl.gz cannot be read .*: give the cells.jsonl.gz of a workdir'),
        (gzip.compress(b'{"cell": "a/b/c"}\n'), r"cannot be read \(KeyError\('result'\)\)"),
        (gzip.compress(b'{"cell": "a/b'), r'cannot be read \(JSONDecodeError'),
        (gzip.compress(b'{"cell": "../b/c", "result": {}}\n'), r"the cell '../b/c', which lies outside"),
    ],
    ids=['no_gzip', 'no_result', 'cut_off', 'outside'],  # a compressed file holds the time it was made
)
def test_what_is_no_file_of_cells_is_refused(tmp_path, content, message):
    file = tmp_path / FILE
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        unpack(file, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'--cells=.*none.gz cannot be read \(FileNotFoundError'):
        unpack(tmp_path / 'none.gz', tmp_path)
