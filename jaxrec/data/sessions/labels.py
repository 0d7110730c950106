"""Labels of a session, and their expectation where the probabilities of its items are known.

A reward model has four heads (OneRec, arXiv 2502.18965, Eq. 5-7): swt (session watch time), vtr (views), wtr (follows)
and ltr (likes), each with a label from 0 to 1. The paper defines none of them; here they are

    swt   'above': 1 if the session was watched for longer than a threshold; 'scaled': min(1, seconds / it)
    vtr   of the items' views, wtr of their follows, ltr of their likes
          'any': 1 if one item has it; 'most': 1 if more than half do; 'share': the share of items that do

over all items of the session. By default swt is 'above' (the median of the training split), vtr 'most', wtr and ltr
'any': each then is 0 or 1. Of a single item swt is its watch time over the threshold's even share, at most 1, and the
others are its view, follow and like.

Letters: B sessions, S items, T seconds that can be told apart.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrec.data.sessions.log import WATCH_TIME
from jaxrec.options import read_options

HEADS = ('swt', 'vtr', 'wtr', 'ltr')
COLUMNS = {'swt': WATCH_TIME, 'vtr': 'view', 'wtr': 'follow', 'ltr': 'like'}
OF_WATCH_TIME = ('above', 'scaled')
OF_RESPONSES = ('any', 'most', 'share')
BLOCK = 1 << 8  # sessions whose watch times are added up at a time


@dataclasses.dataclass(frozen=True)
class SessionLabels:
    """How the four labels are made."""

    threshold: float | None = None  # seconds, of swt; None if watch times are not known, and then there is no swt
    swt: str = 'above'  # 'above' or 'scaled'
    vtr: str = 'most'  # 'any', 'most' or 'share', as the next two
    wtr: str = 'any'
    ltr: str = 'any'

    def __post_init__(self) -> None:
        for head in HEADS:
            allowed = OF_WATCH_TIME if head == 'swt' else OF_RESPONSES
            if getattr(self, head) not in allowed:
                raise ValueError(
                    f'session label {head} = {getattr(self, head)!r} is unknown: use {" or ".join(allowed)}'
                )
        if self.threshold is not None and not self.threshold > 0:
            raise ValueError(
                f'session labels have threshold {self.threshold}: watch times are compared with seconds '
                'above 0; name swt_threshold, if those of the training split are 0'
            )

    def of_sessions(self, columns: Mapping[str, np.ndarray], valid: np.ndarray) -> dict[str, np.ndarray]:
        """The labels of sessions that were shown: {head: float32 [B]}, of the heads whose column is there.

        Args:
          columns: of `watch_time`, `view`, `follow` and `like` those that are known, [B, S].
          valid: bool [B, S], which slots hold an item.
        """
        labels = {}
        for head, name in COLUMNS.items():
            if name not in columns or (head == 'swt' and self.threshold is None):
                continue
            values = np.where(valid, columns[name], 0).astype(np.float64).sum(-1)
            if head == 'swt':
                label = self._of_seconds(values)
            else:
                size = valid.sum(-1)
                rules = {'any': values > 0, 'most': 2 * values > size, 'share': values / np.maximum(size, 1)}
                label = rules[getattr(self, head)]
            labels[head] = label.astype(np.float32)
        return labels

    def of_items(self, columns: Mapping[str, np.ndarray], valid: np.ndarray) -> dict[str, np.ndarray]:
        """The labels of single items, as `of_sessions`: {head: float32 [B, S]}, 0 where there is no item."""
        labels = {head: columns[name].astype(np.float32) for head, name in COLUMNS.items() if name in columns}
        if self.threshold is None:
            labels.pop('swt', None)
        if 'swt' in labels:
            share = self._seconds / np.maximum(valid.sum(-1, keepdims=True), 1)
            labels['swt'] = np.minimum(labels['swt'] / share, 1).astype(np.float32)
        return {head: np.where(valid, label, np.float32(0)) for head, label in labels.items()}

    def expected(self, chances: 'Chances', valid: np.ndarray) -> dict[str, np.ndarray]:
        """The exact expectation of the labels, {head: float64 [B]}; `valid` bool [B, S] marks the items."""
        labels = {'swt': self._expected_time(chances.watch_time, valid)}
        for head in ('vtr', 'wtr', 'ltr'):
            chance = np.where(valid, getattr(chances, COLUMNS[head]), 0)
            size = valid.sum(-1)
            if getattr(self, head) == 'any':
                labels[head] = 1 - np.prod(1 - chance, -1)
            elif getattr(self, head) == 'share':
                labels[head] = chance.sum(-1) / np.maximum(size, 1)
            else:
                number = np.arange(chance.shape[-1] + 1)
                labels[head] = (_count(chance) * (2 * number > size[:, None])).sum(-1)
        return labels

    def _expected_time(self, seconds: np.ndarray, valid: np.ndarray) -> np.ndarray:
        expected = np.empty(len(seconds))
        for first in range(0, len(seconds), BLOCK):
            part = slice(first, first + BLOCK)
            total = total_seconds(seconds[part], valid[part])
            expected[part] = total @ self._of_seconds(np.arange(total.shape[-1]))
        return expected

    @property
    def _seconds(self) -> float:
        if self.threshold is None:
            raise ValueError('session labels have no threshold, and swt is compared with one: name swt_threshold')
        return self.threshold

    def _of_seconds(self, seconds: np.ndarray) -> np.ndarray:
        above = seconds > self._seconds
        return above if self.swt == 'above' else np.minimum(seconds / self._seconds, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Chances:
    """Probabilities of what each item of a session does, independently of the others."""

    watch_time: np.ndarray  # float [B, S, T], of 0, 1, ... T - 1 seconds
    view: np.ndarray  # float [B, S], as the next two
    follow: np.ndarray
    like: np.ndarray


def total_seconds(seconds: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Probabilities float64 [B, S (T - 1) + 1] of total watch times, of float [B, S, T] by item, bool [B, S]."""
    slots, width = seconds.shape[1:]
    length = slots * (width - 1) + 1
    # Adding independent numbers multiplies the transforms of their distributions; that of nothing is 1.
    fast = 1 << (length - 1).bit_length()
    transform = np.fft.rfft(seconds, fast)  # [B, S, F]
    product = np.where(valid[..., None], transform, 1).prod(1)
    return np.maximum(np.fft.irfft(product, fast)[:, :length], 0)


