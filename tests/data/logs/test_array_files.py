"""Files of named arrays: a round trip, and every way in which one can be broken or foreign."""

import zipfile

import numpy as np
import pytest

from jaxrec.data.logs.array_files import load_arrays, save_arrays

DESCRIBED = {'numbers': ('f', 2), 'names': ('U', 1)}
ARRAYS = {'numbers': np.arange(6.0).reshape(2, 3), 'names': np.array(['ä', 'bc'])}


def save(path, kind='a.kind', version=3, **changes):
    save_arrays(path, kind, version, ARRAYS | changes)


def load(path):
    return load_arrays(path, 'a.kind', 3, DESCRIBED, 'make it again')


def test_what_was_saved_is_loaded(tmp_path):
    path = tmp_path / 'new' / 'arrays.npz'
    save(path, more=np.zeros(2))
    found = load(path)
    assert set(found) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    save(path, numbers=np.zeros((1, 1)))
    assert load(path)['numbers'].shape == (1, 1)
    assert [file.name for file in path.parent.iterdir()] == ['arrays.npz']


def spoil_member(path):
    content = bytearray(path.read_bytes())
    content[content.find(np.float64(5).tobytes())] ^= 1
    path.write_bytes(content)


BROKEN = {
    'missing': (lambda path: path.unlink(), r'arrays\.npz is missing: make it again'),
    'empty': (lambda path: path.write_bytes(b''), 'is no readable .npz file .*: make it again'),
    'text': (lambda path: path.write_text('numbers'), 'is no readable .npz file'),
    'cut': (lambda path: path.write_bytes(path.read_bytes()[:-30]), 'is no readable .npz file'),
    'spoilt': (spoil_member, 'is no readable .npz file'),
    'one array': (lambda path: np.save(path.open('wb'), np.zeros(3)), 'is no readable .npz file'),
    'objects': (
        lambda path: np.savez(path, format='a.kind', version=3, numbers=np.array([{}])),
        'is no readable .npz file',
    ),
    'a zip of something else': (
        lambda path: zipfile.ZipFile(path, 'w').writestr('a.txt', 'a'),
        'is None version None, this library reads a.kind version 3: make it again',
    ),
    'other kind': (lambda path: save(path, kind='b'), 'is b version 3, this library reads a.kind version 3'),
    'other version': (lambda path: save(path, version=4), 'is a.kind version 4, this library reads'),
    'other dtype': (
        lambda path: save(path, numbers=np.zeros((2, 3), int)),
        r"holds int64 \[2, 3\] as 'numbers', not 2 axes of kind 'f': make it again",
    ),
    'other axes': (lambda path: save(path, numbers=np.zeros(3)), r"holds float64 \[3\] as 'numbers'"),
    'no such array': (
        lambda path: save_arrays(path, 'a.kind', 3, {'names': ARRAYS['names']}),
        "holds nothing as 'numbers'",
    ),
}


@pytest.mark.parametrize('name', BROKEN)
def test_broken_files_are_refused(tmp_path, name):
    path = tmp_path / 'arrays.npz'
    save(path)
    damage, message = BROKEN[name]
    damage(path)
    with pytest.raises(ValueError, match=message):
        load(path)


def test_objects_are_not_saved_and_leave_the_old_file(tmp_path):
    path = tmp_path / 'arrays.npz'
    save(path)
    with pytest.raises(ValueError, match="array 'names' holds objects: turn it into numbers"):
        save(path, names=np.array(['a', None]))
    assert load(path)['names'].tolist() == ['ä', 'bc']
    assert len(list(tmp_path.iterdir())) == 1
