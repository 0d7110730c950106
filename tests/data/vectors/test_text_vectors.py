"""Vectors of texts: against the formula, for new texts, from files, and what is refused."""

import sys

import numpy as np
import pytest

from jaxrec.data.logs.array_files import save_arrays
from jaxrec.data.vectors.text_vectors import KIND, VERSION, TextVectors, fit_text_vectors

TEXTS = [
    'red nail lacquer', 'Red nail polish', 'red red lipstick', 'dry skin cream', 'cream for dry skin',
    'hair cream', 'nail polish 5', 'shampoo for dry hair', '', 'hair shampoo 5',
]  # fmt: skip


def slow_weights(fitted, texts):
    """1 + log(count), times idf, of length one."""
    out = np.zeros((len(texts), len(fitted.terms)))
    for row, text in zip(out, texts, strict=True):
        words = text.lower().split()
        for t, term in enumerate(fitted.terms):
            if term in words:
                row[t] = (1 + np.log(words.count(term))) * fitted.idf[t]
        row /= np.linalg.norm(row) or 1
    return out


def test_vectors_are_the_formula_and_the_best_of_their_width():
    fitted = fit_text_vectors(TEXTS, 4)
    assert ' '.join(fitted.terms) == '5 cream dry for hair nail polish red shampoo skin'
    counts = [sum(term in text.lower().split() for text in TEXTS) for term in fitted.terms]
    np.testing.assert_allclose(fitted.idf, np.log((1 + len(TEXTS)) / (1 + np.array(counts))) + 1, rtol=1e-6)
    weights = slow_weights(fitted, TEXTS)
    got = fitted.transform(TEXTS)
    np.testing.assert_allclose(got, weights @ fitted.components.T, rtol=1e-5, atol=1e-6)
    assert got.dtype == np.float32 and not got[8].any()
    left = np.square(weights).sum() - np.square(got).sum()
    assert left == pytest.approx(np.square(np.linalg.svd(weights)[1][4:]).sum(), rel=1e-4)


def test_like_texts_lie_near_and_new_ones_in_the_same_space():
    fitted = fit_text_vectors(TEXTS, 4)
    old, new = fitted.transform(TEXTS), fitted.transform(['nail polish red unheard', 'unheard of'])
    assert np.linalg.norm(new[0] - old, axis=1).argmin() == 1 and not new[1].any()
    np.testing.assert_array_equal(old[3], fitted.transform(TEXTS[3:4])[0])


def test_the_most_frequent_terms_stay():
    kept = fit_text_vectors(TEXTS, 1, terms=2).terms
    assert len(kept) == 2 and 'red' in kept  # four times, the others three at most
    assert 'lipstick' in fit_text_vectors(TEXTS, 2, least=1).terms


def test_a_file_brings_the_same_vectors_back(tmp_path):
    fitted = fit_text_vectors([*TEXTS, 'crème crème', 'crème'], 4)
    fitted.save(tmp_path / 'text.npz')
    loaded = TextVectors.load(tmp_path / 'text.npz')
    assert 'crème' in loaded.terms
    np.testing.assert_array_equal(loaded.transform(TEXTS), fitted.transform(TEXTS))


def test_vectors_are_no_wider_than_there_are_texts_or_terms():
    assert fit_text_vectors(TEXTS, 300).transform(TEXTS).shape == (len(TEXTS), 10)
    few = ['red nail', 'red nail', 'nail red red'] * 5
    assert fit_text_vectors(few, 128).transform(few).shape == (15, 2)


ARRAYS = {'terms': np.array(['a', 'b']), 'idf': np.ones(2), 'components': np.ones((3, 2))}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'idf': np.ones(3)}, r'\(3,\) idf, .*take them from `fit_text_vectors`'),
        ({'components': np.ones((2, 3))}, r'\(2, 3\) components'),
        ({'terms': np.array(['b', 'a'])}, 'not distinct and ascending: fit them again'),
        ({'terms': np.array(['a', 'a'])}, 'not distinct and ascending'),
        ({'idf': np.array([1, np.nan])}, 'numbers that are not finite: fit them again'),
        ({'terms': np.arange(2)}, "holds int64 .* as 'terms', .*fit the text vectors again"),
    ],
)
def test_files_of_no_text_vectors_are_refused(tmp_path, change, message):
    save_arrays(tmp_path / 'text.npz', KIND, VERSION, ARRAYS | change)
    with pytest.raises(ValueError, match=message):
        TextVectors.load(tmp_path / 'text.npz')


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: fit_text_vectors(TEXTS, 0), 'width 0 of 10 texts with 10 terms .*: give a width of at le'),
        (lambda: fit_text_vectors(TEXTS, 1, terms=1), 'with 1 terms that occur in 2 of them: give'),
        (lambda: fit_text_vectors(['one', 'two'], 1), '2 texts have no term that occurs in 2 of them'),
        (lambda: fit_text_vectors(['', ''], 1), 'lower `least`, or give texts of words'),
        (lambda: fit_text_vectors([], 1), '0 texts have no term'),
        (lambda: fit_text_vectors('red nail', 1), 'texts must be a sequence of strings'),
        (lambda: fit_text_vectors(TEXTS, 2).transform(['red', None]), 'the empty one where there is none'),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn.feature_extraction.text', None)
    with pytest.raises(ValueError, match=r"pip install 'jaxrec\[text\]', or bring vectors as an \.npy file"):
        fit_text_vectors(TEXTS, 2)
