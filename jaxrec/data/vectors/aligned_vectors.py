"""Item vectors of content and behaviour together, computed as they are read: content may be in a file.

V items (row v of every matrix is the same item), n items of a block, C width of content, B width of behaviour.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.logs.array_files import Described, load_arrays, save_arrays
from jaxrec.ops.kmeans import Rows, blocks

BLOCK = 1 << 14  # items that are read at a time
KIND, VERSION = 'jaxrec.alignment', 1
_ARRAYS: Described = {
    'content_mean': ('f', 1), 'behaviour_mean': ('f', 1), 'scales': ('f', 1), 'weights': ('f', 2),
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """How content and behaviour become one vector, and content alone where an item has no behaviour.

    Both are centred and scaled as wholes, so that each keeps its spectrum and has the given weight in distances; then
    they are concatenated. Unknown behaviour is predicted from content by a ridge regression: a new item lies where
    items of similar content lie.

    Attributes:
      content_mean: float32 [C].
      behaviour_mean: float32 [B].
      scales: float32 [2], of content and of behaviour.
      weights: float32 [C, B], from centred content to centred behaviour.
    """

    content_mean: np.ndarray
    behaviour_mean: np.ndarray
    scales: np.ndarray
    weights: np.ndarray

    def __post_init__(self):
        """Checks that the arrays fit together."""
        shape = (*self.content_mean.shape, *self.behaviour_mean.shape)
        arrays = [getattr(self, field.name) for field in dataclasses.fields(self)]
        if self.weights.shape != shape or self.scales.shape != (2,):
            raise ValueError(
                f'alignment of weights {self.weights.shape}, scales {self.scales.shape} between widths '
                f'{shape}: take them from `fit_alignment`'
            )
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError('alignment with numbers that are not finite: fit it again, on finite vectors')

    def join(
        self, content: np.ndarray, behaviour: np.ndarray | None = None, known: np.ndarray | None = None
    ) -> np.ndarray:
        """Computes item vectors, float32 [V, C + B]; a ValueError for other widths than were fitted, or other items.

        Args:
          content: float [V, C].
          behaviour: float [V, B]; None for new items.
          known: bool [V], whose behaviour is used; None for all of them.
        """
        centred = _centred(content, self.content_mean, 'content')
        if behaviour is None:
            own = centred @ self.weights
        else:
            own = _centred(behaviour, self.behaviour_mean, 'behaviour')
            _check_items(len(centred), len(own), known)
            if known is not None and not known.all():
                own[~known] = centred[~known] @ self.weights
        return np.concatenate([centred * self.scales[0], own * self.scales[1]], 1).astype(np.float32)

    def save(self, path: str | Path) -> None:
        """Writes the alignment to an `.npz` file."""
        save_arrays(path, KIND, VERSION, {name: getattr(self, name) for name in _ARRAYS})

    @classmethod
    def load(cls, path: str | Path) -> 'Alignment':
        """Reads an alignment; a ValueError for a file that is missing, damaged, or of another kind or version."""
        return cls(**load_arrays(path, KIND, VERSION, _ARRAYS, 'fit the alignment again'))


class AlignedVectors:
    """Vectors of content and behaviour, of `shape` (V, C + B), joined by an alignment as they are read."""

    def __init__(self, alignment: Alignment, content: Rows, behaviour: np.ndarray, known: np.ndarray):
        """Lines content up with behaviour; a ValueError for other items on both sides.

        Args:
          alignment: of vectors of these widths.
          content: float [V, C], or a file of them.
          behaviour: float [V, B].
          known: bool [V], whose behaviour is used.
        """
        _check_items(content.shape[0], len(behaviour), known)
        self.shape = (len(behaviour), sum(alignment.weights.shape))
        self._alignment, self._content, self._behaviour, self._known = alignment, content, behaviour, known

    def __getitem__(self, index: Any) -> np.ndarray:
        """The vectors of a slice or of integers, float32."""
        content = np.asarray(self._content[index], np.float32)
        return self._alignment.join(content, self._behaviour[index], self._known[index])


def fit_alignment(
    content: Rows, behaviour: np.ndarray, known: np.ndarray | None = None, *, share: float = 0.5, ridge: float = 0.1
) -> Alignment:
    """Fits how content and behaviour become one vector, on the items whose behaviour is known; content is read twice.

    Args:
      content: float [V, C], or a file of them.
      behaviour: float [V, B].
      known: bool [V]; None for the items whose behaviour is not all zeros, as `behaviour_vectors` has it.
      share: of the mean squared length of a vector that behaviour makes up.
      ridge: of the regression, in units of the mean variance of a column of content.

    Raises:
      ValueError: other items on both sides, a share that is none, or vectors that do not vary.
    """
    of_known: np.ndarray = np.asarray(np.asarray(behaviour).any(1) if known is None else known)
    _check_items(content.shape[0], len(behaviour), of_known)
    if not 0 < share < 1 or ridge <= 0:
        raise ValueError(f'share {share}, ridge {ridge}: a share above 0 and below 1, a ridge above 0')
    if not (count := int(of_known.sum())):
        raise ValueError('no item has known behaviour: give behaviour of some, or use the content alone')
    both = content, behaviour, of_known
    sums = [[side.sum(0) for side in block] for block in _known_blocks(*both)]
    means = [sum(side) / count for side in zip(*sums, strict=True)]
    wide, narrow = (len(mean) for mean in means)
    squares, across, lengths = np.zeros((wide, wide)), np.zeros((wide, narrow)), np.zeros(2)
    for x, y in _known_blocks(*both):
        x, y = x - means[0], y - means[1]
        squares += x.T @ x
        across += x.T @ y
        lengths += [np.square(side).sum(1).sum() / count for side in (x, y)]
    if not lengths.min() > 0:
        raise ValueError(f'mean squared lengths {lengths}: content and behaviour must both vary over items')
    penalty = ridge * lengths[0] / wide * count
    weights = np.linalg.solve(squares + penalty * np.eye(wide), across)
    scales = np.sqrt(np.array([1 - share, share]) / lengths)
    return Alignment(*(array.astype(np.float32) for array in (*means, scales, weights)))


def _known_blocks(content: Rows, behaviour: np.ndarray, known: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Both sides of the items whose behaviour is known, float64 [n, C] and [n, B]: sums keep their digits."""
    for first, block in blocks(content, BLOCK):
        place = slice(first, first + len(block))
        yield [np.asarray(side, np.float64)[known[place]] for side in (block, behaviour[place])]


def _centred(vectors: np.ndarray, mean: np.ndarray, side: str) -> np.ndarray:
    if np.ndim(vectors) != 2 or np.shape(vectors)[1] != len(mean):
        raise ValueError(
            f'{side} of shape {np.shape(vectors)}: the alignment was fitted to vectors of width {len(mean)}'
        )
    return np.asarray(vectors, np.float32) - mean


def _check_items(content: int, behaviour: int, known: np.ndarray | None) -> None:
    marked = (content,) if known is None else np.shape(known)
    if content != behaviour or marked != (content,):
        raise ValueError(
            f'content of {content} items, behaviour of {behaviour}, known {marked}: a row an item, '
            'the same items in all of them'
        )
