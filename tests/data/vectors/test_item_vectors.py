"""Item vectors: files in pieces, co-occurrences against a loop."""

import pathlib
import pickle

import numpy as np
import pytest

from jaxrec.data.vectors import item_vectors
from jaxrec.data.vectors.item_vectors import VectorFile, behaviour_vectors

USERS = np.array([4, 4, 4, 4, 1, 1, 7, 9, 9, 9])
ITEMS = np.array([0, 1, 2, 0, 1, 2, 5, 3, 4, 3])


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def slow_information(users, items, rows, window):
    """Positive pointwise mutual information [V, V], pair by pair."""
    counts = np.zeros((rows, rows))
    for i in range(len(items)):
        for j in range(len(items)):
            if 0 < abs(i - j) <= window and users[i] == users[j] and items[i] != items[j]:
                counts[items[i], items[j]] += 1
    out = np.zeros((rows, rows))
    for a, b in zip(*np.nonzero(counts), strict=True):
        out[a, b] = max(0, np.log(counts[a, b] * counts.sum() / counts[a].sum() / counts[b].sum()))
    return out


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
def test_a_file_is_read_in_pieces(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(item_vectors, 'BLOCK', 3)
    monkeypatch.setattr(item_vectors, 'SCATTERED', 2)
    vectors = drawn(10, 4).astype(dtype)
    np.save(tmp_path / 'v.npy', vectors)
    file = VectorFile(tmp_path / 'v.npy')
    assert (file.shape, len(file), file.dtype) == ((10, 4), 10, dtype)
    for index in (slice(None), slice(2, 7), slice(8, 99), np.array([0, 3, 9]), np.array([], int)):
        np.testing.assert_array_equal(file[index], vectors[index].astype(np.float32))
        assert type(file[index]) is np.ndarray and file[index].dtype == np.float32
    again = pickle.loads(pickle.dumps(file))
    np.testing.assert_array_equal(again[1:2], file[1:2])
    assert len(pickle.dumps(file)) < 300


@pytest.mark.skipif(not pathlib.Path('/proc/self/maps').exists(), reason='needs the maps of Linux')
def test_no_map_stays_open(tmp_path):
    np.save(tmp_path / 'v.npy', drawn(10, 4))
    file = VectorFile(tmp_path / 'v.npy')
    kept = file[3:5]
    with open('/proc/self/maps') as maps:
        assert 'v.npy' not in maps.read()
    assert kept.base is None


def spoilt(row):
    vectors = drawn(10, 4)
    vectors[row, 1] = np.nan
    return vectors


BROKEN = {
    'missing': (lambda path: None, r'v\.npy is missing: save the item vectors there'),
    'text': (lambda path: path.write_text('1,2'), r'v\.npy is no readable \.npy file .*: save'),
    'empty': (lambda path: path.write_bytes(b''), r'no readable \.npy file'),
    'objects': (lambda path: np.save(path, np.array([[{}]])), r'no readable \.npy file'),
    'archive': (lambda path: np.savez(path.open('wb'), a=np.ones(3)), r'v\.npy is no single \.npy array'),
    'integers': (lambda path: np.save(path, np.ones((2, 2), int)), r'holds int64 \[2, 2\] in C order: save a'),
    'one axis': (lambda path: np.save(path, np.ones(5)), r'holds float64 \[5\]'),
    'no width': (lambda path: np.save(path, np.ones((5, 0))), r'no readable|holds float64 \[5, 0\]'),
    'columns first': (lambda path: np.save(path, np.ones((3, 2)).T.copy('F')), r'Fortran order: save a matrix'),
    'NaN': (lambda path: np.save(path, spoilt(7)), r'v\.npy: vector 7 has numbers that are not finite'),
}


@pytest.mark.parametrize('name', BROKEN)
def test_broken_files_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(item_vectors, 'BLOCK', 3)
    damage, message = BROKEN[name]
    damage(tmp_path / 'v.npy')
    with pytest.raises(ValueError, match=message):
        VectorFile(tmp_path / 'v.npy')


@pytest.mark.parametrize(('cut', 'message'), [(-8, 'no readable'), (None, 'has 456 bytes instead of 448, it was')])
def test_cut_and_grown_files_are_refused(tmp_path, cut, message):
    path = tmp_path / 'v.npy'
    np.save(path, drawn(10, 4))
    path.write_bytes(path.read_bytes()[:cut] if cut else path.read_bytes() + bytes(8))
    with pytest.raises(ValueError, match=message):
        VectorFile(path)


def test_numbers_are_checked_on_request_alone(tmp_path):
    np.save(tmp_path / 'v.npy', spoilt(7))
    assert np.isnan(VectorFile(tmp_path / 'v.npy', check=False)[7:8]).any()


@pytest.mark.parametrize('window', [1, 2, 50])
def test_behaviour_is_the_factorised_information(window):
    rng = np.random.default_rng(1)
    users, items = np.sort(rng.integers(0, 9, 70)), rng.integers(0, 12, 70)
    want = slow_information(users, items, 14, window)  # two items occur never
    got = behaviour_vectors(users, items, 14, 5, window=window)
    assert got.shape == (14, 5) and got.dtype == np.float32 and not got[12:].any()
    left, values, _ = np.linalg.svd(want)
    low = (left[:, :5] * values[:5]) @ left[:, :5].T  # U S U^T, whatever the signs
    np.testing.assert_allclose(got @ got.T, low, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.square(got).sum(0), values[:5], rtol=1e-4)
    assert (got[np.abs(got).argmax(0), np.arange(5)] > 0).all()
    np.testing.assert_array_equal(got, behaviour_vectors(users, items, 14, 5, window=window))


def test_items_that_meet_nobody_are_zeros():
    got = behaviour_vectors(USERS, ITEMS, 8, 3)
    assert np.flatnonzero(~got.any(1)).tolist() == [5, 6, 7]  # alone in its history; never seen


def test_what_is_not_given_shows_nowhere():
    """Only training interactions go in: items that occur in held-out ones alone stay zeros."""
    train = np.array([True] * 7 + [False] * 3)
    got = behaviour_vectors(USERS[train], ITEMS[train], 8, 2)
    assert not got[3:5].any() and got[:3].any(1).all()


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: behaviour_vectors(USERS[::-1], ITEMS[:4], 8, 2), r'users \(10,\), items \(4,\), window 5'),
        (lambda: behaviour_vectors(USERS, ITEMS, 8, 2, window=0), 'a window of at least 1'),
        (lambda: behaviour_vectors(USERS % 4, ITEMS, 8, 2), 'are not together: sort them by user, then time'),
        (lambda: behaviour_vectors(USERS, ITEMS, 5, 2), r'items 0\.\.5 of 5 rows: number them from 0'),
        (lambda: behaviour_vectors(USERS, ITEMS, 8, 8), r'for vectors of width 8: give .* below 8'),
        (lambda: behaviour_vectors(USERS, ITEMS * 0, 8, 2), '0 pairs of 8 items'),
        (lambda: behaviour_vectors(USERS[:0], ITEMS[:0], 8, 2), '0 pairs of 8 items'),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
