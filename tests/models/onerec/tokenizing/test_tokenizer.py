"""Residual codebooks: both encodings and every figure of the report against loops, streams, files."""

import numpy as np
import pytest

from jaxrec.data.logs.array_files import save_arrays
from jaxrec.data.vectors.item_vectors import VectorFile
from jaxrec.models.onerec.tokenizing import tokenizer
from jaxrec.models.onerec.tokenizing.semantic_ids import assign_ids
from jaxrec.ops.balanced_kmeans import quotas, visit_orders
from jaxrec.ops.kmeans import first_centroids
from tests.oracles import kmeans
from tests.oracles import semantic_ids as oracle

LEVELS, CLUSTERS, PASSES = 3, 6, 4


def drawn(items=40, width=4, seed=0):
    rng = np.random.default_rng(seed)
    centres = 3 * rng.normal(size=(5, width))
    return (centres[rng.integers(0, 5, items)] + rng.normal(size=(items, width))).astype(np.float32)


def fit(vectors, **more):
    options = {'levels': LEVELS, 'clusters': CLUSTERS, 'passes': PASSES, 'tolerance': 0.0, 'seed': 3}
    return tokenizer.fit_codebooks(vectors, **(options | more))


@pytest.mark.parametrize('kind', ['balanced', 'shuffled', 'plain'])
def test_every_level_clusters_what_is_left(kind):
    vectors = drawn()
    got = fit(vectors, balanced=kind != 'plain', shuffled=kind == 'shuffled')
    rest = vectors
    for level in range(LEVELS):
        start = first_centroids(rest, CLUSTERS, (3, level))
        if kind == 'plain':
            codes, centroids, made, moved = kmeans.plain(rest, start, PASSES)
        else:
            orders = visit_orders(CLUSTERS, PASSES, (3, level, 1) if kind == 'shuffled' else None)
            codes, centroids, made, moved = kmeans.balanced(rest, start, orders)
            np.testing.assert_array_equal(np.bincount(codes), quotas(len(vectors), CLUSTERS))
        np.testing.assert_array_equal(got.codes[:, level], codes)
        np.testing.assert_allclose(got.codebooks.centroids[level], centroids, rtol=1e-5, atol=1e-5)
        assert (got.passes[level], got.moved[level]) == (made, moved)
        rest = rest - got.codebooks.centroids[level][codes]
    np.testing.assert_allclose(vectors - got.codebooks.decode(got.codes), rest, rtol=1e-4, atol=1e-5)
    nearest = got.codebooks.encode(vectors)
    np.testing.assert_array_equal(nearest, oracle.encode(vectors, got.codebooks.centroids))
    assert (nearest == got.codes).all() == (kind == 'plain')


def test_streams_find_what_memory_finds(tmp_path):
    vectors = drawn()
    np.save(tmp_path / 'vectors.npy', vectors)
    file = VectorFile(tmp_path / 'vectors.npy')
    for balanced in (True, False):
        want, got = fit(vectors, balanced=balanced), fit(file, balanced=balanced, streamed=True)
        np.testing.assert_array_equal(got.codes, want.codes)
        np.testing.assert_allclose(got.codebooks.centroids, want.codebooks.centroids, rtol=1e-5, atol=1e-6)
        assert (got.passes, got.moved) == (want.passes, want.moved)
        np.testing.assert_array_equal(got.codebooks.encode(file), want.codebooks.encode(vectors))


def test_the_report_is_the_loop(monkeypatch):
    monkeypatch.setattr(tokenizer, 'BLOCK', 7)
    vectors = drawn()
    vectors[10:14] = vectors[3]
    fitted = fit(vectors)
    nearest = fitted.codebooks.encode(vectors)
    for codes, other in ((fitted.codes, nearest), (nearest, fitted.codes)):
        got = tokenizer.report(vectors, fitted.codebooks, codes, other)
        want = oracle.reports(vectors, fitted.codebooks.centroids, codes, other)
        assert len(got) == LEVELS
        for line, expected in zip(got, want, strict=True):
            assert line._asdict() == pytest.approx(expected, rel=1e-4)
    balanced = tokenizer.report(vectors, fitted.codebooks, fitted.codes, nearest)
    assert balanced[0].load == pytest.approx(7 / (40 / 6)) and balanced[0].utilisation == 1
    assert [line.mse for line in balanced] == sorted((line.mse for line in balanced), reverse=True)


