"""The index and the scan of the hard search against a loop."""

import numpy as np
import pytest

from jaxrec.data.features import hard_search
from jaxrec.data.features.hard_search import group_positions, scan, search_index
from tests.data.worlds import small_log


def slow(users, values, user, value, low, high, keep):
    """Positions of one candidate, oldest first."""
    found = [p for p in range(low, high) if value and (users[p], values[p]) == (user, value)]
    return found[-keep:]


@pytest.fixture(scope='module')
def behaviours():
    """Users 2..7 of 0 to 60 behaviours, the last ones first in number, values 0..4 with one very common."""
    draw = np.random.default_rng(0)
    counts = [0, 1, 3, 17, 60, 44]
    users = np.repeat(np.arange(2, 8), counts).astype(np.int32)
    values = draw.choice([0, 1, 2, 3, 4], len(users), p=[0.1, 0.1, 0.5, 0.2, 0.1]).astype(np.int32)
    return users, values, np.concatenate([[0], np.cumsum(counts)])


@pytest.mark.parametrize('keep', [1, 5, 70])
def test_the_index_finds_what_a_loop_finds(behaviours, keep):
    users, values, offsets = behaviours
    draw = np.random.default_rng(1)
    who = draw.integers(0, 6, 200)
    high = draw.integers(offsets[who], offsets[who + 1] + 1)
    low = draw.integers(offsets[who], high + 1)
    wanted = draw.integers(0, 7, (200, 3)).astype(np.int32)  # 5 and 6 occur nowhere
    positions, length = group_positions(users, values).search((who + 2).astype(np.int32), wanted, low, high, keep)
    assert positions.shape == (200, 3, keep) and length.dtype == np.int32
    for b, c in np.ndindex(200, 3):
        expected = slow(users, values, who[b] + 2, wanted[b, c], low[b], high[b], keep)
        assert positions[b, c, : length[b, c]].tolist() == expected
    assert 0 < (length > 0).mean() < 1 and length.max() > min(keep, 10) - 1
    assert (positions >= 0).all() and (positions < len(users)).all()


@pytest.mark.parametrize('keep', [1, 5, 70])
def test_a_scan_finds_the_same(behaviours, keep):
    users, values, offsets = behaviours
    wanted = np.tile(np.arange(6, dtype=np.int32), (6, 1))
    history, present = np.full((6, 64), 2, np.int32), np.zeros((6, 64), bool)
    for b in range(6):
        history[b, : offsets[b + 1] - offsets[b]] = values[offsets[b] : offsets[b + 1]]
        present[b, : offsets[b + 1] - offsets[b]] = True
    slots, length = scan(history, present, wanted, keep)
    positions, length_of_index = group_positions(users, values).search(
        np.arange(2, 8, dtype=np.int32), wanted, offsets[:-1], offsets[1:], keep
    )
    np.testing.assert_array_equal(length, length_of_index)
    real = np.arange(keep) < length[..., None]
    np.testing.assert_array_equal((slots + offsets[:-1, None, None])[real], positions[real])
    assert not slots[~real].any()


def test_nothing_to_search():
    none = np.zeros(0, np.int32)
    bounds = np.zeros(1, np.int64)
    index = group_positions(none, none)
    positions, length = index.search(np.ones(1, np.int32), np.ones((1, 2), np.int32), bounds, bounds, 3)
    assert positions.shape == (1, 2, 3) and length.tolist() == [[0, 0]]


@pytest.mark.parametrize('column', ['item', 'category'])
def test_large_indices_are_kept_in_files(tmp_path, monkeypatch, column):
    log = small_log(tmp_path / 'log')
    positives = np.arange(0, len(log), 2)
    expected = search_index(log, column, positives)
    assert not (log.folder / 'cache').exists()
    monkeypatch.setattr(hard_search, 'IN_MEMORY_BYTES', 0)
    made = search_index(log, column, positives)
    monkeypatch.setattr(hard_search, 'group_positions', None)  # it is not made again
    for found in (made, search_index(log, column, positives)):
        for name in ('keys', 'starts', 'positions'):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert len(list((log.folder / 'cache').iterdir())) == 3
    with pytest.raises(TypeError):
        search_index(log, column, positives[1:])  # other positives, another index
