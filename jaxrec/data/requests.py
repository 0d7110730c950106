"""Batches of requests that no log holds: new rows, their history looked up in a log as of the row's time.

The batches are those that `RequestSource` (or `ClickSource`) would have cut, had the rows been events of the
log: the history of a row is its user's positive events STRICTLY earlier in time.

Letters: B rows, C = 1 candidates, L history, P positive events.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxrec.data.batch_source import Batch, check_features
from jaxrec.data.behaviour_log import BehaviourLog
from jaxrec.data.cartesian import PairVocabulary
from jaxrec.data.columns import Ragged, offsets_of
from jaxrec.data.gather import HistoryColumn, take
from jaxrec.data.labels import SampledNegatives, make_label
from jaxrec.data.log import Log
from jaxrec.data.pairs import SIDES


class RequestBuilder:
    """Builds batches from the ids of new rows.

    Attributes:
      log: where attributes and histories are looked up.
      row_columns: the columns that a row brings itself; all others follow from its user and item.
    """

    def __init__(
        self,
        log: Log,
        features: Mapping[str, Sequence[str]],
        label: Mapping[str, Any],
        history_length: int = 0,
        vocabularies: Sequence[PairVocabulary] = (),
    ):
        """Prepares the lookups.

        Args:
          log: the log.
          features: {side: columns}, those of the model.
          label: the rule that says which events of the log are positive.
          history_length: L.
          vocabularies: of the pairs of columns that have ids, as the training source has them.

        Raises:
          ValueError: for a feature that the log does not have.
        """
        self.log, self.length, self.vocabularies = log, history_length, tuple(vocabularies)
        self.features = {side: tuple(features.get(side, ())) for side in SIDES}
        for side in SIDES:
            check_features(log.folder, side, self.features[side], list(log.schema), None)
        of_rows = [n for n in self.features['candidate'] if n in log.events and n != 'item']
        if not isinstance(log, BehaviourLog):
            self.row_columns = self.features['candidate']
            return
        self.row_columns = ('user', 'item', *of_rows)
        self._history: dict[str, HistoryColumn] = {}
        if self.features['history']:
            rule = make_label(label)
            drawn = isinstance(rule, SampledNegatives) and rule.positives is None
            positive = np.ones(len(log), bool) if drawn else rule.positive(log)
            rows = np.flatnonzero(positive)
            self._before = offsets_of(positive)[log.user_offsets]  # positives of users < u
            self._times = log.events['time'][rows] if log.has_time else None
            for name in self.features['history']:
                self._history[name] = HistoryColumn(log, name, rows, history_length)

    def build(self, columns: Mapping[str, np.ndarray | Ragged], times: np.ndarray | None = None) -> Batch:
        """Builds one batch.

        Args:
          columns: {name: ids int32 [B], `Ragged` ids or float32 [B]}, all of `row_columns`.
          times: [B], in the unit of the log; None looks back on the whole log.

        Returns:
          {'side/column': array} as a source gives it, with `label` 0 and `valid` 1.
        """
        first = columns[self.row_columns[0]]
        size = len(first.offsets) - 1 if isinstance(first, Ragged) else len(first)
        batch: Batch = {}
        if isinstance(self.log, BehaviourLog):
            for name in self.features['user']:
                batch[f'user/{name}'] = self._row(name, columns, 'user')
        for name in self.features['candidate']:
            batch[f'candidate/{name}'] = self._row(name, columns, 'item')[:, None]
        if self.features['history']:
            users = columns['user']
            assert isinstance(users, np.ndarray)
            batch |= self._histories(users, times)
        for vocabulary in self.vocabularies:
            batch[f'cartesian/{vocabulary.name}'] = vocabulary.encode(batch)
        batch['label'] = np.zeros((size, 1), np.float32)
        batch['valid'] = np.ones((size, 1), np.float32)
        return batch

    def _row(self, name: str, columns: Mapping[str, np.ndarray | Ragged], key: str) -> np.ndarray:
        """A feature of B rows: their own column, or an attribute of their user or item."""
        width = self.log.schema[name].width
        if name in columns:
            column = columns[name]
            return (
                take(column, np.arange(len(column.offsets) - 1), width)
                if isinstance(column, Ragged)
                else column
            )
        ids = columns[key]
        assert isinstance(ids, np.ndarray)
        return take(self.log.side(name)[name], ids, width)

    def _histories(self, users: np.ndarray, times: np.ndarray | None) -> Batch:
        start, end = self._before[users], self._before[users + 1]
        if times is not None and self._times is not None:
            end = first_not_before(self._times, start, end, times)
        first = np.maximum(start, end - self.length)
        length = (end - first).astype(np.int32)
        present = np.arange(self.length, dtype=np.int32) < length[:, None]  # [B, L]
        batch = {f'history/{name}': column.windows(first, present) for name, column in self._history.items()}
        return batch | {'history/length': length}


def first_not_before(times: np.ndarray, start: np.ndarray, end: np.ndarray, when: np.ndarray) -> np.ndarray:
    """A binary search in one part of an array for each row.

    Args:
      times: [P], ascending within each part.
      start, end: integer [B], the part of each row.
      when: [B].

    Returns:
      int64 [B]: the first place in `[start, end)` whose time is not earlier than `when`, else `end`.
    """
    low, high = start.astype(np.int64), end.astype(np.int64)
    while (open_ := low < high).any():
        middle = (low + high) // 2
        earlier = open_ & (times[np.minimum(middle, len(times) - 1)] < when)
        low = np.where(earlier, middle + 1, low)
        high = np.where(open_ & ~earlier, middle, high)
    return low
