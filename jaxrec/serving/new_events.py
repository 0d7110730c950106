"""New behaviours laid over a base: what a user did since, merged when the user is looked up.

An append only notes events. A lookup merges what is new of its user outside the lock and keeps the view, so lookups
never wait for each other, nor for an append.

Letters: n new events, m those of a user, E records.
"""

import collections
import threading
from collections.abc import Callable

import numpy as np

from jaxrec.serving.index_build import Base
from jaxrec.serving.user_view import UserView


class NewEvents:
    """The new events of all users over a base. Threads may add and look up at the same time.

    Attributes:
      base: what they are laid over.
      count, kept_bytes: how many events, and bytes of the merged views that are kept.
    """

    def __init__(self, base: Base, dtype: np.dtype, categories: Callable[[np.ndarray], np.ndarray], view_bytes: int):
        """Begins without any; views of the latest lookups are kept up to `view_bytes`.

        Args:
          base: what they are laid over.
          dtype: of the events, `user` and the columns of the base.
          categories: items int32 [n] -> int32 [n], what the tree branches by.
        """
        self.base, self.count, self.kept_bytes = base, 0, 0
        self._dtype, self._categories, self._limit = np.dtype(dtype), categories, view_bytes
        self._lock = threading.Lock()  # held to note and to look up, never to merge
        # By user, an array with room behind its events and how many these are: they are only ever appended.
        self._events: dict[int, tuple[np.ndarray, int]] = {}
        # By user, a view and how many of these events are in it.
        self._kept: collections.OrderedDict[int, tuple[UserView, int]] = collections.OrderedDict()

    def add(self, events: np.ndarray) -> None:
        """Ingests events [n] of the dtype; every later lookup sees them."""
        ordered = events[np.argsort(events['user'], kind='stable')]
        users, first = np.unique(ordered['user'], return_index=True)
        parts = zip(users.tolist(), np.split(ordered, first[1:]), strict=True) if len(users) else ()
        with self._lock:
            for user, new in parts:
                self._note(user, new)
            self.count += len(events)

    def _note(self, user: int, new: np.ndarray) -> None:
        room, count = self._events.get(user, (new[:0], 0))
        if count + len(new) > len(room):  # doubled: an event is copied twice on average
            longer = np.empty(max(2 * len(room), count + len(new)), self._dtype)
            longer[:count] = room[:count]
            room = longer
        room[count : count + len(new)] = new
        self._events[user] = room, count + len(new)

    def view(self, user: int) -> UserView:
        """A user's behaviours as of now, those of the base and the new ones."""
        with self._lock:
            room, count = self._events.get(user, (None, 0))
            view, merged = self._kept.get(user, (None, 0))
            if view is not None:
                self._kept.move_to_end(user)
        if room is None:
            return self.base.view(user)
        if view is not None and merged == count:
            return view
        new = room[merged:count]
        columns = {name: new[name] for name in self.base.columns}
        before = self.base.view(user) if view is None else view
        view = before.merged(columns, self._categories(new['item']))
        with self._lock:
            self._keep(user, view, count)
        return view

    def _keep(self, user: int, view: UserView, merged: int) -> None:
        if self._kept.get(user, (None, 0))[1] > merged or view.nbytes > self._limit:
            return  # another thread has merged more meanwhile
        self._drop(user)
        self._kept[user] = view, merged
        self.kept_bytes += view.nbytes
        while self.kept_bytes > self._limit:
            self._drop(next(iter(self._kept)))

    def _drop(self, user: int) -> None:
        view, _ = self._kept.pop(user, (None, 0))
        self.kept_bytes -= 0 if view is None else view.nbytes

    def by_user(self) -> np.ndarray:
        """All events [E], by user and in the order they came in."""
        with self._lock:
            parts = [room[:count] for _, (room, count) in sorted(self._events.items(), key=lambda one: one[0])]
        return np.concatenate([np.empty(0, self._dtype), *parts])
