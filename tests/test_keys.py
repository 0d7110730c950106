"""Distinct keys against numpy, merged in many pieces; pairs of ids as keys."""

import numpy as np
import pytest

from jaxrec import keys
from jaxrec.keys import DistinctKeys, join_ids


@pytest.mark.parametrize('counted', [False, True])
def test_distinct_keys_are_numpy_s(counted, monkeypatch):
    monkeypatch.setattr(keys, 'CHUNK', 50)
    rng, distinct = np.random.default_rng(0), DistinctKeys(counted)
    pieces = [rng.integers(0, 300, rng.integers(0, 40)).astype(np.uint64) for _ in range(60)]
    for piece in pieces:
        before = piece.copy()
        distinct.add(piece)
        np.testing.assert_array_equal(piece, before)
    want, counts = np.unique(np.concatenate(pieces), return_counts=True)
    np.testing.assert_array_equal(distinct.result(), want)
    if counted:
        np.testing.assert_array_equal(distinct.result(4), want[counts >= 4])
    assert not len(DistinctKeys(counted).result())


def test_a_key_tells_the_sides_apart_and_stays_positive():
    largest = np.iinfo(np.int32).max
    ids = np.asarray([2, 3, largest], np.int32)
    made = join_ids(ids[:, None], ids)
    assert made.dtype == np.int64 and made.shape == (3, 3) and (made > 0).all()
    assert len(np.unique(made)) == 9 and made[0, 1] != made[1, 0]
