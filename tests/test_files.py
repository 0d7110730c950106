"""Files are replaced whole, and a full disk is known whatever library met it."""

import errno
import json

import pytest

from jaxrec import files


def test_a_text_is_replaced_whole(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps('old'))
    files.replace_text(path, json.dumps('new'))
    assert json.loads(path.read_text()) == 'new' and [p.name for p in tmp_path.iterdir()] == ['a.json']


@pytest.mark.parametrize(
    ('error', 'full'),
    [
        (OSError(errno.ENOSPC, 'No space left on device'), True),
        (OSError(errno.EFBIG, 'File too large'), True),
        (ValueError("OUT_OF_RANGE: Failed to write 9 bytes to file 3: File too large [os_error_code='27']"), True),
        (ValueError('RESOURCE_EXHAUSTED: Error writing: No space left on device'), True),
        (OSError(errno.EACCES, 'Permission denied'), False),
        (ValueError('another thing'), False),
    ],
)
def test_a_full_disk_is_known_by_what_the_system_calls_it(tmp_path, error, full):
    assert files.is_full(error) == full
    if full:
        message = str(files.no_room('checkpoint 3', tmp_path, error, 640_000_000))
        assert message.startswith('checkpoint 3 could not be written (')
        assert 'it takes about 640.0 MB and has ' in message and f'MB free in {tmp_path}. ' in message
        assert 'make room' in message
