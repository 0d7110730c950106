"""Hard search (SIM, arXiv 2006.05639, section 3.1): the behaviours that share the candidate's category.

The positive events of a log are grouped by (user, value) once, oldest first, as in the paper's user behaviour tree.
What a candidate keeps is a slice of one group, and two binary searches find its bounds, whatever the history's length.

Letters: B requests, C candidates, K kept behaviours, L behaviours searched, P positive events, N groups.
"""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from jaxrec.data.features.gather import IN_MEMORY_BYTES, cache_path, first_not_before
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.columns import begins, cached_array
from jaxrec.data.logs.vocabulary import PADDING
from jaxrec.keys import join_ids

_LAST = np.iinfo(np.int64).max  # above every key


@dataclasses.dataclass(frozen=True, eq=False)
class SearchIndex:
    """Positions of positive events, grouped by user and value."""

    keys: np.ndarray  # int64 [N + 1], user and value of each group as one number, ascending; one beyond all
    starts: np.ndarray  # int64 [N + 2], where each group begins
    positions: np.ndarray  # int32 or int64 [P + 1], among the positives; ascending within a group

    def search(
        self, users: np.ndarray, values: np.ndarray, low: np.ndarray, high: np.ndarray, keep: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Finds the most recent behaviours of a value.

        Args:
          users: int32 [B].
          values: int32 [B, C], what behaviours must equal; 0, padding, equals nothing.
          low, high: int64 [B], the positions in `[low, high)` are searched.
          keep: K.

        Returns:
          Positions among the positives, integer [B, C, K], oldest first and aligned left, any position in unused slots;
            and their number, int32 [B, C].
        """
        wanted = join_ids(users[:, None], values)
        group = np.searchsorted(self.keys, wanted)
        found = (self.keys[group] == wanted) & (values != PADDING)
        start = self.starts[group]
        stop = np.where(found, self.starts[group + 1], start)
        stop = first_not_before(self.positions, start, stop, high[:, None])
        start = np.maximum(first_not_before(self.positions, start, stop, low[:, None]), stop - keep)
        place = np.minimum(start[..., None] + np.arange(keep), len(self.positions) - 1)
        return self.positions[place], (stop - start).astype(np.int32)


def group_positions(users: np.ndarray, values: np.ndarray) -> SearchIndex:
    """Groups positions by the user and the value, int32 [P], of the positive events."""
    keys = join_ids(users, values)
    order = np.argsort(keys, kind='stable')
    keys = keys[order]
    first = begins(keys)
    starts = np.append(np.flatnonzero(first), [len(keys)] * 2)
    dtype = np.int32 if len(keys) < 2**31 else np.int64
    return SearchIndex(np.append(keys[first], _LAST), starts, np.append(order, 0).astype(dtype))


def search_index(log: BehaviourLog, column: str, positives: np.ndarray) -> SearchIndex:
    """Returns the index of a log by 'item' or a categorical item attribute; a large one is cached and memory-mapped.

    `positives` are the rows of the positive events, int64 [P].
    """

    @functools.cache
    def made() -> SearchIndex:
        items = log.events['item'][positives]
        values = items if column == 'item' else log.items[column][items]
        return group_positions(log.events['user'][positives], values)

    if 24 * len(positives) <= IN_MEMORY_BYTES:
        return made()
    parts = {}
    for name in (field.name for field in dataclasses.fields(SearchIndex)):

        def write(partial: Path, name: str = name) -> None:
            np.save(partial, getattr(made(), name))

        parts[name] = cached_array(cache_path(log, f'{column}.{name} search', positives), write)
    return SearchIndex(**parts)


def scan(history: np.ndarray, present: np.ndarray, values: np.ndarray, keep: int) -> tuple[np.ndarray, np.ndarray]:
    """Searches as `SearchIndex.search` without an index: it reads every behaviour.

    Args:
      history: int32 [B, L], values of behaviours, oldest first; `present`, bool [B, L], which are real.
      values: int32 [B, C], what behaviours must equal; 0, padding, equals nothing.
      keep: K.

    Returns:
      Slots of the history, int64 [B, C, K], oldest first, aligned left, 0 in unused ones; their number, int32 [B, C].
    """
    equal = (history[:, None] == values[..., None]) & present[:, None] & (values != PADDING)[..., None]
    newer = np.cumsum(equal[..., ::-1], axis=-1, dtype=np.int32)[..., ::-1]  # matches from here on
    equal &= newer <= keep
    length = equal.sum(-1, dtype=np.int32)
    slots = np.zeros((*values.shape, keep), np.int64)
    slots[np.arange(keep) < length[..., None]] = np.nonzero(equal)[-1]
    return slots, length