def _count(chance: np.ndarray) -> np.ndarray:
    """Probabilities float64 [B, S + 1] that 0, 1, ... S of independent events [B, S] happen."""
    number = np.zeros((len(chance), chance.shape[1] + 1))
    number[:, 0] = 1
    for slot in range(chance.shape[1]):
        happens = chance[:, slot, None]
        number[:, 1:] = number[:, 1:] * (1 - happens) + number[:, :-1] * happens
        number[:, :1] *= 1 - happens
    return number


def read_labels(config: Mapping[str, Any], median: float | None = None) -> SessionLabels:
    """Builds the labels from their description.

    Args:
      config: `swt`, `vtr`, `wtr`, `ltr` and `swt_threshold`, see `SessionLabels`; without a threshold it is the median.
      median: seconds that sessions of the training split were watched for; None if not known.

    Raises:
      ValueError: an unknown key or rule, or a threshold of 0.
    """
    options = read_options(config, 'session labels', swt='above', vtr='most', wtr='any', ltr='any', swt_threshold=None)
    threshold = options.pop('swt_threshold')
    threshold = median if threshold is None else threshold
    return SessionLabels(None if threshold is None else float(threshold), **options)


def weighted(rewards: Mapping[str, np.ndarray], weights: Mapping[str, float] | None = None) -> np.ndarray:
    """The weighted sum of the heads, float64 [...], by which sessions are ranked.

    Args:
      rewards: {head: float [...]}, labels or their expectations.
      weights: {head: weight}; None weighs each with 1, and a head that is not named with 0.

    Raises:
      ValueError: a weight of a head that is not among the rewards.
    """
    weights = dict.fromkeys(rewards, 1.0) if weights is None else weights
    for head in weights:
        if head not in rewards:
            raise ValueError(f'a weight of {head!r} has no reward to weigh: there are {", ".join(rewards)}')
    return np.sum([weight * np.asarray(rewards[head], np.float64) for head, weight in weights.items()], 0)
