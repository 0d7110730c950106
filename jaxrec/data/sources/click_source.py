"""A Grain source whose items are whole batches of impressions, assembled by index from a click log.

An example is one impression: a request with a single candidate, C = 1, and neither user nor history.

Letters: B examples a batch (on this process), C = 1 candidates, W values of a multi-valued column.
"""

import dataclasses

import numpy as np

from jaxrec.data.features.gather import take
from jaxrec.data.features.labels import SampledNegatives, make_label
from jaxrec.data.features.pairs import SIDES
from jaxrec.data.logs.click_log import ClickLog
from jaxrec.data.logs.log import Log
from jaxrec.data.sources.batch_source import Batch, BatchSource, check_features
from jaxrec.data.sources.splits import PARTS, make_split


@dataclasses.dataclass(eq=False)
class ClickSource(BatchSource):
    """Random access to the batches of one part of a click log.

    A batch is a dict: `candidate/<col>` [B, C, ...], `label` and `valid` float32 [B, C], `host/event` int64 [B, C] (row
    in the log; -1 where not valid). Ids are int32, numeric columns float32; multi-valued columns have one more axis W.
    There is no `host/group`, because there are no users.

    Args:
      log_folder: of a `ClickLog`, opened as `log`.
      features: candidate columns that the log's schema describes; the other sides stay empty.
      label: 'impressions' or 'rating'.
      others, attributes and errors: see `BatchSource`.
    """

    def _open(self) -> tuple[Log, int, int]:
        self.log = ClickLog(self.log_folder)
        rule = make_label(self.label)
        if isinstance(rule, SampledNegatives):
            raise ValueError(
                f'{self.log.folder} is a click log, it has no users whose negatives could be drawn: use '
                "label kind 'impressions' or 'rating'"
            )
        for side in SIDES:
            allowed = self.log.schema if side == 'candidate' else ()
            check_features(self.log.folder, side, self.features[side], list(allowed), rule.column)
        clicked = rule.positive(self.log)
        self._rows = np.flatnonzero(make_split(self.split)(self.log, clicked) == PARTS[self.part])
        self._label = clicked[self._rows].astype(np.float32)
        return self.log, len(self._rows), len(self._rows)

    def _assemble(self, pick: np.ndarray, epoch: int) -> Batch:
        rows = self._rows[pick]
        batch: Batch = {}
        for name in self.features['candidate']:
            batch[f'candidate/{name}'] = take(self.log.events[name], rows, self.log.schema[name].width)[:, None]
        batch['label'] = self._label[pick][:, None]
        batch['valid'] = np.ones_like(batch['label'])
        batch['host/event'] = rows[:, None]
        return batch
