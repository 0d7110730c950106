"""The journal: what a crash may leave, cut at every byte; what is refused."""

import numpy as np
import pytest

from jaxrec.serving.journal import Journal

DTYPE = np.dtype([('user', '<i4'), ('item', '<i4'), ('time', '<i8')])
WIDTH = DTYPE.itemsize + 4


def events(count, start=0):
    drawn = np.zeros(count, DTYPE)
    for name in DTYPE.names:
        drawn[name] = np.arange(start, start + count) * 7 + len(name)
    return drawn


def written(path, *counts):
    journal, start = Journal(path, DTYPE, 'log 1'), 0
    for count in counts:
        journal.append(events(count, start))
        start += count
    journal.close()
    return path.read_bytes()


def test_what_was_appended_is_read_again(tmp_path):
    path = tmp_path / 'journal'
    written(path, 3, 0, 2)
    journal = Journal(path, DTYPE, 'log 1')
    assert journal.torn == 0
    np.testing.assert_array_equal(journal.events, events(5))
    journal.append(events(1, 5))
    journal.close()
    np.testing.assert_array_equal(Journal(path, DTYPE, 'log 1', writable=False).events, events(6))


def test_a_tail_torn_at_any_byte_is_cut_and_counted(tmp_path):
    path = tmp_path / 'journal'
    whole = written(path, 4)
    for lost in range(1, WIDTH + 1):
        for tail in (whole[:-lost], whole[:-lost] + bytes(lost)):  # cut, or not yet written to the disk
            path.write_bytes(tail)
            torn = len(tail) - (len(whole) - WIDTH)
            reader = Journal(path, DTYPE, 'log 1', writable=False)
            assert reader.torn == torn and path.read_bytes() == tail
            journal = Journal(path, DTYPE, 'log 1')
            assert journal.torn == torn
            np.testing.assert_array_equal(journal.events, events(3))
            journal.append(events(1, 3))
            journal.close()
            assert path.read_bytes() == whole


def test_a_flipped_byte_in_the_last_record_is_a_torn_tail_and_before_it_is_damage(tmp_path):
    path = tmp_path / 'journal'
    whole = written(path, 4)
    start = len(whole) - 4 * WIDTH
    for place in range(start, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        if place >= len(whole) - WIDTH:
            assert len(Journal(path, DTYPE, 'log 1', writable=False).events) == 3
            continue
        record = (place - start) // WIDTH
        with pytest.raises(ValueError, match=rf'damaged at byte {start + record * WIDTH}: record {record} of 4'):
            Journal(path, DTYPE, 'log 1', writable=False)


def test_a_record_out_of_place_is_not_taken_for_sound(tmp_path):
    path = tmp_path / 'journal'
    whole = written(path, 2)
    start = len(whole) - 2 * WIDTH
    path.write_bytes(whole[:start] + whole[start + WIDTH :] + whole[start : start + WIDTH])
    assert len(Journal(path, DTYPE, 'log 1', writable=False).events) == 0


def test_a_failed_write_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / 'journal'
    written(path, 2)
    journal = Journal(path, DTYPE, 'log 1')

    def fails(_):
        raise OSError('no space left')

    monkeypatch.setattr('os.fsync', fails)
    with pytest.raises(OSError, match='no space'):
        journal.append(events(3, 2))
    monkeypatch.undo()
    journal.append(events(1, 2))
    journal.close()
    np.testing.assert_array_equal(Journal(path, DTYPE, 'log 1', writable=False).events, events(3))


def test_other_files_are_refused(tmp_path):
    path = tmp_path / 'journal'
    whole = written(path, 2)
    with pytest.raises(ValueError, match=r'of another index \(about .log 1.*move it away'):
        Journal(path, DTYPE, 'log 2')
    with pytest.raises(ValueError, match='of another index'):
        Journal(path, np.dtype([('user', '<i4')]), 'log 1')
    path.write_bytes(whole.replace(b'"version": 1', b'"version": 9'))
    with pytest.raises(ValueError, match=r'version 9, this library reads .* version 1'):
        Journal(path, DTYPE, 'log 1')
    path.write_bytes(b'\x80\x04 no journal')
    with pytest.raises(ValueError, match='is no journal'):
        Journal(path, DTYPE, 'log 1')
    with pytest.raises(ValueError, match='is missing'):
        Journal(tmp_path / 'absent', DTYPE, 'log 1', writable=False)
    with pytest.raises(ValueError, match='open for reading only'):
        path.write_bytes(whole)
        Journal(path, DTYPE, 'log 1', writable=False).append(events(1))
