"""What a search finds, against loops over sets."""

import numpy as np
import pytest

from jaxrec.evaluation.searches import Means, kept_slots, ratio, share_found


def kept(rng, shape, keep, size):
    """Distinct positions, the real ones first; what stands behind them must not count."""
    length = rng.integers(0, min(keep, size) + 1, shape)
    length.flat[0] = 0
    index = np.zeros((*shape, keep), np.int32)
    for at in np.ndindex(shape):
        index[at][: length[at]] = rng.permutation(size)[: length[at]]
    return index, length.astype(np.int32)


@pytest.mark.parametrize(('keep', 'size'), [(3, 8), (6, 4), (1, 1)])
def test_shares_are_those_of_sets(keep, size):
    rng = np.random.default_rng(keep)
    index, length = kept(rng, (20, 2), keep, size)
    wanted = rng.random((20, 2, size)) < 0.4
    marks = kept_slots(index, length, size)
    found = share_found(wanted, marks)
    for at in np.ndindex(20, 2):
        ours, theirs = set(index[at][: length[at]].tolist()), set(np.flatnonzero(wanted[at]).tolist())
        assert set(np.flatnonzero(marks[at]).tolist()) == ours
        if theirs:
            assert found[at] == pytest.approx(len(ours & theirs) / len(theirs))
        else:
            assert np.isnan(found[at])


def test_a_history_without_slots_has_nothing():
    assert kept_slots(np.zeros((2, 1, 3), np.int32), np.zeros((2, 1), np.int32), 0).shape == (2, 1, 0)
    assert np.isnan(share_found(np.zeros((2, 1, 0), bool), np.zeros((2, 1, 0), bool))).all()


def test_a_position_outside_the_history_is_refused():
    with pytest.raises(ValueError, match='position 5 was kept of a history of 5; positions count from 0'):
        kept_slots(np.asarray([[4, 5]]), np.asarray([2]), 5)
    assert kept_slots(np.asarray([[4, 5]]), np.asarray([1]), 5).sum() == 1  # behind the length nothing counts


def test_ratio_of_nothing_is_undefined():
    np.testing.assert_array_equal(ratio([1, 0, 0], [4, 2, 0]), [0.25, 0.0, np.nan])
    np.testing.assert_array_equal(ratio([[1], [2]], [2, 4]), [[0.5, 0.25], [1.0, 0.5]])


def test_means_merge_and_leave_out_what_is_undefined():
    rng = np.random.default_rng(0)
    values = rng.random((6, 5, 1))
    values[rng.random(values.shape) < 0.3] = np.nan
    valid = rng.random((6, 5, 1)) < 0.7
    parts = [Means() for _ in range(3)]
    for at in range(6):
        parts[at % 3].add({'a': values[at], 'b': values[at] * np.nan}, valid[at])
    parts[0].add({'c': np.ones((1, 1))}, np.ones((1, 1), bool))
    together = parts[0].merge(parts[1]).merge(parts[2]).compute()
    assert together == {'a': pytest.approx(np.nanmean(values[valid])), 'c': 1.0}
    assert parts[1].compute().keys() == {'a'}  # merging changes neither
    assert Means().compute() == {}


def test_means_want_one_value_an_example():
    with pytest.raises(ValueError, match=r"'a' has shape \(3,\), valid \(3, 1\); one value an example"):
        Means().add({'a': np.ones(3)}, np.ones((3, 1), bool))
