"""Vectors of texts: weighted terms in few dimensions, so that items with similar words are near each other.

scikit-learn counts and factorises, and is imported only here (the extra `text`). The result is a few arrays, saved
without pickles; new texts get vectors in the space of the old ones.

V texts, T terms, D width.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.logs.array_files import Described, load_arrays, save_arrays

KIND, VERSION = 'jaxrec.text_vectors', 1
_ARRAYS: Described = {'terms': ('U', 1), 'idf': ('f', 1), 'components': ('f', 2)}


@dataclasses.dataclass(frozen=True, eq=False)
class TextVectors:
    """From texts to vectors: 1 + log of the counts of terms, times idf, of length one, projected.

    Attributes:
      terms: str [T], lower case, in ascending order.
      idf: float32 [T], inverse document frequencies.
      components: float32 [D, T], right singular vectors.
    """

    terms: np.ndarray
    idf: np.ndarray
    components: np.ndarray

    def __post_init__(self):
        """Checks that the arrays fit together."""
        if self.idf.shape != self.terms.shape or self.components.shape[1:] != self.terms.shape:
            raise ValueError(
                f'text vectors of {self.terms.shape} terms, {self.idf.shape} idf, {self.components.shape} '
                'components: take them from `fit_text_vectors`'
            )
        if (self.terms[1:] <= self.terms[:-1]).any():
            raise ValueError('terms of text vectors are not distinct and ascending: fit them again')
        if not (np.isfinite(self.idf).all() and np.isfinite(self.components).all()):
            raise ValueError('text vectors with numbers that are not finite: fit them again')

    def transform(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts, old or new: float32 [V, D]; zeros for a text without a known term."""
        weigher = _weigher(vocabulary=self.terms.tolist())
        weigher.idf_ = self.idf.astype(np.float64)
        return (weigher.transform(_checked(texts)) @ self.components.T.astype(np.float64)).astype(np.float32)

    def save(self, path: str | Path) -> None:
        """Writes the arrays to an `.npz` file."""
        save_arrays(path, KIND, VERSION, {name: getattr(self, name) for name in _ARRAYS})

    @classmethod
    def load(cls, path: str | Path) -> 'TextVectors':
        """Reads the arrays; a ValueError for a file that is missing, damaged, or of another kind or version."""
        return cls(**load_arrays(path, KIND, VERSION, _ARRAYS, 'fit the text vectors again'))


def fit_text_vectors(
    texts: Sequence[str], width: int, *, least: int = 2, terms: int = 50_000, seed: int = 0
) -> TextVectors:
    """Fits terms and their factors to texts (tf-idf and a truncated SVD, latent semantic analysis).

    Args:
      texts: V of them.
      width: D at most; no more than there are texts, or terms.
      least: texts that a term must occur in.
      terms: at most so many, the most frequent.
      seed: of the randomised SVD.

    Raises:
      ValueError: no texts, texts of fewer than two terms together, a width below 1, or no scikit-learn.
    """
    texts = _checked(texts)
    weigher = _weigher(min_df=least, max_features=terms)
    try:
        weighted = weigher.fit_transform(texts)
    except ValueError as error:
        raise ValueError(
            f'{len(texts)} texts have no term that occurs in {least} of them ({error}): lower `least`, or '
            'give texts of words'
        ) from None
    if weighted.shape[1] < 2 or width < 1:
        raise ValueError(
            f'width {width} of {weighted.shape[0]} texts with {weighted.shape[1]} terms that occur in '
            f'{least} of them: give a width of at least 1, and texts of at least two such terms'
        )
    from sklearn.decomposition import TruncatedSVD

    factors = TruncatedSVD(min(width, *weighted.shape), random_state=seed).fit(weighted)
    names = np.asarray(weigher.get_feature_names_out(), str)
    return TextVectors(names, weigher.idf_.astype(np.float32), factors.components_.astype(np.float32))


def _weigher(**options: Any) -> Any:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise ValueError(
            "vectors of texts need scikit-learn: pip install 'jaxrec[text]', or bring vectors as an .npy file"
        ) from error
    # Words of one character too: they name sizes and shades.
    return TfidfVectorizer(sublinear_tf=True, token_pattern=r'(?u)\b\w+\b', **options)


def _checked(texts: Sequence[str]) -> Sequence[str]:
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise ValueError('texts must be a sequence of strings, one an item; use the empty one where there is none')
    return texts