def test_figures_of_hand_made_codes():
    load, utilisation, entropy = tokenizer.frequencies(np.array([0, 0, 0, 1]), 4)
    assert (load, utilisation) == (3.0, 0.5)
    assert entropy == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert tokenizer.frequencies(np.arange(8) % 4, 4) == (1.0, 1.0, pytest.approx(np.log(4)))
    codes = np.array([[0, 1], [0, 1], [0, 2], [1, 1], [0, 1]])
    assert tokenizer.collisions(codes, 3) == (pytest.approx(2 / 5), 3)
    assert tokenizer.collisions(codes[:, :1], 3) == (pytest.approx(3 / 5), 4)


def test_new_items_are_encoded_and_ranked_behind_the_old():
    vectors = drawn()
    codebooks = fit(vectors).codebooks
    made = assign_ids(codebooks.encode(vectors), CLUSTERS)
    new = np.concatenate([vectors[[4, 4]], drawn(3, seed=9)])
    grown = made.add(codebooks.encode(new))
    np.testing.assert_array_equal(grown.ids[: len(vectors)], made.ids)
    np.testing.assert_array_equal(grown.codes[len(vectors) :], oracle.encode(new, codebooks.centroids))
    size = int((made.codes == made.codes[4]).all(1).sum())
    assert grown.ids[len(vectors)].tolist() == [*made.codes[4], size]
    assert grown.find(grown.ids).tolist() == list(range(len(vectors) + 5))


def test_residuals_are_read_as_vectors_are():
    vectors = drawn()
    fitted = fit(vectors)
    rest = tokenizer.Residuals(vectors, fitted.codebooks, fitted.codes[:, :2])
    want = vectors - fitted.codebooks.decode(fitted.codes[:, :2])
    for index in (slice(3, 9), np.array([0, 5, 39]), slice(None)):
        np.testing.assert_allclose(rest[index], want[index], rtol=1e-5, atol=1e-5)
    assert rest.shape == vectors.shape and fitted.codebooks.decode(fitted.codes[:, :0]).sum() == 0


def test_a_file_brings_the_same_codebooks_back(tmp_path):
    codebooks = fit(drawn()).codebooks
    codebooks.save(tmp_path / 'codebooks.npz')
    loaded = tokenizer.Codebooks.load(tmp_path / 'codebooks.npz')
    np.testing.assert_array_equal(loaded.centroids, codebooks.centroids)
    assert (loaded.levels, loaded.clusters) == (LEVELS, CLUSTERS)


@pytest.mark.parametrize('centroids', [np.ones((2, 3)), np.full((1, 2, 3), np.nan), np.ones((0, 2, 3))])
def test_files_of_no_codebooks_are_refused(tmp_path, centroids):
    arrays = {'centroids': centroids.astype(np.float32)}
    save_arrays(tmp_path / 'codebooks.npz', tokenizer.KIND, tokenizer.VERSION, arrays)
    with pytest.raises(ValueError, match=r'codebooks\.npz.*fit the codebooks again'):
        tokenizer.Codebooks.load(tmp_path / 'codebooks.npz')


BOOKS = tokenizer.Codebooks(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
ONE = np.zeros((1, 2), np.int32)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: fit(drawn(), levels=0), '0 levels: give at least 1'),
        (lambda: fit(drawn(5)), '6 clusters of 5 vectors: give from 1 cluster to as many as vectors'),
        (lambda: fit(drawn()[0]), r'vectors of shape \(4,\): give a matrix'),
        (lambda: fit(drawn(), passes=0), '0 passes'),
        (lambda: fit(np.full((9, 2), np.nan)), 'vector 0 has numbers that are not finite'),
        (lambda: BOOKS.encode(drawn(3, width=5)), r'vectors \(3, 5\) .* width 4: give vectors \[V, D\]'),
        (lambda: BOOKS.decode(ONE + 3), r'codes 3\.\.3: each level has 3, from 0'),
        (lambda: BOOKS.decode(np.zeros((1, 3), int)), r'codes of shape \(1, 3\): .* at most 2 levels'),
        (lambda: tokenizer.Residuals(drawn(3), BOOKS, ONE), r'vectors \(3, 4\) with codes \(1, 2\)'),
        (lambda: tokenizer.Codebooks(np.ones((2, 3, 4))), r'float64 \(2, 3, 4\): give finite float32'),
        (lambda: tokenizer.report(drawn(1), BOOKS, ONE, ONE[:, :1]), r'\(1, 2\) and \(1, 1\) of 2 levels'),
        (lambda: tokenizer.report(drawn(0), BOOKS, ONE[:0], ONE[:0]), 'two encodings .*of at least one'),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
