"""Item vectors for semantic IDs: from a file, or from behaviour.

Vectors of texts are in `jaxrec.data.vectors.text_vectors`, those of content and behaviour together in
`jaxrec.data.vectors.aligned_vectors`. Row v of every matrix is the same item.

V items, N interactions, D width.
"""

import collections
import mmap
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.logs.columns import begins
from jaxrec.ops.kmeans import blocks

BLOCK = 1 << 14  # vectors that are read at a time
# Read before their pages are given back: each may bring hundreds of kilobytes of its neighbours with it.
SCATTERED = 1 << 10


class VectorFile:
    """Vectors [V, D] in an `.npy` file, read through a memory map that is open only while rows are copied.

    The pages of a map that stays open count as memory of the process; these are given back after every read, so that
    memory is that of the rows that are read, whatever the file's size. It pickles as its path.

    Attributes:
      path: of the file.
      shape: (V, D).
      dtype: of the numbers in the file.
    """

    def __init__(self, path: str | Path, check: bool = True):
        """Opens a file and checks its header and size.

        Args:
          path: of the `.npy` file: a C-ordered matrix of float16, float32 or float64.
          check: read the whole file once, to check that all numbers are finite.

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
                f'{self.path} has {self.path.stat().st_size} bytes instead of {end}, it was appended to: save it again'
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
            collections.deque(blocks(self, BLOCK), maxlen=0)
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
    """Factorises which items are near each other in users' histories: float32 [V, D], zeros for items near no other.

    Pairs at most `window` interactions apart are counted both ways, an item with itself not. The counts become positive
    pointwise mutual information, max(0, log(n_ij n / (n_i n_j))), and its largest singular values and left vectors the
    item vectors U S^(1/2). Give it training interactions alone, because the vectors reveal all that they are computed
    from.

    Args:
      users: int [N], grouped by user.
      items: int [N], rows of items, from 0, each user's in order of time.
      rows: V.
      width: D, below V.
      window: at least 1.
      seed: of the start of the iteration.

    Raises:
      ValueError: users that are not grouped, items beyond the rows, or nothing to factorise.
    """
    counts = _co_occurrences(users, items, rows, window)
    if not 1 <= width < rows or not counts.nnz:
        raise ValueError(
            f'{counts.nnz} pairs of {rows} items for vectors of width {width}: give users with at least two '
            f'different items, and a width of behaviour from 1 to below {rows}, or 0 to do without'
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
    starts = np.flatnonzero(begins(users))
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
