"""Batches of requests that no log holds: new rows, their history looked up in a log as of the row's time.

The batches are those that `RequestSource` (or `ClickSource`) would have cut, had the rows been events of the log.
Several candidates of a row share its user, its time and its history.

B rows, C candidates, S short window of the history, P positive events.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxrec.data.features.cartesian import PairVocabulary
from jaxrec.data.features.gather import first_not_before, take
from jaxrec.data.features.histories import Histories, Requests
from jaxrec.data.features.labels import SampledNegatives, make_label
from jaxrec.data.features.pairs import SIDES
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.columns import Ragged, offsets_of
from jaxrec.data.logs.log import Log
from jaxrec.data.sources.batch_source import Batch, check_features


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
        lifelong: Mapping[str, Any] | None = None,
        time_gap: Mapping[str, Any] | None = None,
    ):
        """Prepares the lookups.

        Args:
          log: the log.
          features: {side: columns}, those of the model.
          label: the rule that marks the positive events of the log.
          history_length: S.
          vocabularies: of the pairs of columns that have ids, as the training source has them.
          lifelong, time_gap: as the training source has them; nothing is sampled here.

        Raises:
          ValueError: a feature that the log does not have, or a description that does not fit it.
        """
        self.log, self.vocabularies = log, tuple(vocabularies)
        self.features = {side: tuple(features.get(side, ())) for side in SIDES}
        for side in SIDES:
            check_features(log.folder, side, self.features[side], list(log.schema), None)
        of_rows = [n for n in self.features['candidate'] if n in log.events and n != 'item']
        if not isinstance(log, BehaviourLog):
            self.row_columns = self.features['candidate']
            return
        self.row_columns = ('user', 'item', *of_rows)
        self._histories: Histories | None = None
        if self.features['history']:
            rule = make_label(label)
            drawn = isinstance(rule, SampledNegatives) and rule.positives is None
            positive = np.ones(len(log), bool) if drawn else rule.positive(log)
            rows = np.flatnonzero(positive)
            self._before = offsets_of(positive)[log.user_offsets]  # positives of users < u
            self._times = log.events['time'][rows] if log.has_time else None
            self._histories = Histories(log, self.features['history'], rows, history_length, lifelong, time_gap)

    def build(self, columns: Mapping[str, np.ndarray | Ragged], times: np.ndarray | None = None) -> Batch:
        """Builds one batch, {'side/column': array} as a source gives it, with `label` 0 and `valid` 1.

        Args:
          columns: {name: ids int32 [B], `Ragged` ids or float32 [B]}, all of `row_columns`. For rows of C candidates,
            `item` is [B, C] and so are the other candidate columns (`Ragged`: B * C rows).
          times: [B], in the unit of the log; None reads the whole log.

        Raises:
          ValueError: a candidate column of another shape than `item`, or no times where time gaps are wanted.
        """
        first = columns['item' if 'item' in self.row_columns else self.row_columns[0]]
        shape = (len(first.offsets) - 1,) if isinstance(first, Ragged) else first.shape
        shape = shape if len(shape) == 2 else (*shape, 1)
        batch: Batch = {}
        if isinstance(self.log, BehaviourLog):
            users, items = (np.asarray(columns[name]) for name in ('user', 'item'))
            for name in self.features['user']:
                batch[f'user/{name}'] = users if name == 'user' else self._attribute(name, users)
            if self._histories is not None:
                batch |= self._cut(self._histories, users, items.reshape(shape), times)
        for name in self.features['candidate']:
            brought = name in self.row_columns
            column = self._row(name, columns[name], shape) if brought else self._attribute(name, items.reshape(shape))
            batch[f'candidate/{name}'] = column
        for vocabulary in self.vocabularies:
            batch[f'cartesian/{vocabulary.name}'] = vocabulary.encode(batch)
        batch['label'] = np.zeros(shape, np.float32)
        batch['valid'] = np.ones(shape, np.float32)
        return batch

    def _attribute(self, name: str, ids: np.ndarray) -> np.ndarray:
        return take(self.log.side(name)[name], ids, self.log.schema[name].width)

    def _row(self, name: str, column: np.ndarray | Ragged, shape: tuple[int, ...]) -> np.ndarray:
        """A candidate column that rows bring themselves, [B, C, ...]."""
        values = len(column.offsets) - 1 if isinstance(column, Ragged) else column.size
        if values != np.prod(shape):
            raise ValueError(
                f'column {name!r} has {values} values for {shape[0]} rows of {shape[1]} candidates: give one '
                'a candidate'
            )
        if isinstance(column, Ragged):
            return take(column, np.arange(values).reshape(shape), self.log.schema[name].width)
        return column.reshape(shape)

    def _cut(self, histories: Histories, users: np.ndarray, items: np.ndarray, times: np.ndarray | None) -> Batch:
        start, end = self._before[users], self._before[users + 1]
        if times is not None and self._times is not None:
            end = first_not_before(self._times, start, end, times)
        return histories.cut(Requests(start, end, users, items, times))
