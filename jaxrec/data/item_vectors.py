"""Item vectors that semantic IDs are made of: from a file, from behaviour, or content and behaviour aligned.

Row v of every matrix is the same item. Vectors of texts are made in `jaxrec.data.text_vectors`.

V items, N interactions, D width, C width of content, B width of behaviour.
"""

import dataclasses
import mmap
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.array_files import Described, load_arrays, save_arrays
from jaxrec.ops.kmeans import blocks

BLOCK = 1 << 14  # vectors that are read at a time
# Read before their pages are given back: each may bring hundreds of kilobytes of its neighbours with it.
SCATTERED = 1 << 10
KIND, VERSION = 'jaxrec.alignment', 1
_ARRAYS: Described = {
    'content_mean': ('f', 1), 'behaviour_mean': ('f', 1), 'scales': ('f', 1), 'weights': ('f', 2),
}  # fmt: skip


class VectorFile:
    """Vectors [V, D] in an `.npy` file, read through a memory map that is open only while rows are copied.

    The pages of a map that stays open count as memory of the process; these are given back after every read,
    so that a file of any size takes as much as the rows that are asked for. It pickles as its path.

    Attributes:
      path: of the file.
      shape: (V, D).
      dtype: of the numbers in the file.
    """

    def __init__(self, path: str | Path, check: bool = True):
        """Opens a file and checks its header and size.

        Args:
          path: of the `.npy` file: a C-ordered matrix of float16, float32 or float64.
          check: read the whole file once, to see that all numbers are finite.

        Raises:
          ValueError: a file that is missing, damaged, or no such matrix.
        """
        self.path = Path(path)
        mapped = self._map()
        self.shape, self.dtype = mapped.shape, mapped.dtype
        if mapped.ndim != 2 or self.dtype.kind != 'f' or not all(self.shape) or not mapped.flags.c_contiguous:
            order = 'C' if mapped.flags.c_contiguous else 'Fortran'
            raise ValueError(
                f'{self.path} holds {self.dtype} {list(self.shape)} in {order} order: save a matrix of '
                'float16, float32 or float64, a row an item, as np.save(path, np.ascontiguousarray(vectors))'
            )
        end = mapped.offset + mapped.nbytes
        if self.path.stat().st_size != end:
            raise ValueError(
                f'{self.path} has {self.path.stat().st_size} bytes instead of {end}, it was appended to: '
                'save it again'
            )
        del mapped
        if check:
            self._check_numbers()

    def _map(self) -> np.memmap:
        try:
            mapped = np.load(self.path, mmap_mode='r')
        except FileNotFoundError:
            raise ValueError(f'{self.path} is missing: save the item vectors there with np.save') from None
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(
                f'{self.path} is no readable .npy file ({error}): save the item vectors again with np.save'
            ) from None
        if not isinstance(mapped, np.memmap):
            raise ValueError(f'{self.path} is no single .npy array: save one matrix with np.save')
        return mapped

    def _check_numbers(self) -> None:
        try:
            for _ in blocks(self, BLOCK):
                pass
        except ValueError as error:
            raise ValueError(f'{self.path}: {error}') from None

    def __len__(self) -> int:
        """V."""
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """The rows of a slice or of integers, as float32 in memory."""
        mapped = self._map()
        if isinstance(index, slice) or np.ndim(index) == 0:
            return np.array(mapped[index], np.float32)
        index, map_of_rows = np.asarray(index), mapped.base
        found = np.empty((len(index), self.shape[1]), np.float32)
        assert isinstance(map_of_rows, mmap.mmap)
        for first in range(0, len(index), SCATTERED):
            found[first : first + SCATTERED] = mapped[index[first : first + SCATTERED]]
            map_of_rows.madvise(mmap.MADV_DONTNEED)
        return found

    def __reduce__(self):
        return VectorFile, (str(self.path), False)


def behaviour_vectors(
    users: np.ndarray, items: np.ndarray, rows: int, width: int, *, window: int = 5, seed: int = 0
) -> np.ndarray:
    """Factorises which items stand near each other in users' histories.

    Pairs at most `window` interactions apart are counted both ways, an item with itself not. The counts
    become positive pointwise mutual information, max(0, log(n_ij n / (n_i n_j))), and its largest singular
    values and left vectors the item vectors U S^(1/2). Give it training interactions alone: whatever it is
    given shows in the vectors.

    Args:
      users: int [N], grouped by user.
      items: int [N], rows of items, from 0, each user's in order of time.
      rows: V.
      width: D, below V.
      window: at least 1.
      seed: where the iteration starts from.

    Returns:
      float32 [V, D]; zeros for items that stand near no other.

    Raises:
      ValueError: users that are not grouped, items beyond the rows, or nothing to factorise.
    """
    counts = _co_occurrences(users, items, rows, window)
    if not 1 <= width < rows or not counts.nnz:
        raise ValueError(
            f'{counts.nnz} pairs of {rows} items for vectors of width {width}: give users with at least two '
            f'different items, and a width from 1 to below {rows}'
        )
    import scipy.sparse.linalg

    of_item = np.asarray(counts.sum(1)).ravel()
    counts = counts.tocoo()
    information = np.log(counts.data * of_item.sum() / (of_item[counts.row] * of_item[counts.col]))
    shape, at = counts.shape, (counts.row, counts.col)
    positive = scipy.sparse.csr_array((np.maximum(information, 0), at), shape)
    start = np.random.default_rng(seed).normal(size=rows)
    left, values, _ = scipy.sparse.linalg.svds(positive, k=width, v0=start)
    left, values = left[:, ::-1], values[::-1]  # the largest first
    sign = np.sign(left[np.abs(left).argmax(0), np.arange(width)])  # a vector and its negative are both right
    vectors = left * (sign * np.sqrt(np.maximum(values, 0)))
    return np.where(of_item[:, None] > 0, vectors, 0).astype(np.float32)


