"""The reward model applied to any sessions of any requests of a log, such as generated ones.

B requests, K sessions of each, m items, V rows of the item vocabulary.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrec.data.sessions.histories import PositiveItems
from jaxrec.data.sessions.log import SessionLog
from jaxrec.models.onerec.reward.calibration import Calibration
from jaxrec.models.onerec.reward.network import RewardTask
from jaxrec.parallel import put_batch
from jaxrec.training.state import Setup, TrainState
from jaxrec.training.step import make_predict_step


class Judge:
    """The frozen, calibrated reward model; it looks up what it reads of users and items by itself.

    Attributes:
      task: the reward model.
      log: the log whose requests it knows.
    """

    def __init__(
        self, setup: Setup, state: TrainState, log: SessionLog, *, calibration: Calibration, label: Mapping[str, Any],
        history_length: int,
    ):  # fmt: skip
        """Prepares a trained reward model of `setup` and `state` for the requests of a log.

        `calibration` is of this state; `label`, which shown items are positive, and `history_length` are as in
        training.
        """
        assert isinstance(setup.task, RewardTask)
        self.task: RewardTask = dataclasses.replace(setup.task, calibration=calibration)
        self.log, self._state, self._length = log, state, history_length
        self._predict = make_predict_step(setup._replace(task=self.task))
        self._mesh = setup.mesh
        columns = self.task.module.columns
        self._histories = PositiveItems(log, label, columns)
        self._start, self._end = self._histories.before_requests()
        self._attributes = {name: np.asarray(log.items[name]) for name in columns if name != 'item'}

    def __call__(self, requests: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores sessions by what a user liked before the request, a row of the log.

        Sessions are ids of the log, int [B, K, m], and end at the first id below 1; an empty one gets a meaningless
        reward.

        Returns:
          probability float32 [B, K, 4], in the order of `HEADS`, and reward float32 [B, K], their weighted sum.
        """
        real = np.cumprod(items > 0, -1).astype(bool)
        shown = np.where(real, items, 0).astype(np.int32)
        batch = self._histories.windows(self._start[requests], self._end[requests], self._length)
        for name in self.task.module.columns:
            batch[f'session/{name}'] = shown if name == 'item' else self._attributes[name][shown] * real
        batch['session/length'] = real.sum(-1).astype(np.int32)
        batch['valid'] = np.ones((len(requests), 1), np.float32)  # so that devices need not divide B
        found = self._predict(self._state, put_batch(batch, self._mesh))
        size = len(requests)
        return np.asarray(found['probability'])[:size], np.asarray(found['reward'])[:size]
