"""One user's part of the User Behaviour Tree: category -> behaviours, newest first (SIM, section 3).

Behaviours lie in time order, once; the tree is an order of their positions. Nothing is changed in place, so a
reader goes on with the view it holds while a new one with another event takes its place.

Letters: n behaviours of the user, G categories among them, m categories asked for, K behaviours kept of each.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


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
        """Positions of the latest behaviours.

        Args:
          count: how many at most.
          end: only those at positions below; None takes all.

        Returns:
          int64 [<= count], newest first.
        """
        end = len(self) if end is None else end
        return np.arange(end - 1, max(end - count, 0) - 1, -1)

    def matching(self, category: int, count: int, start: int = 0, end: int | None = None) -> np.ndarray:
        """Positions of the latest behaviours of a category.

        Args:
          category: its id.
          count: K, how many at most.
          start, end: only positions in `[start, end)`; None takes all.

        Returns:
          int32 [<= K], newest first.
        """
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

    def inserted(self, event: Mapping[str, Any], category: int) -> 'UserView':
        """The view with one more behaviour, behind those of the same time.

        Args:
          event: {column: value}, all of `columns`.
          category: of the behaviour.

        Returns:
          The new view.
        """
        size = len(self)
        late = 'time' not in self.columns or not size or self.columns['time'][-1] <= event['time']
        position = size if late else int(np.searchsorted(self.columns['time'], event['time'], 'right'))
        columns = {name: _inserted(column, position, event[name]) for name, column in self.columns.items()}
        order = self.order if late else self.order + (self.order >= position).astype(self.order.dtype)
        categories, starts = self.categories, self.starts
        place = int(np.searchsorted(categories, category))
        if place == len(categories) or categories[place] != category:
            categories = _inserted(categories, place, category)
            starts = np.insert(starts, place, starts[place])
        branch = order[starts[place] : starts[place + 1]]
        ahead = int(starts[place]) + len(branch) - int(np.searchsorted(branch[::-1], position, 'left'))
        starts = starts + (np.arange(len(starts)) > place)
        return UserView(columns, _inserted(order, ahead, position), categories, starts)


def _inserted(array: np.ndarray, place: int, value: Any) -> np.ndarray:
    """As `np.insert` of one value, without its general machinery: this runs once an event and column."""
    longer = np.empty(len(array) + 1, array.dtype)
    longer[:place], longer[place], longer[place + 1 :] = array[:place], value, array[place:]
    return longer
