"""A log under watch: what was replaced, cut, appended to or written in place is named."""

import os
import shutil

import numpy as np
import pytest

from jaxrec.data.logs import log_watch as watching
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.log_watch import LogWatch, require_same_log, sampled_checksum
from tests.data.worlds import small_log


@pytest.fixture(scope='module')
def kept(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp('kept') / 'log').folder


@pytest.fixture
def log(kept, tmp_path):
    return BehaviourLog(shutil.copytree(kept, tmp_path / 'log'))


def rewrite(path):
    """Changes one number through a memory map, as another process would."""
    values = np.load(path, mmap_mode='r+')
    values[0] += 1
    values.flush()
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))  # coarse clocks tick in ms


def replace(path):
    copy = path.with_suffix('.new')
    shutil.copy2(path, copy)  # of the same content, size and time
    copy.replace(path)


def replace_by_another(path):
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    replace(path)
    rewrite(path)
    os.utime(path, ns=times)


def replace_later(path):
    replace(path)
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))


CHANGES = {
    'rewritten': (rewrite, 'was rewritten'),
    'replaced': (replace_later, 'was replaced'),
    'replaced by another': (replace_by_another, 'was replaced by a file of other content'),
    'cut': (lambda path: os.truncate(path, 140), r'was cut from \d+ to 140 bytes'),
    'appended to': (lambda path: os.truncate(path, 4_000), r'was enlarged from \d+ to 4000 bytes'),
    'removed': (lambda path: path.unlink(), r'was removed, or cannot be seen \(No such file or directory\)'),
}


@pytest.mark.parametrize('name', CHANGES)
def test_a_file_that_changes_is_named(log, name):
    change, message = CHANGES[name]
    watch, path = LogWatch(log), log.folder / 'events' / 'item.npy'
    assert watch.check() == watch.check()
    change(path)
    with pytest.raises(ValueError, match=rf'{path} {message} while a run was reading it; .*--workdir'):
        watch.check()


def test_a_file_that_has_another_number_alone_is_the_same(log):
    watch, path = LogWatch(log), log.folder / 'events' / 'item.npy'
    before = path.stat().st_ino
    replace(path)
    assert path.stat().st_ino != before and watch.check() == watch.check()


def test_a_copy_is_the_same_log_and_a_cache_is_no_part_of_it(log, tmp_path):
    identity = LogWatch(log).check()
    (log.folder / 'cache').mkdir()
    np.save(log.folder / 'cache' / 'made.npy', np.zeros(3))
    shutil.copytree(log.folder, tmp_path / 'copy', copy_function=shutil.copy)
    LogWatch(BehaviourLog(tmp_path / 'copy')).require_same(identity)
    LogWatch(log).require_same({})  # a checkpoint of before


def test_other_content_is_named_at_the_next_start(log):
    identity = LogWatch(log).check()
    path = log.folder / 'events' / 'item.npy'
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    rewrite(path)
    os.utime(path, ns=times)
    message = rf'{path} has other content than when the checkpoint was written\. Put the log back'
    with pytest.raises(ValueError, match=message):
        LogWatch(log).require_same(identity)


def test_another_log_is_told_by_its_fingerprint(log):
    other = LogWatch(log).check() | {'fingerprint': '0123456789abcdef'}
    message = rf'{log.folder} is another log than .* \(fingerprint \w{{12}} instead of 0123456789ab\)'
    with pytest.raises(ValueError, match=message):
        LogWatch(log).require_same(other)


def test_a_model_is_used_on_its_own_log_or_on_one_of_the_same_names(log):
    saved = LogWatch(log).check()
    assert 'names' not in saved
    rewrite(log.folder / 'events' / 'item.npy')
    require_same_log(saved, log)  # what was rewritten is told at the next training
    require_same_log({}, log)
    log.manifest['fingerprint'] = '0123456789abcdef'
    message = r'is another log than .* \(fingerprint 0123456789ab instead of \w{12}\)\. Put back the files'
    with pytest.raises(ValueError, match=message):
        require_same_log(saved, log)
    log.manifest['names'] = {'entities': ['person', 'ball']}
    with pytest.raises(ValueError, match=message):
        require_same_log(saved, log)
    named = LogWatch(log).check() | {'fingerprint': 'of fewer scenes'}
    require_same_log(named, log)
    log.manifest['names'] = {'entities': ['ball', 'person']}
    with pytest.raises(ValueError, match=r'is another log than .* instead of of fewer sce'):
        require_same_log(named, log)


@pytest.mark.parametrize('size', [0, 1, 12, 13, 100])
def test_blocks_are_spread_from_the_first_byte_to_the_last(tmp_path, monkeypatch, size):
    monkeypatch.setattr(watching, 'BLOCK', 4)
    monkeypatch.setattr(watching, 'BLOCKS', 3)
    path, held = tmp_path / 'a', np.random.default_rng(size).bytes(size)
    path.write_bytes(held)
    before, found = sampled_checksum(path), set()
    for place in range(size):
        path.write_bytes(held[:place] + bytes([held[place] ^ 1]) + held[place + 1 :])
        if sampled_checksum(path) != before:
            found.add(place)
    middle = (size - 4) // 2
    sampled = {*range(4), *range(middle, middle + 4), *range(size - 4, size)}
    assert found == (set(range(size)) if size <= 12 else sampled)
