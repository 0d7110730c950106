"""The unseen-pair slice against sets of tuples."""

import numpy as np
import pytest

from jaxrec.evaluation.slices import pair_keys, unseen_pairs


def batch(rng, size=20, items=30, slots=4):
    """One batch whose unused slots hold ids too, which must not count."""
    return {
        'candidate/item': rng.integers(2, items, (size, 1)).astype(np.int32),
        'history/item': rng.integers(2, items, (size, slots)).astype(np.int32),
        'history/length': rng.integers(0, slots + 1, size).astype(np.int32),
        'valid': (rng.random((size, 1)) < 0.8).astype(np.float32),
    }


def pairs_of(batch):
    """One set of (candidate, behaviour) a valid example."""
    for row in np.flatnonzero(batch['valid'][:, 0]):
        history = batch['history/item'][row, : batch['history/length'][row]]
        yield {(int(batch['candidate/item'][row, 0]), int(behaviour)) for behaviour in history}


@pytest.mark.parametrize('train_batches', [1, 5, 150])  # 150 merges what it has seen twice on the way
def test_marks_equal_those_of_sets(train_batches):
    rng = np.random.default_rng(0)
    train = [batch(rng, size=8 if train_batches == 150 else 20, items=60) for _ in range(train_batches)]
    test = [batch(rng, items=60) for _ in range(4)]
    seen = set().union(*(pairs for each in train for pairs in pairs_of(each)))
    expected = [bool(pairs) and not pairs & seen for each in test for pairs in pairs_of(each)]
    marks = unseen_pairs(iter(train), iter(test))
    assert marks.dtype == bool and marks.tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_keys_tell_candidate_from_behaviour():
    largest = np.iinfo(np.int32).max
    keys, real = pair_keys(
        {
            'candidate/item': np.asarray([[2], [3], [largest]], np.int32),
            'history/item': np.asarray([[3, 0], [2, 0], [largest, 0]], np.int32),
            'history/length': np.asarray([1, 1, 1], np.int32),
            'valid': np.ones((3, 1), np.float32),
        },
        'item',
    )
    assert real.tolist() == [[True, False]] * 3
    assert len(set(keys[:, 0].tolist())) == 3 and (keys >= 0).all()


def test_another_column_may_be_compared():
    rng = np.random.default_rng(1)
    renamed = {key.replace('item', 'category'): value for key, value in batch(rng, items=4).items()}
    assert not unseen_pairs([renamed], [renamed], column='category').any()


def test_without_training_batches_nothing_can_be_said():
    with pytest.raises(ValueError, match=r'no training batch was given.*would count as unseen'):
        unseen_pairs([], [batch(np.random.default_rng(0))])
