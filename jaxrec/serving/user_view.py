"""One user's part of the User Behaviour Tree: category -> behaviours, newest first (SIM, section 3).

Behaviours are in time order, once; the tree is an order of their positions. A view never changes.

Letters: n behaviours of the user, G categories among them, m new behaviours, K behaviours kept of a category.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from jaxrec.data.logs.columns import offsets_of


@dataclasses.dataclass(frozen=True)
class UserView:
    """A user's behaviours and their tree.

    Attributes:
      columns: {column: [n]}, `item` and the event columns, oldest first; `time` among them if the log has it.
      order: int32 [n], positions by category, newest first within each.
      categories: int32 [G], ascending.
      starts: int64 [G + 1], category g is `order[starts[g]:starts[g + 1]]`.
    """

    columns: Mapping[str, np.ndarray]
    order: np.ndarray
    categories: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.order)

    def before(self, time: float | None) -> int:
        """How many behaviours are strictly earlier than a time; all of them for None, or without times."""
        if time is None or 'time' not in self.columns:
            return len(self)
        return int(np.searchsorted(self.columns['time'], time, 'left'))

    def recent(self, count: int, end: int | None = None) -> np.ndarray:
        """Positions of the latest `count` behaviours below `end` (None: all), int64 [<= count], newest first."""
        end = len(self) if end is None else end
        return np.arange(end - 1, max(end - count, 0) - 1, -1)

    def matching(self, category: int, count: int, start: int = 0, end: int | None = None) -> np.ndarray:
        """Positions in `[start, end)` of the latest K behaviours of a category, int32 [<= K], newest first."""
        place = int(np.searchsorted(self.categories, category))
        if place == len(self.categories) or self.categories[place] != category:
            return self.order[:0]
        branch = self.order[self.starts[place] : self.starts[place + 1]]
        end = len(self) if end is None else end
        if start <= 0 and end >= len(self):
            return branch[:count]
        ascending = branch[::-1]
        newest = len(branch) - int(np.searchsorted(ascending, end, 'left'))
        oldest = len(branch) - int(np.searchsorted(ascending, start, 'left'))
        return branch[newest : min(oldest, newest + count)]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(x.nbytes for x in (*self.columns.values(), self.order, self.categories, self.starts))

    def merged(self, events: Mapping[str, np.ndarray], categories: np.ndarray) -> 'UserView':
        """The view with more behaviours, each behind those of the same time, as if they came one by one.

        Args:
          events: {column: [m]}, all of `columns`, in the order they came in.
          categories: int32 [m], of these behaviours.
        """
        size, count = len(self), len(categories)
        if not count:
            return self
        place = np.full(count, size)  # how many of the old lie before each of the new, ascending
        if 'time' in self.columns:
            arrival = np.argsort(events['time'], kind='stable')
            events, categories = {name: events[name][arrival] for name in self.columns}, categories[arrival]
            place = np.searchsorted(self.columns['time'], events['time'], 'right')
        position = place + np.arange(count)
        columns = {name: _woven(column, position, events[name]) for name, column in self.columns.items()}
        newest = np.lexsort((-position, categories))
        order, ahead = self._opened(place, categories[newest], position[newest])
        order = _woven(order, ahead + np.arange(count), position[newest])
        union = np.union1d(self.categories, categories).astype(self.categories.dtype)
        lengths = np.bincount(np.searchsorted(union, categories), minlength=len(union))
        lengths[np.searchsorted(union, self.categories)] += np.diff(self.starts)
        return UserView(columns, order, union, offsets_of(lengths))

    def _opened(self, place: np.ndarray, categories: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The old order in new positions, and how much of it lies ahead of each new behaviour."""
        size = len(self)
        if place[0] == size:  # none of the old is later: a new one begins its branch
            return self.order, self.starts[np.searchsorted(self.categories, categories)]
        moved = np.arange(size) + np.cumsum(np.bincount(place, minlength=size + 1))[:size]
        order = moved.astype(self.order.dtype)[self.order]
        last = 2**31 - 1
        keys = np.repeat(self.categories.astype(np.int64), np.diff(self.starts)) << 32 | (last - order)
        return order, np.searchsorted(keys, categories.astype(np.int64) << 32 | (last - position))


def _woven(array: np.ndarray, places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """An array with values put in, which then stand at the given ascending places."""
    first, count = int(places[0]), len(places)
    longer = np.empty(len(array) + count, array.dtype)
    longer[:first] = array[:first]
    if places[-1] - first + 1 == count:  # side by side, as one event is and those that come in time order
        longer[first : first + count], longer[first + count :] = values, array[first:]
        return longer
    old = np.ones(len(longer) - first, bool)
    old[places - first] = False
    longer[first:][old], longer[places] = array[first:], values
    return longer
