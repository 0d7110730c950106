import numpy as np
import pytest

from jaxrec.data.logs.vocabulary import Vocabulary, hash64


def slow_splitmix(x: int) -> int:
    mask = 2**64 - 1
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
    return x ^ (x >> 31)


def slow_hash(value: int | str, seed: int) -> int:
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15
    start = slow_splitmix((seed + 1) * golden & mask)
    if isinstance(value, int):
        return slow_splitmix(slow_splitmix((value + golden) & mask) ^ start)
    state = start
    for letter in value:
        state = slow_splitmix((state * golden + ord(letter) + 1) & mask)
    return slow_splitmix(state ^ len(value))


@pytest.mark.parametrize('seed', [0, 7])
def test_hash_matches_python_integers(seed):
    numbers = [0, 1, -1, 2**62, -(2**63)]
    words = ['', 'a', 'ab', 'ba', 'Misérables', '\u4e2d\u6587']
    assert hash64(np.asarray(numbers), seed).tolist() == [slow_hash(n, seed) for n in numbers]
    assert hash64(np.asarray(words), seed).tolist() == [slow_hash(w, seed) for w in words]


def test_hash_ignores_the_width_of_the_array():
    np.testing.assert_array_equal(hash64(np.asarray(['a', 'bc'])), hash64(np.asarray(['a', 'bc'], 'U40')))
    np.testing.assert_array_equal(hash64(np.asarray([-3, 5], np.int8)), hash64(np.asarray([-3, 5])))


def test_hash_spreads_evenly():
    buckets = np.bincount(hash64(np.arange(64_000)) % np.uint64(64), minlength=64)
    chi_square = ((buckets - 1000) ** 2 / 1000).sum()
    assert 30 < chi_square < 110  # 63 degrees of freedom


@pytest.mark.parametrize('values', [np.asarray([5, -2, 5, 9, 5, 9]), np.asarray(['e', 'b', 'e', 'n', 'e', 'n'])])
def test_floor_and_round_trip(values):
    vocabulary = Vocabulary.build(values, min_count=2)
    ids = vocabulary.encode(values)
    assert ids.dtype == np.int32 and vocabulary.size == 4
    assert ids[1] == 1 and sorted(set(ids.tolist())) == [1, 2, 3]
    kept = ids > 1
    np.testing.assert_array_equal(vocabulary.decode(ids[kept]), values[kept])
    assert (vocabulary.dropped, vocabulary.out_of_vocabulary) == (1, 1)
    np.testing.assert_array_equal(vocabulary.counts, np.bincount(ids, minlength=4))


def test_ids_do_not_follow_value_order_or_frequency():
    values = np.repeat(np.arange(1000), np.arange(1000, 0, -1))
    ids = Vocabulary.build(values).encode(np.arange(1000))
    assert abs(np.corrcoef(ids, np.arange(1000))[0, 1]) < 0.1
    np.testing.assert_array_equal(Vocabulary.build(values[::-1]).encode(np.arange(1000)), ids)
    assert (Vocabulary.build(values, seed=1).encode(np.arange(1000)) != ids).any()


def test_unseen_values_are_out_of_vocabulary():
    vocabulary = Vocabulary.build(np.asarray(['a', 'b']))
    np.testing.assert_array_equal(vocabulary.encode(np.asarray(['a longer one', 'zz', 'A'])), [1, 1, 1])


def test_hashed_ids_lie_in_their_buckets():
    vocabulary = Vocabulary.hashed(10, seed=3)
    ids = vocabulary.encode(np.arange(1000))
    assert vocabulary.size == 12 and ids.min() == 2 and ids.max() == 11


@pytest.mark.parametrize(
    'make', [lambda: Vocabulary.build(np.asarray(['a', 'b', 'a'])), lambda: Vocabulary.hashed(5, 2)]
)
def test_saved_and_loaded(tmp_path, make):
    vocabulary = make()
    vocabulary.save(tmp_path, 'v')
    again = Vocabulary.load(tmp_path, 'v')
    values = np.asarray(['a', 'b', 'c'])
    np.testing.assert_array_equal(again.encode(values), vocabulary.encode(values))
    assert again.describe() == vocabulary.describe()