def _co_occurrences(users: np.ndarray, items: np.ndarray, rows: int, window: int) -> Any:
    """Symmetric sparse [V, V] of counts without a diagonal."""
    import scipy.sparse

    users, items = np.asarray(users), np.asarray(items)
    if users.ndim != 1 or users.shape != items.shape or window < 1:
        raise ValueError(
            f'users {users.shape}, items {items.shape}, window {window}: give one user and one item an '
            'interaction, and a window of at least 1'
        )
    starts = np.flatnonzero(np.append(True, users[1:] != users[:-1])) if len(users) else users
    if len(np.unique(users[starts])) != len(starts):
        raise ValueError('the interactions of a user are not together: sort them by user, then time')
    if len(items) and not (items.min() >= 0 and items.max() < rows):
        raise ValueError(
            f'items {items.min()}..{items.max()} of {rows} rows: number them from 0, in the order of the rows'
        )
    counts = scipy.sparse.csr_array((rows, rows))
    for apart in range(1, min(window, len(items) - 1) + 1):
        first, second = items[:-apart], items[apart:]
        pair = (users[:-apart] == users[apart:]) & (first != second)
        at = (np.concatenate([first[pair], second[pair]]), np.concatenate([second[pair], first[pair]]))
        counts = counts + scipy.sparse.csr_array((np.ones(len(at[0])), at), (rows, rows))
    return counts


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """How content and behaviour become one vector, and content alone where an item has no behaviour.

    Both are centred and scaled as wholes, so that each keeps its spectrum and weighs in distances what it was
    given; then they stand side by side. Behaviour that is not known is predicted from content by a ridge
    regression: a new item lies where items of its content lie.

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
        """Checks that the arrays fit together.

        Raises:
          ValueError: shapes that do not, or numbers that are not finite.
        """
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
        """Makes item vectors.

        Args:
          content: float [V, C].
          behaviour: float [V, B]; None for new items.
          known: bool [V], whose behaviour is used; None for all of them.

        Returns:
          float32 [V, C + B].

        Raises:
          ValueError: other widths than were fitted, or other items.
        """
        centred = _centred(content, self.content_mean, 'content')
        predicted = centred @ self.weights
        if behaviour is not None:
            own = _centred(behaviour, self.behaviour_mean, 'behaviour')
            _check_items(len(centred), len(own), known)
            predicted = own if known is None else np.where(known[:, None], own, predicted)
        joined = np.concatenate([centred * self.scales[0], predicted * self.scales[1]], 1)
        return joined.astype(np.float32)

    def save(self, path: str | Path) -> None:
        """Writes the alignment to an `.npz` file."""
        save_arrays(path, KIND, VERSION, {name: getattr(self, name) for name in _ARRAYS})

    @classmethod
    def load(cls, path: str | Path) -> 'Alignment':
        """Reads an alignment.

        Raises:
          ValueError: a file that is missing, damaged, or of another kind or version.
        """
        return cls(**load_arrays(path, KIND, VERSION, _ARRAYS, 'fit the alignment again'))


def fit_alignment(
    content: np.ndarray,
    behaviour: np.ndarray,
    known: np.ndarray | None = None,
    *,
    share: float = 0.5,
    ridge: float = 0.1,
) -> Alignment:
    """Fits how content and behaviour become one vector, on the items whose behaviour is known.

    Args:
      content: float [V, C].
      behaviour: float [V, B].
      known: bool [V]; None for the items whose behaviour is not all zeros, as `behaviour_vectors` has it.
      share: of the mean squared length of a vector that behaviour makes up.
      ridge: of the regression, in units of the mean variance of a column of content.

    Returns:
      The alignment.

    Raises:
      ValueError: other items on both sides, a share that is none, or vectors that do not vary.
    """
    of_known: np.ndarray = np.asarray(np.asarray(behaviour).any(1) if known is None else known)
    _check_items(len(content), len(behaviour), of_known)
    if not 0 < share < 1 or ridge <= 0:
        raise ValueError(f'share {share}, ridge {ridge}: a share above 0 and below 1, a ridge above 0')
    # Float64 sums: a mean over millions of items keeps its digits.
    both = [np.asarray(side, np.float64)[of_known] for side in (content, behaviour)]
    if not len(both[0]):
        raise ValueError('no item has known behaviour: give behaviour of some, or use the content alone')
    means = [side.mean(0) for side in both]
    x, y = (side - mean for side, mean in zip(both, means, strict=True))
    lengths = [np.square(side).sum(1).mean() for side in (x, y)]
    if not min(lengths) > 0:
        raise ValueError(f'mean squared lengths {lengths}: content and behaviour must both vary over items')
    penalty = ridge * lengths[0] / x.shape[1] * len(x)
    weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    scales = np.sqrt(np.array([1 - share, share]) / lengths)
    return Alignment(*(array.astype(np.float32) for array in (*means, scales, weights)))


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
