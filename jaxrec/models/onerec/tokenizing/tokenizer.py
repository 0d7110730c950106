"""OneRec's tokenizer: residual k-means turns item vectors into codes (arXiv 2502.18965, section 4.1).

Level l clusters what the levels before it left: r_1 = e, s_l a cluster of r_l, r_{l+1} = r_l - c_{l, s_l}. An item has
two encodings. In training s_l is the cluster that k-means put the residual into; with balanced k-means all codes of a
level are equally frequent there. In the other s_l is the nearest centroid, the only one for a new item. How often they
differ is reported.

V items, D width, L levels, K clusters.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrec.data.logs.array_files import Described, load_arrays, save_arrays
from jaxrec.models.onerec.tokenizing.semantic_ids import code_keys
from jaxrec.ops.balanced_kmeans import balanced_kmeans, balanced_kmeans_streamed
from jaxrec.ops.kmeans import Clusters, Rows, blocks, first_centroids, nearest, plain_kmeans

BLOCK = 1 << 14  # vectors that are read at a time
KIND, VERSION = 'jaxrec.onerec.codebooks', 1
_ARRAYS: Described = {'centroids': ('f', 3)}
_REMEDY = 'fit the codebooks again'


@dataclasses.dataclass(frozen=True, eq=False)
class Codebooks:
    """The centroids of all levels; a ValueError refuses others than finite float32 [L, K, D]."""

    centroids: np.ndarray  # float32 [L, K, D]

    def __post_init__(self):
        array = self.centroids
        if array.dtype != np.float32 or array.ndim != 3 or not array.size or not np.isfinite(array).all():
            raise ValueError(f'centroids are {array.dtype} {array.shape}: give finite float32 [L, K, D]; {_REMEDY}')

    @property
    def levels(self) -> int:
        """L."""
        return self.centroids.shape[0]

    @property
    def clusters(self) -> int:
        """K."""
        return self.centroids.shape[1]

    def encode(self, vectors: Rows) -> np.ndarray:
        """Encodes items, known or new, by the nearest centroid of every level.

        Args:
          vectors: float [V, D], or a file of them.

        Returns:
          int32 [V, L].

        Raises:
          ValueError: another width, or numbers that are not finite.
        """
        codes = np.zeros((vectors.shape[0], self.levels), np.int32)
        for level in range(self.levels):
            codes[:, level], _ = nearest(Residuals(vectors, self, codes[:, :level]), self.centroids[level])
        return codes

    def last_codes(self, vector: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Orders the last level's codes, int64 [K], by the distance of their centroids to what the levels before leave.

        `vector` is float [D]; of the item's codes, int [L], the last is not read.
        """
        rest = vector.astype(np.float64) - self.decode(codes[None, :-1])[0]
        return np.argsort(np.square(self.centroids[-1] - rest).sum(1), kind='stable')

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Sums the centroids of codes int [V, l] of the first l levels, float32 [V, D]; a ValueError refuses others."""
        _check_codes(codes, self)
        total = np.zeros((len(codes), self.centroids.shape[2]), np.float32)
        for level, code in enumerate(codes.T):
            total += self.centroids[level][code]
        return total

    def save(self, path: str | Path) -> None:
        """Writes the codebooks to an `.npz` file."""
        save_arrays(path, KIND, VERSION, {'centroids': self.centroids})

    @classmethod
    def load(cls, path: str | Path) -> 'Codebooks':
        """Reads codebooks; a ValueError for a file that is missing, damaged, or of another kind or version."""
        found = load_arrays(path, KIND, VERSION, _ARRAYS, _REMEDY)
        try:
            return cls(found['centroids'])
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from None


class Residuals:
    """What the first levels leave of vectors, computed as it is read, without memory of its own; `shape` is (V, D)."""

    def __init__(self, vectors: Rows, codebooks: Codebooks, codes: np.ndarray):
        """Pairs vectors float [V, D], or a file of them, with codes int [V, l] of the levels that are subtracted.

        Raises:
          ValueError: other items, another width, more levels than there are, or codes out of range.
        """
        _check_codes(codes, codebooks)
        width = codebooks.centroids.shape[2]
        if tuple(vectors.shape) != (len(codes), width):
            raise ValueError(
                f'vectors {tuple(vectors.shape)} with codes {codes.shape} and centroids of width {width}: '
                'give vectors [V, D] of that width, and their own codes'
            )
        self.shape, self._vectors, self._codebooks, self._codes = (tuple(vectors.shape), vectors, codebooks, codes)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Returns the residuals of a slice or of integers, float32."""
        rest = np.array(self._vectors[index], np.float32)
        for centroids, code in zip(self._codebooks.centroids, self._codes[index].T, strict=False):
            rest -= centroids[code]
        return rest


class Fitted(NamedTuple):
    """What fitting found."""

    codebooks: Codebooks  # the centroids
    codes: np.ndarray  # int32 [V, L], the encoding of training
    passes: tuple[int, ...]  # over the items, of each level
    moved: tuple[int, ...]  # items that moved in the last pass of each level


