"""Checksums of folders: what they find, and what they leave out."""

import errno
import zlib

import numpy as np
import pytest

from jaxrec.training.checkpoints import damage


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'model' / 'd').mkdir(parents=True)
    for path, size in (('model/d/a', 12), ('model/empty', 0), ('top', 9)):
        (tmp_path / path).write_bytes(np.random.default_rng(size).bytes(size))
    damage.write_sums(tmp_path)
    return tmp_path


def test_every_flipped_bit_is_found(folder):
    assert damage.find_damage(folder) == ''
    path = folder / 'model' / 'd' / 'a'
    sound = path.read_bytes()
    for bit in range(8 * len(sound)):
        held = bytearray(sound)
        held[bit // 8] ^= 1 << bit % 8
        path.write_bytes(held)
        assert damage.find_damage(folder) == 'model/d/a does not have the checksum it was written with'
    path.write_bytes(sound)
    assert damage.find_damage(folder) == ''


@pytest.mark.parametrize('size', [0, 1, 7, 8, 9, 16, 17])
def test_a_checksum_does_not_depend_on_how_a_file_is_read(tmp_path, monkeypatch, size):
    monkeypatch.setattr(damage, '_CHUNK', 8)
    held = np.random.default_rng(size).bytes(size)
    (tmp_path / 'a').write_bytes(held)
    assert damage.checksum(tmp_path / 'a') == zlib.crc32(held)


def test_what_is_left_out_may_be_damaged_and_what_is_not_listed_may_be_there(folder):
    (folder / 'model' / 'd' / 'a').unlink()
    assert damage.find_damage(folder, ('model',)) == ''
    (folder / 'new').write_text('more')
    assert damage.find_damage(folder, ('model',)) == ''
    assert damage.find_damage(folder, ('top',)) == 'model/d/a is missing'


def test_a_folder_without_sums_is_not_looked_at(folder):
    (folder / 'sums.json').unlink()
    (folder / 'top').write_text('x')
    assert damage.find_damage(folder) == ''


def test_a_size_is_compared_before_anything_is_read(folder, monkeypatch):
    monkeypatch.setattr(damage, 'checksum', lambda path: pytest.fail(f'{path} was read'))
    (folder / 'top').write_bytes(b'12345678')
    assert damage.find_damage(folder) == 'top has 8 bytes instead of 9'


def test_a_file_that_the_disk_does_not_give_is_damage(folder, monkeypatch):
    def fail(path):
        raise OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr(damage, 'checksum', fail)
    assert 'model/d/a cannot be read: [Errno 5] Input/output error' in damage.find_damage(folder)