def fit_codebooks(
    vectors: Rows, *, levels: int = 3, clusters: int = 8192, balanced: bool = True, shuffled: bool = False,
    passes: int = 30, tolerance: float = 1e-3, seed: int = 0, streamed: bool = False,
) -> Fitted:  # fmt: skip
    """Fits residual k-means level by level.

    Args:
      vectors: float [V, D], or a file of them.
      levels: L.
      clusters: K, at most V.
      balanced: Algorithm 1; otherwise plain k-means, whose two encodings are one.
      shuffled: visit the clusters of balanced k-means in a new order every pass instead of by index.
      passes: of each level, at most.
      tolerance: a level is done when at most this share of the items moved.
      seed: of first centroids and orders.
      streamed: read the vectors in blocks, pass by pass, instead of into memory; see `balanced_kmeans_streamed`. Plain
        k-means reads blocks of either.

    Raises:
      ValueError: no level, or what the k-means refuses.
    """
    if levels < 1:
        raise ValueError(f'{levels} levels: give at least 1')
    books = np.zeros((levels, clusters, vectors.shape[1] if len(vectors.shape) == 2 else 0), np.float32)
    codes = np.zeros((vectors.shape[0], levels), np.int32)
    made, moved = [], []
    for level in range(levels):
        rest: Rows = Residuals(vectors, Codebooks(books), codes[:, :level]) if level else vectors
        rest = rest if streamed else np.asarray(rest[:], np.float32)
        start = first_centroids(rest, clusters, (seed, level))
        limits: dict[str, Any] = {'passes': passes, 'tolerance': tolerance}
        if balanced:
            method: Any = balanced_kmeans_streamed if streamed else balanced_kmeans
            order_seed = (seed, level, 1) if shuffled else None
            found: Clusters = method(rest, start, order_seed=order_seed, **limits)
        else:
            found = plain_kmeans(rest, start, **limits)
        books[level], codes[:, level] = found.centroids, found.codes
        made.append(found.passes)
        moved.append(found.moved)
    return Fitted(Codebooks(books), codes, tuple(made), tuple(moved))


class LevelReport(NamedTuple):
    """Measures of the codes of a level."""

    mse: float  # mean over items and columns of the squared residual that the levels up to this one leave
    load: float  # items of the most frequent code, in units of V / K
    utilisation: float  # share of the codes that any item has
    entropy: float  # of the codes' frequencies, in nats; at most log K
    collision_rate: float  # 1 - distinct codes / V, of the levels up to this one
    largest_group: int  # items that share their codes up to this level, at most
    agreement: float  # share of the items whose codes up to this level are the same in both encodings


def report(vectors: Rows, codebooks: Codebooks, codes: np.ndarray, other: np.ndarray) -> list[LevelReport]:
    """Measures an encoding int [V, L] of vectors level by level; `other` is the other encoding, for `agreement`.

    Raises:
      ValueError: no items, or codes that do not fit the vectors or each other.
    """
    if not len(codes) or codes.shape != other.shape or codes.shape[1] != codebooks.levels:
        raise ValueError(
            f'codes {codes.shape} and {other.shape} of {codebooks.levels} levels: give two encodings [V, L] '
            'of the same items, of at least one'
        )
    found = []
    for level in range(codebooks.levels):
        upto = codes[:, : level + 1]
        squares = sum(
            float(np.square(block, dtype=np.float64).sum())
            for _, block in blocks(Residuals(vectors, codebooks, upto), BLOCK)
        )
        mse, agreement = squares / (vectors.shape[0] * vectors.shape[1]), (upto == other[:, : level + 1]).all(1).mean()
        of_codes = frequencies(codes[:, level], codebooks.clusters), collisions(upto, codebooks.clusters)
        found.append(LevelReport(mse, *of_codes[0], *of_codes[1], float(agreement)))
    return found


def frequencies(codes: np.ndarray, clusters: int) -> tuple[float, float, float]:
    """Load, utilisation and entropy, as in `LevelReport`, of codes int [V] of one level, V at least 1."""
    counts = np.bincount(codes, minlength=clusters)
    share = counts[counts > 0] / len(codes)
    return (float(counts.max() * clusters / len(codes)), float((counts > 0).mean()), float(-share @ np.log(share)))


def collisions(codes: np.ndarray, clusters: int) -> tuple[float, int]:
    """1 - distinct codes / V, and the largest group, of codes int [V, l]; a ValueError for codes out of range."""
    _, counts = np.unique(code_keys(codes, clusters), return_counts=True)
    return 1 - len(counts) / len(codes), int(counts.max())


def _check_codes(codes: np.ndarray, codebooks: Codebooks) -> None:
    levels, clusters = codebooks.levels, codebooks.clusters
    if codes.ndim != 2 or codes.shape[1] > levels:
        raise ValueError(f'codes of shape {codes.shape}: give [V, l] of at most {levels} levels')
    if codes.size and not (codes.min() >= 0 and codes.max() < clusters):
        raise ValueError(f'codes {codes.min()}..{codes.max()}: each level has {clusters}, from 0')
